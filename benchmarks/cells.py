"""The cells that are measured, and what every record of them is made of."""

import struct

import ebpflab

from .report import Broken

RING = 64 << 20
RECORD = 48  # bytes; with its header a record takes 56 of the ring

_MAP = """
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, %d);
    __type(value, struct event);
} events SEC(".maps");
"""

_SENDER = """
struct order { u32 count; };
u64 sent, refused;

static int send(u32 i, void *unused)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    u64 number = sent++;
    if (!e) {
        refused++;
        return 0;
    }
    FILL
    bpf_ringbuf_submit(e, %s);
    return 0;
}

SEC("syscall")
int produce(struct order *order)
{
    bpf_loop(order->count, send, 0, 0);
    return 0;
}
"""

# What a tracing program usually sends; the names differ, as those of a machine's processes do.
EVENT = "struct event { u64 number; ktime_t ts; u32 pid; u32 cpu; u64 value; char comm[16]; };"
FILL = """
    e->number = number;
    e->ts = bpf_ktime_get_ns();
    e->pid = bpf_get_current_pid_tgid() >> 32;
    e->cpu = bpf_get_smp_processor_id();
    e->value = number * 2654435761;
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    e->comm[0] = 'a' + number % 23;
"""
_NUMERIC = "struct event { u64 number; u64 ns; u32 pid; u32 cpu; u64 value; s64 change; double share; };"
_NUMERIC_FILL = """
    e->number = number;
    e->ns = bpf_ktime_get_ns();
    e->pid = bpf_get_current_pid_tgid() >> 32;
    e->cpu = bpf_get_smp_processor_id();
    e->value = number * 2654435761;
    e->change = (s64)e->value >> 7;
    *(u64 *)&e->share = 0x3ff0000000000000 | number;
"""

# One event for each getppid(2) of one process: a hook that every peer can attach to.
GETPPID = """
struct event { ktime_t ts; u32 pid; u32 cpu; char comm[16]; };
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 64 << 20);
    __type(value, struct event);
} events SEC(".maps");
const volatile u32 only;
u64 sent;

SEC("tp/syscalls/sys_enter_getppid")
int on_call(void *ctx)
{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    if (pid != only)
        return 0;
    sent++;
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 0;
    e->ts = bpf_ktime_get_ns();
    e->pid = pid;
    e->cpu = bpf_get_smp_processor_id();
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    bpf_ringbuf_submit(e, 0);
    return 0;
}
"""


def sender(*, ring=RING, numeric=False, wakeups=True):
    """A cell whose ``syscall`` program sends as many records of 48 bytes as its context says."""
    event, fill = (_NUMERIC, _NUMERIC_FILL) if numeric else (EVENT, FILL)
    flags = "0" if wakeups else "BPF_RB_NO_WAKEUP"
    return event + _MAP % ring + (_SENDER % flags).replace("FILL", fill)


def order(count):
    """The context of the program: how many records one run sends."""
    return struct.pack("<I", count)


def load(source, **options):
    """Load a cell that is measured."""
    return ebpflab.load(source, **options)


def filled(count, keep, *, numeric=False):
    """A session whose ring holds `count` records, untouched: its stream is paused."""
    session = ebpflab.load(sender(numeric=numeric), keep=keep)
    try:
        fill(session, count)
    except BaseException:
        session.close()
        raise
    return session


def fill(session, count):
    """Pause the stream and have `count` records lie ready in its ring."""
    session.events.pause()
    before = session.vars["sent"]
    session.test_run(ctx=order(count))
    if session.vars["sent"] != before + count or session.vars["refused"]:
        raise Broken(f"the ring did not take {count:,} records")


def warm(session, count=1_000_003):
    """Fill the stream's history, so that its memory is used again from here on; returns how many records that took.

    The first use of memory is dear in a virtual machine, whose host may have to find it first.
    """
    sent = 0
    while not session.events.stats()["evicted"]:
        fill(session, count)
        session.events.resume()
        sent += count
        if not session.events.wait(sent, timeout=30):
            raise Broken("the records that fill the history did not arrive")
    return sent
