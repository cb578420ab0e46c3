"""Ring buffer to columns: our drain beside a Python callback for each event, in one run.

Ready: the same number of records lies in the buffer, and both sides take them out. The peer is what BCC's
Python does: libbpf's ``ring_buffer__consume`` calls a ctypes function for each record, which reads the
fields and keeps them.

Live: another process has a ``syscall`` program send 20 million records of 32 bytes as fast as it can; every one
has to arrive as columns or be counted as lost.
"""

import ctypes as ct
import os
import statistics
import time

import ebpflab
from ebpflab import _libbpf

RECORDS = 20_000_000
PER_RUN = 4_000  # what one run of the program sends: a longer one would keep its CPU from everybody else
READY = 500_000
ROUNDS = 5

SOURCE = """
struct event { u64 number; u64 ns; u32 cpu; u32 kind; u64 value; };

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 64 << 20);
    __type(value, struct event);
} events SEC(".maps");

u64 sent;
u32 count = %d;

static int send(u32 i, void *unused)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    u64 number = sent++;
    if (!e)
        return 0;
    e->number = number;
    e->ns = bpf_ktime_get_ns();
    e->cpu = bpf_get_smp_processor_id();
    e->kind = i & 7;
    e->value = i;
    bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
    return 0;
}

SEC("syscall")
int produce(void *ctx)
{
    bpf_loop(count, send, 0, 0);
    return 0;
}
"""


def main():
    """Print the rates, their ratio, and the identity of the counts."""
    ours, theirs = (
        statistics.median(ready() for _ in range(ROUNDS)),
        statistics.median(callback() for _ in range(ROUNDS)),
    )
    print(f"{READY:,} records ready in the buffer, medians of {ROUNDS}")
    print(f"  ring -> columns    {ours / 1e6:7.2f} M events/s")
    print(f"  ctypes callback    {theirs / 1e6:7.2f} M events/s")
    print(f"  ratio              {ours / theirs:7.1f}")
    with ebpflab.load(SOURCE % PER_RUN, keep=RECORDS) as s:
        rate, rows = live(s)
        stats, sent = s.events.stats(), s.vars["sent"]
    total = stats["received"] + stats["lost"]
    print(f"{sent:,} records sent live, as fast as another process can")
    print(f"  ring -> columns    {rate / 1e6:7.2f} M events/s, {stats['lost'] / sent:.2%} lost")
    print(f"  received {stats['received']:,} + lost {stats['lost']:,} = {total:,}; rows {rows:,}\n")
    if total != sent or rows != stats["received"]:
        raise SystemExit("counts do not add up")


def ready():
    """Take records that lie ready in the buffer; events per second from the first look to decoded columns."""
    with ebpflab.load(SOURCE % READY, keep=READY) as s:
        s.events.pause()
        s.test_run()
        batches = s.events.batches(timeout=1.0)
        start = time.perf_counter()
        s.events.resume()
        rows = 0
        for batch in batches:
            rows += len(batch["number"])
            if rows == READY:
                break
        return rows / (time.perf_counter() - start)


def live(session):
    """Have another process send everything; rows of decoded columns per second, and how many."""
    batches = session.events.batches(timeout=1.0)
    child = os.fork()
    if child == 0:
        for _ in range(RECORDS // PER_RUN):
            session.test_run()
        os._exit(0)
    rows, start, last = 0, time.perf_counter(), 0.0
    for batch in batches:
        rows += len(batch["number"])
        last = time.perf_counter()
    os.waitpid(child, 0)
    return rows / (last - start), rows


class Event(ct.Structure):
    """The record, as a BCC user would write it down."""

    _fields_ = [
        ("number", ct.c_uint64),
        ("ns", ct.c_uint64),
        ("cpu", ct.c_uint32),
        ("kind", ct.c_uint32),
        ("value", ct.c_uint64),
    ]


def callback():
    """Take the same records through libbpf with a ctypes function each; events per second."""
    lib = _libbpf.library()
    lib.ring_buffer__new.restype = ct.c_void_p
    kept = []

    @ct.CFUNCTYPE(ct.c_int, ct.c_void_p, ct.c_void_p, ct.c_size_t)
    def on_event(_context, data, _size):
        e = ct.cast(data, ct.POINTER(Event)).contents
        kept.append((e.number, e.ns, e.cpu, e.kind, e.value))
        return 0

    with ebpflab.load(SOURCE % READY) as s:
        s.events.pause()
        s.test_run()
        fd = next(m.fd for m in s._handle.maps() if m.name == "events")
        ring = ct.c_void_p(lib.ring_buffer__new(fd, on_event, None, None))
        start = time.perf_counter()
        lib.ring_buffer__consume(ring)
        took = time.perf_counter() - start
        lib.ring_buffer__free(ring)
    if len(kept) != READY:
        raise SystemExit(f"the callback saw {len(kept):,} of {READY:,} records")
    return len(kept) / took
