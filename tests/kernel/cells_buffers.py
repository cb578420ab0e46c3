"""Cells that send to perf buffers and to maps of ring buffers, and what makes them send.

Their program is run with test_run(), in the thread and on the CPU of the caller: what was sent is known exactly.
"""

from __future__ import annotations

import contextlib
import os
import signal

# `emit` is what a cell defines: it sends record number `number` and returns 0 if it was taken.
_PRODUCER = """
u32 count = 0;
u64 sent[EBPFLAB_CPUS];
u64 refused[EBPFLAB_CPUS];

static int send(u32 i, void **ctx)
{
	u32 cpu = bpf_get_smp_processor_id() & (EBPFLAB_CPUS - 1);
	if (emit(*ctx, sent[cpu]++, cpu))
		refused[cpu]++;
	return 0;
}

SEC("raw_tp/sys_enter")
int produce(void *ctx)
{
	bpf_loop(count, send, &ctx, 0);
	return 0;
}
"""

# 32 bytes, which a perf buffer makes 36. `ts` is before it is sent, `sent_before` after its CPU's last one was.
_EVENT = """
struct event { ktime_t ts; u64 number; ktime_t sent_before; u32 cpu; };
u64 last[EBPFLAB_CPUS];
"""

PERF = (
    _EVENT
    + """
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __type(value, struct event); } events SEC(".maps");

static long emit(void *ctx, u64 number, u32 cpu)
{
	struct event e = { .number = number, .cpu = cpu };
	e.sent_before = last[cpu & (EBPFLAB_CPUS - 1)];
	e.ts = bpf_ktime_get_ns();
	long error = bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &e, sizeof(e));
	last[cpu & (EBPFLAB_CPUS - 1)] = bpf_ktime_get_ns();
	return error;
}
"""
    + _PRODUCER
)

# Records of 32 and of 13 bytes; the short ones arrive as 20.
PERF_MIXED = (
    _EVENT
    + """
struct short_event { u64 number; u32 cpu; u8 odd; } __attribute__((packed));
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } events SEC(".maps");

static long emit(void *ctx, u64 number, u32 cpu)
{
	struct event e = { .number = number, .cpu = cpu };
	struct short_event s = { .number = number, .cpu = cpu, .odd = number & 255 };
	if (number % 3 == 1)
		return bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &s, sizeof(s));
	e.ts = bpf_ktime_get_ns();
	return bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &e, sizeof(e));
}
"""
    + _PRODUCER
)

_TO_SHARD = """
static long emit(void *ctx, u64 number, u32 cpu)
{
	void *ring = bpf_map_lookup_elem(&shards, &cpu);
	struct event *e;
	if (!ring)
		return 1;
	e = bpf_ringbuf_reserve(ring, sizeof(*e), 0);
	if (!e)
		return 1;
	e->ts = bpf_ktime_get_ns();
	e->number = number;
	e->cpu = cpu;
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}
"""

# For the test to fill in; @RINGS and @VALUES are rings that the program makes itself.
SHARDED = (
    _EVENT
    + """
struct ring { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, struct event); };
@RINGS
struct {
	__uint(type, @TYPE);
	__uint(max_entries, @SLOTS);
	__type(key, u32);
	__array(values, struct ring);
} shards SEC(".maps") @VALUES;
"""
    + _TO_SHARD
    + _PRODUCER
)

# Half of the records are longer and have their time elsewhere.
SHARDED_MIXED = (
    _EVENT
    + """
struct long_event { u64 number; u32 cpu; u32 zero; ktime_t when; char text[16]; };
struct ring { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 0);
	__type(key, u32);
	__array(values, struct ring);
} shards SEC(".maps");

static long emit(void *ctx, u64 number, u32 cpu)
{
	void *ring = bpf_map_lookup_elem(&shards, &cpu);
	struct long_event l = { .number = number, .cpu = cpu, .text = "long" };
	struct event e = { .number = number, .cpu = cpu };
	if (!ring)
		return 1;
	e.ts = l.when = bpf_ktime_get_ns();
	if (number % 2)
		return bpf_ringbuf_output(ring, &l, sizeof(l), 0);
	return bpf_ringbuf_output(ring, &e, sizeof(e), 0);
}
"""
    + _PRODUCER
)


def sharded(kind="ARRAY_OF_MAPS", slots=0, rings="", values=""):
    filled = {"@TYPE": f"BPF_MAP_TYPE_{kind}", "@SLOTS": str(slots), "@RINGS": rings, "@VALUES": values}
    source = SHARDED
    for word, text in filled.items():
        source = source.replace(word, text)
    return source


def produce(session, count, *, runs=1):
    """Have `count` records sent `runs` times, on this CPU."""
    session.vars["count"] = count
    for _ in range(runs):
        session.test_run("produce", ctx=[0, 0])


def produce_on(session, cpus, count, *, runs):
    """Have them sent on several CPUs at once, by a child process pinned to each."""
    session.vars["count"] = count
    children = []
    for cpu in cpus:
        child = os.fork()
        if child == 0:
            try:
                os.sched_setaffinity(0, [cpu])
                for _ in range(runs):
                    session.test_run("produce", ctx=[0, 0])
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


@contextlib.contextmanager
def pouring(session, cpu, count=1009):
    """Have records sent on a CPU as fast as it can, until the block ends."""
    session.vars["count"] = count
    child = os.fork()
    if child == 0:
        try:
            os.sched_setaffinity(0, [cpu])
            while True:
                session.test_run("produce", ctx=[0, 0])
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def totals(session):
    """How many records the program has tried to send, and how many were refused."""
    return sum(session.vars["sent"]), sum(session.vars["refused"])


def each_cpu_is_complete(frame):
    """Check that the numbers of every CPU go up by one from 0."""
    for _, rows in frame.groupby("cpu"):
        assert rows["number"].tolist() == list(range(len(rows)))


def rows_that_came_late(frame):
    """How many rows stand behind one that was certainly sent later.

    A record was sent between its `ts` and the `sent_before` of the next one of its CPU. What happens at a moment
    in between is the kernel's to know, but the order of those moments cannot contradict these bounds.
    """
    begun = frame["ts"].astype("int64")
    sent_by = frame.groupby("cpu")["sent_before"].shift(-1).astype("int64")
    known = frame.groupby("cpu").cumcount(ascending=False) > 0
    return int((known & (begun.cummax() > sent_by)).sum())
