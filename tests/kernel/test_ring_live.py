"""Real ring buffers, filled by a BPF program that runs on demand and counts what it sent and what was refused."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import shutil
import subprocess
import threading
import time

import numpy as np
import pytest

from ebpflab.ringbuf import RingBuffer
from ebpflab.store import Keep, RecordStore
from ebpflab.stream import Drain

RING_BYTES = 1 << 20
SMALL_BYTES = 1 << 16

SOURCE = r"""
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16); } small SEC(".maps");

struct args { __u64 first, count, mixed, flags, sent, lost, discarded; };
struct event { __u64 number; __u64 time; __u8 rest[32]; };

static int produce(void *ring, __u64 i, struct args *args)
{
	__u64 number = args->first + i;

	if (args->mixed && number % 7 == 3) {
		__u64 *two = bpf_ringbuf_reserve(ring, 16, 0);
		if (!two) {
			args->lost++;
			return 0;
		}
		two[0] = number;
		two[1] = ~number;
		args->sent++;
		bpf_ringbuf_submit(two, args->flags);
		return 0;
	}
	struct event *event = bpf_ringbuf_reserve(ring, sizeof(*event), 0);
	if (!event) {
		args->lost++;
		return 0;
	}
	if (args->mixed && number % 5 == 1) {
		args->discarded++;
		bpf_ringbuf_discard(event, args->flags);
		return 0;
	}
	__builtin_memset(event->rest, (__u8)number, sizeof(event->rest));
	event->number = number;
	event->time = bpf_ktime_get_ns();
	args->sent++;
	bpf_ringbuf_submit(event, args->flags);
	return 0;
}

static int to_events(__u64 i, struct args *args) { return produce(&events, i, args); }
static int to_small(__u64 i, struct args *args) { return produce(&small, i, args); }

SEC("syscall") int fill_events(struct args *ctx)
{
	struct args args = *ctx;
	bpf_loop(args.count, to_events, &args, 0);
	*ctx = args;
	return 0;
}

SEC("syscall") int fill_small(struct args *ctx)
{
	struct args args = *ctx;
	bpf_loop(args.count, to_small, &args, 0);
	*ctx = args;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
"""


class Args(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("first", "count", "mixed", "flags", "sent", "lost", "discarded")]


class TestRunOpts(ctypes.Structure):
    # struct bpf_test_run_opts of libbpf's bpf.h
    __test__ = False
    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    ]


class Producer:
    """The loaded object; `fill` runs its program in the calling thread, with the GIL released."""

    def __init__(self, path):
        self.lib = ctypes.CDLL(ctypes.util.find_library("bpf"), use_errno=True)
        for name in ("bpf_object__open_file", "bpf_object__find_program_by_name"):
            getattr(self.lib, name).restype = ctypes.c_void_p
        self.obj = ctypes.c_void_p(self.lib.bpf_object__open_file(os.fsencode(path), None))
        assert self.lib.bpf_object__load(self.obj) == 0

    def ring(self, name, size):
        return RingBuffer(self.lib.bpf_object__find_map_fd_by_name(self.obj, name.encode()), size, name)

    def fill(self, program, count, *, first=0, mixed=False, flags=0):
        found = ctypes.c_void_p(self.lib.bpf_object__find_program_by_name(self.obj, program.encode()))
        args = Args(first, count, mixed, flags)
        opts = TestRunOpts(sz=ctypes.sizeof(TestRunOpts), ctx_in=ctypes.addressof(args), ctx_size_in=56)
        assert self.lib.bpf_prog_test_run_opts(self.lib.bpf_program__fd(found), ctypes.byref(opts)) == 0
        return args

    def close(self):
        self.lib.bpf_object__close(self.obj)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("loading a BPF program needs root")
    if not shutil.which("clang") or not ctypes.util.find_library("bpf"):
        pytest.skip("needs clang and libbpf")
    directory = tmp_path_factory.mktemp("ring")
    (directory / "ring.bpf.c").write_text(SOURCE)
    command = [
        "clang",
        "-O2",
        "-g",
        "-target",
        "bpf",
        "-I/usr/include",
        f"-I/usr/include/{os.uname().machine}-linux-gnu",
    ]
    subprocess.run([*command, "-c", "ring.bpf.c", "-o", "ring.bpf.o"], cwd=directory, check=True, timeout=60)
    return directory / "ring.bpf.o"


@pytest.fixture
def producer(compiled):
    producer = Producer(compiled)
    yield producer
    producer.close()


@pytest.fixture
def stream(producer):
    """A running drain of the large ring: (producer, ring, store, drain)."""
    ring, store = producer.ring("events", RING_BYTES), RecordStore(Keep(rows=10**7))
    drain = Drain({ring: store}, name="live")
    drain.start()
    yield producer, ring, store, drain
    drain.stop()
    ring.close()


def numbers(store, length):
    with store.snapshot() as snapshot:
        return np.concatenate([chunk.data[:, :8].copy().view("<u8")[:, 0] for chunk in snapshot.chunks(length)])


def test_a_prime_number_of_records_arrives_exactly_once_and_in_order(stream):
    producer, _, store, drain = stream
    assert producer.fill("fill_events", 10_007).sent == 10_007
    assert drain.flush()
    assert store.counters().received == 10_007
    assert numbers(store, 48).tolist() == list(range(10_007))


def test_many_laps_at_full_speed_add_up_exactly(stream):
    producer, ring, store, drain = stream
    sent = lost = first = 0
    while first < 1_000_003:
        args = producer.fill("fill_events", min(1009, 1_000_003 - first), first=first)
        first, sent, lost = first + args.count, sent + args.sent, lost + args.lost
    assert drain.stop()
    assert sent + lost == 1_000_003
    got = numbers(store, 48)
    assert store.counters().received == len(got) == sent
    assert (np.diff(got.astype(np.int64)) > 0).all()
    assert ring.produced == sent * 56


def test_mixed_lengths_and_discards_are_told_apart_and_counted(stream):
    producer, _, store, drain = stream
    args = producer.fill("fill_events", 9973, mixed=True)
    assert args.lost == 0
    assert drain.flush()
    counters = store.counters()
    assert (counters.received, counters.discarded) == (args.sent, args.discarded)
    assert args.sent + args.discarded == 9973
    all_numbers = np.arange(9973)
    short = all_numbers[all_numbers % 7 == 3]
    long = all_numbers[(all_numbers % 7 != 3) & (all_numbers % 5 != 1)]
    assert numbers(store, 16).tolist() == short.tolist()
    assert numbers(store, 48).tolist() == long.tolist()
    with store.snapshot() as snapshot:
        merged = np.empty(snapshot.rows, np.int64)
        merged[snapshot.order(16)], merged[snapshot.order(48)] = short, long
        whole = np.concatenate([chunk.data for chunk in snapshot.chunks(48)])
    assert merged.tolist() == sorted([*short, *long])
    assert (whole[:, 16:] == (long % 256).astype(np.uint8)[:, None]).all()


def test_what_a_full_ring_refuses_is_what_is_missing(producer):
    ring, store = producer.ring("small", SMALL_BYTES), RecordStore()
    drain = Drain({ring: store}, name="overflow")
    drain.start()
    drain.pause(ring)
    args = producer.fill("fill_small", 5003)
    assert args.sent == SMALL_BYTES // 56  # nothing was drained, so this is what fits
    assert args.sent + args.lost == 5003
    drain.resume(ring)
    assert drain.stop()
    ring.close()
    assert store.counters().received == args.sent
    assert numbers(store, 48).tolist() == list(range(args.sent))


def test_a_small_ring_under_fire_keeps_the_books_exact(producer):
    ring, store = producer.ring("small", SMALL_BYTES), RecordStore(Keep(rows=1000))
    drain = Drain({ring: store}, name="fire")
    drain.start()
    args = producer.fill("fill_small", 500_009)
    assert drain.stop()
    ring.close()
    counters = store.counters()
    assert counters.received == args.sent
    assert args.sent + args.lost == 500_009
    assert (counters.rows, counters.evicted) == (1000, args.sent - 1000)


def test_records_without_a_wakeup_are_not_forgotten(stream):
    producer, _, store, _ = stream
    no_wakeup = 1  # BPF_RB_NO_WAKEUP
    assert producer.fill("fill_events", 23, flags=no_wakeup).sent == 23
    assert store.wait_for(23, timeout=1)


def test_stop_is_quick_at_full_speed(producer):
    ring, store = producer.ring("events", RING_BYTES), RecordStore(Keep(rows=1000))
    drain = Drain({ring: store}, name="flat-out")
    drain.start()
    done = threading.Event()

    def pour():
        while not done.is_set():
            producer.fill("fill_events", 100_003)

    pourer = threading.Thread(target=pour)
    pourer.start()
    try:
        assert store.wait_for(100_000, timeout=10)
        before = time.monotonic()
        drain.stop()
        assert time.monotonic() - before < 0.25
    finally:
        done.set()
        pourer.join()
        ring.close()


def test_the_clock_offset_puts_kernel_times_at_now(stream):
    producer, _, store, drain = stream
    before = time.time_ns()
    producer.fill("fill_events", 11)
    after = time.time_ns()
    assert drain.flush()
    with store.snapshot() as snapshot:
        (chunk,) = snapshot.chunks(48)
    utc = chunk.data[:, 8:16].copy().view("<i8")[:, 0] + chunk.clock_offset_ns
    assert (before - 100_000 <= utc).all()
    assert (utc <= after + 100_000).all()
