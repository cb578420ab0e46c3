"""From a warm cell to an attached program, beside BCC and bpftrace with the same probe, in one run.

Ours is the time of ``ebpflab.load``: with a changed cell, so that clang runs, and with an unchanged one. BCC's is that
of ``BPF(text=...)`` with a changed text, which compiles, loads and attaches, in a process that has imported it and
compiled once before. bpftrace is timed from its start to its first event, because it says "Attaching" before it does;
a thread opens a file every half millisecond meanwhile, so that this adds next to nothing.
"""

import contextlib
import itertools
import subprocess
import threading
import time
from pathlib import Path

import ebpflab

from . import bcc_headers, peers
from .report import Figure

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


def run(quick):
    rounds = 5 if quick else 15
    ebpflab.load(SOURCE).close()  # warm: headers, caches, imports
    with contextlib.ExitStack() as stack:
        sides = {"changed": changed, "unchanged": lambda: ours(SOURCE), "bpftrace": bpftrace}
        times, missing, headers = {name: [] for name in (*sides, "BCC")}, {}, ""
        try:
            sides["BCC"], headers = _bcc(stack)
        except peers.PeerMissing as error:
            missing["BCC"] = str(error)
        for _ in range(rounds):
            for name, measure in tuple(sides.items()):
                try:
                    measure()  # warm, as a second try at a cell is: another compiler had the caches before
                    times[name].append(measure())
                except peers.PeerMissing as error:
                    missing[name] = str(error)
                    del sides[name]
    yield from _figures(times, missing, headers)


def _figures(times, missing, headers):
    for name, limit in (("changed", 150), ("unchanged", 60)):
        yield Figure(f"{name} cell -> attached", "ms", times[name], budget=("ours", "<=", limit))
    for peer, limit, note in (("BCC", 8, headers), ("bpftrace", 3, "from its start to its first event")):
        yield Figure(
            "changed cell -> attached",
            "ms",
            times["changed"],
            times[peer],
            peer,
            better="less",
            budget=("ratio", ">=", limit),
            missing=missing.get(peer, ""),
            note=note,
        )


def changed():
    """Milliseconds of a load that has to compile."""
    return ours(f"{SOURCE}// {time.time_ns()}")


def ours(source):
    """Milliseconds of one load, attach included."""
    start = time.perf_counter()
    session = ebpflab.load(source)
    took = (time.perf_counter() - start) * 1000
    session.close()
    return took


def _bcc(stack):
    # A function that measures one round, and what BCC compiled against.
    environment, headers = bcc_headers.environment()
    peer = stack.enter_context(peers.bcc("compile", env=environment))
    numbers = itertools.count()
    peer.ask(next(numbers))  # its first compile is slower
    return lambda: peer.ask(next(numbers))["ms"], headers


def bpftrace():
    """Milliseconds from the start of bpftrace to its first event."""
    path, done = peers.bpftrace(), threading.Event()

    def opens():
        while not done.wait(0.0005):
            Path("/etc/hostname").read_bytes()

    opener = threading.Thread(target=opens)
    opener.start()
    start = time.perf_counter()
    command = [path, "-B", "line", "-e", BPFTRACE]
    peer = peers.start(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        for line in peer.stdout:
            if "/etc/hostname" in line:
                return (time.perf_counter() - start) * 1000
        raise peers.PeerMissing("bpftrace ended without an event")
    finally:
        peer.kill()
        peer.communicate()
        done.set()
        opener.join()
