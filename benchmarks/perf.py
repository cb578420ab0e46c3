"""Perf event arrays, live at full speed: a buffer for each CPU, beside libbpf's own reader of them.

The C program is measured twice: woken for every record, as libbpf's ``perf_buffer__new`` asks the kernel to, and for
every 500th, which is as quick as it gets (ours chooses by itself). There is no budget for these.
"""

import mmap
import struct
import time

from . import peers
from .cells import EVENT, FILL, load
from .live import KEEP, QUIET, account, beside_peer, checked, cpu
from .producer import Producer, map_fd, map_info
from .report import Figure

# `syscall` programs cannot write to perf events; this one is run, never attached.
SOURCE = f"""
{EVENT}
struct {{ __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __type(value, struct event); }} events SEC(".maps");
u64 sent, refused;

SEC("raw_tp/sys_enter")
int produce(struct bpf_raw_tracepoint_args *ctx)
{{
    struct event event = {{}}, *e = &event;
    for (int i = 0; i < 1009; i++) {{
        u64 number = sent++;
        {FILL}
        if (bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, e, sizeof(*e)))
            refused++;
    }}
    return 0;
}}
"""
ARGUMENTS = struct.pack("<QQ", 0, 0)  # of the tracepoint; the program does not look at them


def run(quick):
    rounds, seconds = (2, 1.0) if quick else (3, 2.0)
    sides = {"ours": kept, "C": lambda s: in_c(s, 1), "C, woken for each 500th": lambda s: in_c(s, 500)}
    results, missing = {name: [] for name in sides}, ""
    for _ in range(rounds):
        for name, measure in sides.items():
            if name == "ours" or not missing:
                try:
                    results[name].append(measure(seconds))
                except peers.PeerMissing as error:
                    missing = str(error)
    ours = results.pop("ours")
    for name, theirs in results.items():
        yield Figure(
            "perf buffer, flat out -> kept records",
            "M/s",
            [r["rate"] for r in ours],
            [r["rate"] for r in theirs],
            f"libbpf {name}",
            missing=missing,
            note=account(ours, theirs),
            raw={"rounds": ours, "peer_rounds": theirs},
        )
    yield Figure(
        "  lost of these",
        "%",
        [100 * r["lost"] / r["sent"] for r in ours],
        [100 * r["lost"] / r["sent"] for r in results["C"]],
        "libbpf C",
        better="less",
    )


def kept(seconds):
    with load(SOURCE, keep=KEEP, attach=False) as s, Producer(s, order=ARGUMENTS, seconds=seconds) as p:
        begin = cpu()
        p.start()
        made = p.wait()
        s.events.wait(s.vars["sent"] - s.vars["refused"], timeout=10)
        took, stats = time.monotonic() - made["began"], s.events.stats()
        return checked(s, stats["received"], stats["lost"], took) | {"cpu": cpu() - begin}


def in_c(seconds, every):
    with load(SOURCE, keep=1, attach=False) as s:
        s.events.pause()
        pages = map_info(s).per_cpu_bytes // mmap.PAGESIZE
        return beside_peer(s, peers.c_consumer("perf", map_fd(s), QUIET, pages, every), seconds, order=ARGUMENTS)
