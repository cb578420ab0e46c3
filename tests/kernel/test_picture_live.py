"""Pictures of real streams: drawn from several threads while events come, and when the session is over."""

from __future__ import annotations

import os
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cells

from ebpflab.views import Look
from ebpflab.views.monitor import Monitor
from ebpflab.views.picture import draw
from ebpflab.views.suiting import choices, suits

COUNT = 1009

SAMPLED = """\
struct event { ktime_t time; u32 pid; char comm[16]; user_stack_t user; kernel_stack_t kernel; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, struct event); }
	events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(max_entries, 1024); __uint(key_size, 4);
	__uint(value_size, 127 * 8); } stacks SEC(".maps");
const volatile u32 only = 0;
SEC("tp/syscalls/sys_enter_getppid") int on_call(void *ctx)
{
	struct event *e;
	if (bpf_get_current_pid_tgid() >> 32 != only)
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->pid = only;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->user = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	e->kernel = bpf_get_stackid(ctx, &stacks, 0);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
"""


def send(session, count):
    session.test_run("send", ctx=struct.pack("II", count, 0))


def test_the_rate_of_a_view_is_that_of_all_events(load):
    session = load(cells.SENDER.replace("SIZE", str(1 << 20)))
    monitor = Monitor(session)
    send(session, COUNT)
    assert session.events.wait(COUNT, timeout=5)
    for _ in range(2):  # a history has whole steps only
        time.sleep(0.25)
        monitor.look()
    assert draw(session, Look(), monitor.history()).alt.startswith(f"{COUNT:,} events in ")
    session.close()
    monitor.look()
    assert f"{COUNT:,} events in " in draw(session, Look(), monitor.history()).alt


def test_threads_draw_while_events_come_and_the_session_ends(load):
    session = load(cells.SENDER.replace("SIZE", str(1 << 20)))
    with ThreadPoolExecutor(3) as pool:
        drawn = [pool.submit(draw, session, Look(plot=plot)) for plot in ("hist", "top", "rate", "timeline") * 3]
        for _ in range(7):
            send(session, COUNT)
        session.close()
        found = [each.result() for each in drawn]
    # Records without a time have neither rate nor timeline, and that is said.
    assert {picture.problem.partition(";")[0] for picture in found} == {"", "the events have no column of times"}
    assert draw(session, Look(plot="hist")).alt.startswith(f"{7 * COUNT:,} values of number: median 3,531")


def test_stacks_of_a_stream_are_drawn_without_naming_their_columns(load):
    session = load(SAMPLED, vars={"only": os.getpid()})
    cells.call_getppid(COUNT)
    assert session.events.wait(COUNT, timeout=5)
    columns = choices(session, Look())
    assert [kind for _, kind in columns] == ["time", "number", "text", "stack", "stack"]
    assert suits(columns) == ("rate", "hist", "top", "heatmap", "timeline", "flame")
    found = draw(session, Look(plot="flame"))
    assert found.problem == ""
    assert found.alt.startswith(f"{COUNT:,} events in stacks; most in ")
    comm = Path("/proc/self/comm").read_text().strip()
    assert f"events by comm: {comm} {COUNT:,} (100.0 %)" in draw(session, Look(plot="top")).alt
