"""From a warm cell to an attached program, beside bpftrace with the same probe, in one run.

Ours is the time of ``ebpflab.load``: with a changed cell, so that clang runs, and with an unchanged one. bpftrace
is timed from its start to its first event, because it says "Attaching" before it does; a thread opens a file
every half millisecond meanwhile, so that this adds next to nothing.
"""

import statistics
import subprocess
import threading
import time
from pathlib import Path

import ebpflab

ROUNDS = 15

SOURCE = """
struct event { u32 pid; char comm[16]; char path[64]; };

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 20);
    __type(value, struct event);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int on_open(struct tracepoint__syscalls__sys_enter_openat *ctx)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 0;
    e->pid = bpf_get_current_pid_tgid() >> 32;
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    bpf_probe_read_user_str(e->path, sizeof(e->path), ctx->filename);
    bpf_ringbuf_submit(e, 0);
    return 0;
}
"""
BPFTRACE = 'tracepoint:syscalls:sys_enter_openat { printf("%d %s %s\\n", pid, comm, str(args->filename)); }'


def main():
    """Print the medians and their ratios."""
    ebpflab.load(SOURCE).close()  # warm: headers, caches, imports
    changed = [ours(f"{SOURCE}// round {n} of {time.time_ns()}") for n in range(ROUNDS)]
    same = [ours(SOURCE) for _ in range(ROUNDS)]
    peer = [bpftrace() for _ in range(ROUNDS)]
    rows = [
        ("changed cell -> attached", changed),
        ("unchanged cell -> attached", same),
        ("bpftrace -> first event", peer),
    ]
    for title, values in rows:
        print(f"{title:<28} median {statistics.median(values):6.1f} ms   ({min(values):.1f} to {max(values):.1f})")
    base = statistics.median(peer)
    ratios = base / statistics.median(changed), base / statistics.median(same)
    print(f"bpftrace / ours              {ratios[0]:6.1f} changed, {ratios[1]:.1f} unchanged\n")


def ours(source):
    """Milliseconds of one load, attach included."""
    start = time.perf_counter()
    session = ebpflab.load(source)
    took = (time.perf_counter() - start) * 1000
    session.close()
    return took


def bpftrace():
    """Milliseconds from the start of bpftrace to its first event."""
    done = threading.Event()

    def opens():
        while not done.wait(0.0005):
            Path("/etc/hostname").read_bytes()

    opener = threading.Thread(target=opens)
    opener.start()
    start = time.perf_counter()
    peer = subprocess.Popen(
        ["bpftrace", "-B", "line", "-e", BPFTRACE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        for line in peer.stdout:
            if "/etc/hostname" in line:
                return (time.perf_counter() - start) * 1000
        raise SystemExit("bpftrace ended without an event")
    finally:
        peer.kill()
        peer.communicate()
        done.set()
        opener.join()
