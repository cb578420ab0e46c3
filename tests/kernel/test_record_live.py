"""Recording live streams: a replay gives the live frame, and a killed process leaves all but its last second."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import cells
import pandas as pd
import pytest

import ebpflab
from ebpflab.recording.reader import Recording

# A struct with every kind of column that a live stream fills by itself.
EVERYTHING = """\
enum colour { RED = 1, GREEN = 5, BLUE = -3 };
struct event {
	ktime_t when;
	duration_t took;
	u32 pid;
	enum colour colour;
	char comm[16];
	u8 octets[16];
	s16 many[20];
	struct { s32 x, y; } at;
	u64 number;
};
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20);
	__type(value, struct event); } events SEC(".maps");
const volatile u32 only = 0;
u64 seen = 0;
SEC("tp/syscalls/sys_enter_getppid")
int on_getppid(void *ctx)
{
	struct event *e;
	u32 i, pid = bpf_get_current_pid_tgid() >> 32;
	if (pid != only)
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->number = seen++;
	e->when = e->number ? bpf_ktime_get_ns() : 0;
	e->took = e->number * 1000003;
	e->pid = pid;
	e->colour = e->number % 3 == 0 ? RED : e->number % 3 == 1 ? BLUE : 77;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	for (i = 0; i < 16; i++)
		e->octets[i] = e->number + i;
	for (i = 0; i < 20; i++)
		e->many[i] = -i;
	e->at.x = -1;
	e->at.y = e->number;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
"""

# Numbers only what it could send: a gap in the numbers is a record that somebody dropped later.
NUMBERED = """\
struct event { u64 number; u64 check; u32 pid; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 24);
	__type(value, struct event); } events SEC(".maps");
u64 sent = 0;
SEC("syscall")
int send(void *ctx)
{
	struct event *e;
	u32 i;
	for (i = 0; i < 1021; i++) {
		e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
		if (!e)
			break;
		e->number = sent++;
		e->check = e->number * 0x9e3779b97f4a7c15ULL;
		e->pid = 7;
		bpf_get_current_comm(e->comm, sizeof(e->comm));
		bpf_ringbuf_submit(e, 0);
	}
	return 0;
}
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "live.parquet"


def test_the_replayed_frame_is_the_live_one_bit_for_bit(load, path):
    session = load(EVERYTHING, name="everything", vars={"only": os.getpid()})
    cells.call_getppid(101)
    recorder = session.events.record(path)
    cells.call_getppid(53)
    assert session.events.wait(154, timeout=5)
    time.sleep(1.2)  # into another part
    cells.call_getppid(23)
    session.close()
    live = session.events.df()
    assert (recorder.rows, recorder.missed, len(live)) == (177, 0, 177)
    assert live["number"].tolist() == list(range(177))
    with ebpflab.replay(path, speed=None) as again:
        frame = again.events.df()
        assert again.source == session.source
        assert again.name == "everything"
        assert again.programs["name"].tolist() == ["on_getppid"]
        assert again.links["target"].tolist() == ["syscalls/sys_enter_getppid"]
        assert f"Linux {os.uname().release}" in repr(again)
    pd.testing.assert_frame_equal(frame, live, check_exact=True)
    assert frame.attrs == live.attrs
    read = pd.read_parquet(path)
    assert read["comm"].astype(str).unique().tolist() == [Path("/proc/self/comm").read_text().strip()]
    assert read["colour"].astype(str).value_counts().to_dict() == {"RED": 59, "BLUE": 59, "77": 59}
    assert read["took"].dt.total_seconds().round(6).tolist() == [round(n * 0.001000003, 6) for n in range(177)]


STACKS = """\
struct event { u32 pid; kernel_stack_t kernel; user_stack_t user; syscall_t call; u64 number; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16);
	__type(value, struct event); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(max_entries, 1024);
	__uint(key_size, 4); __uint(value_size, 127 * 8); } stacks SEC(".maps");
const volatile u32 only = 0;
u64 seen = 0;
SEC("tp/syscalls/sys_enter_getppid")
int on_getppid(void *ctx)
{
	struct event *e;
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	if (pid != only)
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = pid;
	e->kernel = bpf_get_stackid(ctx, &stacks, 0);
	e->user = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	e->call = 110;
	e->number = seen++;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
"""


def test_stacks_and_symbols_are_told_by_the_recording_alone(load, path, tmp_path):
    session = load(STACKS, vars={"only": os.getpid()})
    recorder = session.events.record(path)
    cells.call_getppid(29)
    session.close()
    live = session.events.df()
    assert recorder.rows == 29
    assert live["user"].astype(str).str.contains("getppid").all()
    # In another process, which has neither the map nor this process's memory to ask.
    live.to_pickle(tmp_path / "live.pickle")
    script = """
    import sys, pandas as pd, ebpflab
    with ebpflab.replay(sys.argv[1], speed=None) as session:
        pd.testing.assert_frame_equal(session.events.df(), pd.read_pickle(sys.argv[2]), check_exact=True)
    print("the same")
    """
    done = cells.python(script, path, tmp_path / "live.pickle")
    assert done.stdout == "the same\n", done.stderr
    assert pd.read_parquet(path)["user"].astype(str).tolist() == live["user"].astype(str).tolist()


def test_a_recording_ends_with_its_session_and_everything_is_in_it(path):
    with ebpflab.load(cells.GETPPID, vars={"only": os.getpid()}) as session:
        recorder = session.events.record(path)
        cells.call_getppid(67)
    assert not recorder.running
    assert path.is_file()
    assert (recorder.rows, len(pd.read_parquet(path))) == (67, 67)


def test_stop_takes_what_was_sent_before_it_and_nothing_else(load, path):
    session = load(cells.GETPPID, vars={"only": os.getpid()})
    with session.events.record(path) as recorder:
        cells.call_getppid(41)
    cells.call_getppid(11)
    assert (recorder.rows, len(pd.read_parquet(path))) == (41, 41)
    assert session.events.wait(52, timeout=5)


def test_a_process_that_just_ends_leaves_a_whole_file(path):
    script = """
    import os, sys, ebpflab
    sys.path.insert(0, sys.argv[2])
    import cells
    session = ebpflab.load(cells.GETPPID, vars={"only": os.getpid()})
    session.events.record(sys.argv[1])
    cells.call_getppid(31)
    """
    done = cells.python(script, path, Path(__file__).parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert Recording(path).tally.complete
    assert len(pd.read_parquet(path)) == 31


def test_what_was_lost_and_what_was_evicted_add_up(load, path):
    session = load(cells.SENDER.replace("SIZE", str(1 << 14)), keep=101, attach=False)

    def send(count):
        session.test_run("send", ctx=struct.pack("II", count, 0))

    send(211)
    assert session.events.wait(211, timeout=5)
    recorder = session.events.record(path)
    session.events.pause()
    send(1021)  # the ring holds 1024 records of 16 bytes, and what it cannot hold is lost
    send(997)
    session.events.resume()
    send(7)
    session.close()
    live, stats = session.events.df(), session.events.stats()
    sent = 211 + 1021 + 997 + 7
    assert stats["received"] + stats["lost"] == sent
    assert stats["lost"] > 900
    assert recorder.rows + recorder.missed + 110 == stats["received"]
    with ebpflab.replay(path, speed=None) as again:
        frame = again.events.df()
        again_stats = again.events.stats()
        pd.testing.assert_frame_equal(again.events.losses(), session.events.losses(), check_exact=True)
    pd.testing.assert_frame_equal(frame, live, check_exact=True)
    assert frame.attrs == live.attrs
    assert {**again_stats, "rate": 0} == {**stats, "rate": 0}


FLOOD = """
import sys, time
import ebpflab
with open(sys.argv[2]) as file:
    source = file.read()
session = ebpflab.load(source, keep=4_000_000, attach=False)
recorder = session.events.record(sys.argv[1])
start, turns = time.monotonic(), 0
print("running", flush=True)
while True:
    session.test_run("send", ctx=None)
    turns += 1
    time.sleep(max(0.0, start + turns * 1021 / 1e6 - time.monotonic()))  # a million a second
"""


def test_a_kill_at_a_million_events_a_second_leaves_every_complete_batch_in_order(path, tmp_path):
    (tmp_path / "cell.c").write_text(NUMBERED)
    child = subprocess.Popen(
        [sys.executable, "-c", FLOOD, path, tmp_path / "cell.c"], stdout=subprocess.PIPE, env=cells.environment()
    )
    with child:
        assert child.stdout.readline() == b"running\n"
        time.sleep(3.7)
        child.send_signal(signal.SIGKILL)
    assert path.is_dir()
    parts = sorted(p.name for p in path.glob("part-*.parquet"))
    assert len(parts) >= 3
    read = pd.read_parquet(path)
    tally = Recording(path).tally
    assert (tally.complete, tally.missed, tally.before) == (False, 0, 0)
    assert len(read) > 300_000
    assert (read["number"].to_numpy() == range(len(read))).all()
    assert (read["check"].to_numpy() == read["number"].to_numpy() * 0x9E3779B97F4A7C15).all()
    assert read["_arrived"].is_monotonic_increasing
    with ebpflab.replay(path, speed=None, keep=len(read)) as session:
        frame = session.events.df()
        assert frame.attrs["received"] == len(read)
    for name in ("number", "check", "pid"):
        assert (frame[name].to_numpy() == read[name].to_numpy()).all()
