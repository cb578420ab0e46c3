"""Memory: what a kept record costs, and whether the cap holds all the time, flat out."""

import ctypes
import gc
import os
import time
from pathlib import Path

from . import cells
from .live import PER_RUN
from .producer import Producer
from .report import Figure


def run(quick):
    seconds = 3.0 if quick else 10.0
    for keep, cap in (("100MB", 100_000_000), (2e6, 2_000_000 * cells.RECORD)):
        told = f"{keep:.0e} records" if isinstance(keep, float) else keep
        usage = capped(keep, cap, seconds)
        yield Figure(
            f"most memory under a cap of {told} / cap",
            "x",
            [usage["allocated"] / cap],
            budget=("ours", "<=", 1.2),
            note=f"{usage['samples']} looks in {seconds:.0f} s flat out, {usage['received']:,} records passed through; "
            f"never more than {usage['rows']:,} rows held; the whole process grew by {usage['rss'] / 1e6:.0f} MB",
            raw=usage,
        )
        yield Figure("  growth of the process / cap", "x", [usage["rss"] / cap], budget=("ours", "<=", 1.2))
        yield Figure("  most records held / cap", "x", [usage["bytes"] / cap], budget=("ours", "<=", 1))


def capped(keep, cap, seconds):
    """The most that a store with a cap has ever used, looked at every 10 ms while another process sends flat out."""
    with cells.load(cells.sender(), keep=keep) as s, Producer(s, order=cells.order(PER_RUN), seconds=seconds) as p:
        store = s.events._store
        before = settled()
        worst = {"allocated": 0, "rss": 0, "rows": 0, "bytes": 0, "samples": 0}
        p.start()
        while p.process.poll() is None:
            counters = store.counters()
            now = {"allocated": store.allocated, "rss": resident() - before, "rows": counters.rows}
            now["bytes"] = counters.nbytes
            worst |= {name: max(worst[name], value) for name, value in now.items()}
            worst["samples"] += 1
            time.sleep(0.01)
        p.wait()
        return worst | {"received": s.events.stats()["received"], "cap": cap}


def resident():
    """Bytes of this process in memory, without what it shares with files and with the kernel."""
    pages, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    return (pages - shared) * os.sysconf("SC_PAGESIZE")


def settled():
    """The same after everything that is free was given back: else what ran before would hide growth."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return resident()
