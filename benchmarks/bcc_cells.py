"""Cells in BCC's C beside the same program in libbpf's C, and beside BCC itself.

Rates are what came in from the first call of another process to the DataFrame of the newest million, without what was
lost; the books have to be exact.
Compiling is timed beside BCC with real kernel headers, which are foreign here: ``EBPFLAB_KERNEL_HEADERS`` names their
folder, as Debian's linux-headers packages have it.
"""

import os
import time
from pathlib import Path

import ebpflab

from . import peers
from .producer import Producer
from .report import Broken, Figure

CALLS = 1000  # of getppid(2) in one run of the producer
EACH = 50  # records of a call
KEEP = 1_000_000  # records: memory that was never used before is dear, and this is full after a tenth of a second
_RECORD = "struct event { u64 number; u64 ts; u32 pid; u32 cpu; char comm[16]; };"
_FILL = """
    struct event e = {};
    e.number = (*n)++;
    e.ts = bpf_ktime_get_ns();
    e.pid = bpf_get_current_pid_tgid() >> 32;
    bpf_get_current_comm(&e.comm, sizeof(e.comm));
#pragma unroll
    for (int i = 0; i < EACH; i++)
        %s;
    return 0;
""".replace("EACH", str(EACH))
_COUNT = "u64 *n; int zero = 0; if (bpf_get_current_pid_tgid() >> 32 != ONLY) return 0;"
_BCC = """
%s
%s;
BPF_ARRAY(counted, u64, 1);
TRACEPOINT_PROBE(syscalls, sys_enter_getppid)
{
    %s
    n = counted.lookup(&zero);
    if (!n)
        return 0;
    %s
}
"""
_LIBBPF = """
%s
struct { %s __type(value, struct event); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u64); }
counted SEC(".maps");
SEC("tp/syscalls/sys_enter_getppid")
int on_getppid(void *args)
{
    %s
    n = bpf_map_lookup_elem(&counted, &zero);
    if (!n)
        return 0;
    %s
}
"""
BUFFERS = {
    "ring buffer": (
        ("BPF_RINGBUF_OUTPUT(events, 4096)", "events.ringbuf_output(&e, sizeof(e), 0)"),
        (
            "__uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096 * 4096);",
            "bpf_ringbuf_output(&events, &e, sizeof(e), 0)",
        ),
    ),
    "perf buffer": (
        ("BPF_PERF_OUTPUT(events)", "events.perf_submit(args, &e, sizeof(e))"),
        (
            "__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);",
            "bpf_perf_event_output(args, &events, BPF_F_CURRENT_CPU, &e, sizeof(e))",
        ),
    ),
}
SMALL = """
#include <linux/sched.h>
BPF_HASH(counts, u32, u64);
TRACEPOINT_PROBE(syscalls, sys_enter_openat)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    u32 parent = task->real_parent->tgid;
    counts.increment(parent);
    return 0;
}
"""


def run(quick):
    rounds, runs = (3, 100) if quick else (5, 400)
    for name, (bcc, libbpf) in BUFFERS.items():
        sides = {"bcc": (_BCC, *bcc), "libbpf": (_LIBBPF, *libbpf)}
        rates = {side: [] for side in sides}
        for _ in range(rounds):
            for side, (text, buffer, send) in sides.items():
                source = text % (_RECORD, buffer, _COUNT, _FILL % send)
                rates[side].append(into_frames(source, side, runs))
        yield Figure(
            f"{name} of a BCC cell -> frame",
            "M/s",
            [r["rate"] for r in rates["bcc"]],
            [r["rate"] for r in rates["libbpf"]],
            "libbpf's C",
            budget=("ratio", ">=", 0.9),
            note=f"lost {sum(r['lost'] for r in rates['bcc']):,} and {sum(r['lost'] for r in rates['libbpf']):,}, "
            "each counted exactly",
            raw=rates,
        )
    yield compiling(rounds)


def into_frames(source, engine, runs):
    """The rate of one run, in million records a second."""
    sent = runs * CALLS * EACH
    with (
        Producer(None, runs=runs) as p,
        ebpflab.load(source.replace("ONLY", str(p.pid)), engine=engine, keep=KEEP) as s,
    ):
        start = time.monotonic()
        p.start()
        p.wait()
        while (counts := s.events.stats())["received"] + counts["lost"] < sent:
            if time.monotonic() - start > 60:
                raise Broken(f"bcc: {counts} does not add up to {sent:,}")
            time.sleep(0.001)
        rows = len(s.events.df())
        took = time.monotonic() - start
    if rows != counts["received"] - counts["evicted"]:
        raise Broken(f"bcc: a frame of {rows:,} rows, of {counts}")
    return {"rate": counts["received"] / took / 1e6, "lost": counts["lost"], "rows": rows}


def compiling(rounds):
    """Milliseconds from a changed cell to an attached one, beside BCC with real headers."""
    ours, theirs, missing = [], [], ""
    ebpflab.load(SMALL).close()
    for _ in range(rounds):
        start = time.perf_counter()
        session = ebpflab.load(f"{SMALL}// {time.time_ns()}")
        ours.append((time.perf_counter() - start) * 1000)
        session.close()
    headers = os.environ.get("EBPFLAB_KERNEL_HEADERS", "")
    if not Path(headers, "include/linux/kconfig.h").exists():
        missing = "EBPFLAB_KERNEL_HEADERS names no folder of kernel headers"
    else:
        try:
            with peers.bcc("compile", SMALL, env={"BCC_KERNEL_SOURCE": headers}) as peer:
                peer.ask(0)
                theirs = [peer.ask(number)["ms"] for number in range(1, rounds + 1)]
        except peers.PeerMissing as error:
            missing = str(error)
    return Figure(
        "changed BCC cell -> attached",
        "ms",
        ours,
        theirs,
        "BCC, Debian's headers",
        better="less",
        budget=("ratio", ">=", 2),
        missing=missing,
    )
