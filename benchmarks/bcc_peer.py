"""The peer in BCC's Python; run by the interpreter that has BCC, not by ours. Prints lines of JSON.

    bcc_peer.py drain MAP_FD     take what lies ready, once
    bcc_peer.py live MAP_FD      poll until standard input is closed and nothing came for half a second
    bcc_peer.py compile [TEXT]   for each line of standard input compile, load and attach a changed program

The first two do what ``BPF.open_ring_buffer`` and ``BPF.ring_buffer_poll`` of bcc/__init__.py do, on a map that
another process made, and the callback is what BCC's documentation has people write.
"""

import ctypes as ct
import json
import select
import sys
import time


class Event(ct.Structure):
    _fields_ = [
        ("number", ct.c_uint64),
        ("ts", ct.c_uint64),
        ("pid", ct.c_uint32),
        ("cpu", ct.c_uint32),
        ("value", ct.c_uint64),
        ("comm", ct.c_char * 16),
    ]


def consume(map_fd, live):
    from bcc.libbcc import _RINGBUF_CB_TYPE, lib

    kept = []

    def callback(_context, data, _size):
        e = ct.cast(data, ct.POINTER(Event)).contents
        kept.append((e.number, e.ts, e.pid, e.cpu, e.value, e.comm.decode("utf-8", "replace")))
        return 0

    function = _RINGBUF_CB_TYPE(callback)
    ring = lib.bpf_new_ringbuf(map_fd, function, None)
    if not ring:
        sys.exit("BCC cannot open the ring")
    print("ready", flush=True)
    first = last = time.monotonic()
    if not live:
        lib.bpf_consume_ringbuf(ring)
        last = time.monotonic()
    seen = 0
    # Zero from a poll is no sign of quiet: it also stands for a record that is still being written.
    while live and (time.monotonic() - last < 0.5 or not told_to_end()):
        lib.bpf_poll_ringbuf(ring, 100)
        if len(kept) != seen:
            last = time.monotonic()
        seen = len(kept)
    cpu = time.process_time()
    print(json.dumps({"records": len(kept), "first": first, "last": last, "cpu": cpu}), flush=True)


def told_to_end():
    """The parent closes our standard input once nobody produces any more."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


PROGRAM = """
struct event { u32 pid; char comm[16]; char path[64]; };
BPF_RINGBUF_OUTPUT(events, 256);
TRACEPOINT_PROBE(syscalls, sys_enter_openat)
{
    struct event *e = events.ringbuf_reserve(sizeof(*e));
    if (!e)
        return 0;
    e->pid = bpf_get_current_pid_tgid() >> 32;
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    bpf_probe_read_user_str(e->path, sizeof(e->path), args->filename);
    events.ringbuf_submit(e, 0);
    return 0;
}
"""


def compile_on_demand(text):
    from bcc import BPF

    print("ready", flush=True)
    for number in sys.stdin:
        start = time.perf_counter()
        program = BPF(text=f"{text}// {number}", cflags=["-Wno-everything"])
        print(json.dumps({"ms": (time.perf_counter() - start) * 1000}), flush=True)
        program.cleanup()


if __name__ == "__main__":
    if sys.argv[1] == "compile":
        compile_on_demand(sys.argv[2] if len(sys.argv) > 2 else PROGRAM)
    else:
        consume(int(sys.argv[2]), sys.argv[1] == "live")
