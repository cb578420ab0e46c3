"""Perf buffers on the running kernel: counts, order across CPUs, losses, sizes, privileges."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

import cells
import pytest
from cells_buffers import (
    PERF,
    PERF_MIXED,
    each_cpu_is_complete,
    pouring,
    produce,
    produce_on,
    rows_that_came_late,
    totals,
)

import ebpflab

CPUS = sorted(os.sched_getaffinity(0))

# Sends the number of every getppid(2) of one process, as libbpf's own examples do: without a prelude of ours.
BARE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct event { __u64 number; __u64 more[4]; __u32 last; } __attribute__((packed));
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } events SEC(".maps");
const volatile __u32 only = 0;
__u64 sent = 0, refused = 0;
struct event *kept_in_btf = 0;

SEC("tp/syscalls/sys_enter_getppid")
int on_getppid(void *ctx)
{
	struct event e = { .last = 7 };
	if (bpf_get_current_pid_tgid() >> 32 != only)
		return 0;
	e.number = sent++;
	if (bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &e, sizeof(e)))
		refused++;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture
def pinned():
    """One CPU for the test, so that all of its events are in one ring."""
    os.sched_setaffinity(0, CPUS[:1])
    yield CPUS[0]
    os.sched_setaffinity(0, CPUS)


def kernels_count(session):
    (source,) = session._buffers._sources
    return sum(source.lost_by_kernel().values())


def map_info(session, name):
    return next(info for info in session._handle.maps() if info.name == name)


def test_a_prime_number_of_records_arrives_once_in_order_and_without_padding(load, pinned):
    s = load(PERF, attach=False)
    before = time.time_ns()
    produce(s, 1009, runs=7)
    after = time.time_ns()
    frame = s.events.df()
    assert frame["number"].tolist() == list(range(7063))
    assert frame["cpu"].unique().tolist() == [pinned]
    assert len(frame.columns) == 4
    times = frame["ts"].astype("int64")
    assert before - 1_000_000 < times.iloc[0] <= times.iloc[-1] < after + 1_000_000
    stats = s.events.stats()
    assert (stats["received"], stats["lost"], stats["in_ring"]) == (7063, 0, 0)


def test_the_definition_gets_what_the_kernel_wants(load):
    s = load(PERF, attach=False)
    info = map_info(s, "events")
    possible = os.cpu_count()
    assert (info.key_size, info.value_size, info.max_entries) == (4, 4, possible)
    assert info.per_cpu_bytes & (info.per_cpu_bytes - 1) == 0
    assert 256 << 10 <= info.per_cpu_bytes <= 64 << 20


def test_one_record_arrives_by_itself_within_a_fraction_of_a_second(load):
    s = load(PERF, attach=False)
    time.sleep(0.3)  # the reader sleeps
    produce(s, 1)
    assert s.events.wait(1, timeout=1)


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_records_of_all_cpus_come_in_the_order_of_time(load):
    s = load(PERF, attach=False, keep=10**7)
    produce_on(s, CPUS, 503, runs=211)
    frame = s.events.df()
    sent, refused = totals(s)
    assert (sent, refused) == (len(CPUS) * 503 * 211, 0)
    assert len(frame) == sent
    assert frame["cpu"].nunique() == len(CPUS)
    each_cpu_is_complete(frame)
    assert rows_that_came_late(frame) == 0
    assert rows_that_came_late(frame.sort_values(["cpu", "number"]).reset_index(drop=True)) > 0  # as without merging


def test_what_a_full_buffer_refuses_is_what_is_missing_and_what_the_kernel_counts(load, pinned):
    s = load(PERF, attach=False, buffers={"events": 4096})
    s.events.pause()
    produce(s, 1009)
    sent, refused = totals(s)
    fits = (4096 - 1) // (20 + 36)  # a sample's head and padded data; the kernel keeps a byte free
    assert sent - refused == fits
    assert kernels_count(s) == refused
    assert s.events.stats()["pending"] == fits
    s.events.resume()
    assert s.events.wait(fits, timeout=5)
    stats = s.events.stats()
    assert (stats["received"], stats["lost"]) == (fits, refused)
    produce(s, 23)  # there is room again, and the kernel's own record of the losses comes first
    assert s.events.wait(fits + 23, timeout=5)
    assert s.events.df()["number"].tolist() == [*range(fits), *range(1009, 1032)]
    assert kernels_count(s) == refused
    (source,) = s._buffers._sources
    assert sum(ring._told for ring in source.parts()) == refused  # its LOST records, which older kernels have too


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_what_a_cpu_without_a_slot_sends_is_lost_and_counted(load):
    s = load(PERF.replace("ARRAY);", "ARRAY); __uint(max_entries, 1);", 1), attach=False)
    produce_on(s, CPUS[:2], 101, runs=1)
    assert s.events.wait(101, timeout=5)
    assert s.events.df()["cpu"].unique().tolist() == [0]
    assert s.events.stats()["lost"] == totals(s)[1] == 101


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_small_buffers_under_fire_keep_the_books_exact(load):
    s = load(PERF, attach=False, buffers={"events": 8192}, keep=1000)
    produce_on(s, CPUS, 4001, runs=101)
    sent, refused = totals(s)
    assert sent == len(CPUS) * 4001 * 101
    s.events.df()
    stats = s.events.stats()
    assert refused > 0
    assert stats["lost"] == refused == kernels_count(s)
    assert stats["received"] + refused == sent


def test_close_delivers_what_is_left_and_the_frame_stays(load, pinned):
    s = load(PERF, attach=False)
    s.events.pause()
    produce(s, 101)
    s.events.resume()
    s.close()
    assert s.events.df()["number"].tolist() == list(range(101))


def test_stop_is_quick_at_full_speed(load):
    s = load(PERF, attach=False, keep=10_000)
    with pouring(s, CPUS[-1]):
        assert s.events.wait(100_003, timeout=10)
        before = time.monotonic()
        s._buffers._drain.stop()
        assert time.monotonic() - before < 0.25
    assert len(s.events.df()) == 10_000


def test_what_a_paused_buffer_holds_arrives_when_the_session_is_closed(load, pinned):
    s = load(PERF, attach=False)
    produce(s, 11)
    assert s.events.wait(11, timeout=5)
    s.events.pause()
    produce(s, 13)
    assert s.events.stats()["pending"] == 13
    s.close()
    assert len(s.events.df()) == 24
    assert s.events.stats()["pending"] == 0


def test_records_of_several_sizes_are_told_apart_and_stay_in_order(load, pinned):
    s = load(PERF_MIXED, attach=False, events={"events": "event,short_event"})
    produce(s, 1009)
    assert s.events.wait(1009, timeout=5)
    frame = s.events.df()
    assert frame["number"].tolist() == list(range(1009))
    short = frame[frame["record"] == "short_event"]
    assert short["number"].tolist() == list(range(1, 1009, 3))
    assert (short["odd"] == short["number"] % 256).all()


def test_events_of_an_attached_program_arrive_and_others_are_left_out(load):
    source = """
    struct event { u32 pid; };
    struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __type(value, struct event); } events SEC(".maps");
    const volatile u32 only = 0;
    SEC("raw_tp/sys_enter")
    int on_enter(struct bpf_raw_tracepoint_args *ctx)
    {
        struct event e = { .pid = bpf_get_current_pid_tgid() >> 32 };
        if (e.pid == only && ctx->args[1] == GETPPID)
            bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &e, sizeof(e));
        return 0;
    }
    """.replace("GETPPID", {"x86_64": "110"}.get(os.uname().machine, "173"))
    s = load(source, vars={"only": os.getpid()})
    cells.call_getppid(53)
    assert s.events.wait(53, timeout=5)
    assert s.events.df()["pid"].tolist() == [os.getpid()] * 53


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    if not shutil.which("clang"):
        pytest.skip("needs clang")
    directory = tmp_path_factory.mktemp("bare")
    (directory / "bare.bpf.c").write_text(BARE)
    include = [f"-I/usr/include/{os.uname().machine}-linux-gnu"]
    command = ["clang", "-O2", "-g", "-target", "bpf", *include, "-c", "bare.bpf.c", "-o", "bare.bpf.o"]
    subprocess.run(command, cwd=directory, check=True, timeout=60)
    return directory / "bare.bpf.o"


def test_an_object_without_the_prelude_has_the_losses_that_the_kernel_counts(load, bare, pinned):
    s = load(bare, vars={"only": os.getpid()}, buffers={"events": 4096}, events={"events": "event"})
    s.events.pause()
    cells.call_getppid(503)
    s.events.resume()
    fits = (4096 - 1) // (20 + 44)
    assert s.vars["sent"] == 503
    assert s.events.wait(fits, timeout=5)
    frame = s.events.df()
    assert frame["number"].tolist() == list(range(fits))
    assert frame["last"].unique().tolist() == [7]
    assert s.events.stats()["lost"] == s.vars["refused"] == 503 - fits
    assert frame.attrs["lost"] == 503 - fits


def test_a_perf_buffer_beside_a_ring_buffer_each_has_its_stream(load, pinned):
    both = PERF.replace(
        "static long emit",
        """
        struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 0); __type(value, struct event); } also
            SEC(".maps");
        static long emit""",
        1,
    ).replace("long error =", "bpf_ringbuf_output(&also, &e, sizeof(e), 0);\n\tlong error =")
    s = load(both, attach=False)
    produce(s, 47)
    assert {name: len(events.df()) for name, events in s.streams.items()} == {"events": 47, "also": 47}
    size = map_info(s, "also").max_entries
    with open("/proc/meminfo") as meminfo:  # noqa: PTH123
        total = int(meminfo.readline().split()[1]) << 10
    assert size & (size - 1) == 0
    assert size == 64 << 20 or size <= total // 256 < 2 * size or size == 1 << 20


@pytest.mark.parametrize(("asked", "got"), [(1, 4096), (4097, 8192), (1 << 20, 1 << 20)])
def test_a_size_is_rounded_up_to_one_that_a_buffer_can_have(load, asked, got):
    s = load(PERF, attach=False, buffers={"events": asked})
    assert map_info(s, "events").per_cpu_bytes == got
    (source,) = s._buffers._sources
    assert {part.size for part in source.parts()} == {got}


@pytest.mark.parametrize("name", ["event", ".bss"])
def test_only_event_buffers_can_be_resized(name):
    with pytest.raises(ebpflab.EbpflabError) as caught:
        ebpflab.load(PERF, attach=False, buffers={name: 4096})
    assert "events" in caught.value.hint


def test_without_the_capability_the_error_names_it():
    done = cells.python(
        """
        import sys, ebpflab
        sys.path.insert(0, sys.argv[1])
        import cells
        from ebpflab.perfbuf import open_perf_buffer
        cells.keep_only_capabilities(1 << 39)  # CAP_BPF
        try:
            open_perf_buffer(0, 1, 4096, "events", {})
        except ebpflab.EbpflabError as error:
            print(type(error).__name__, error.cause, error.stage, "RINGBUF" in error.hint)
        """,
        os.path.dirname(__file__),  # noqa: PTH120
    )
    assert done.stdout.split() == ["PrivilegeError", "CAP_PERFMON", "stream", "True"], done.stderr


def test_no_descriptor_is_left_open(load):
    load(PERF, attach=False).close()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    s = load(PERF, attach=False)
    produce(s, 11)
    s.close()
    del s
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208
