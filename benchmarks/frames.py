"""Columns to DataFrame: ``e.df()`` on records that are held already."""

import time

from . import cells
from .report import Broken, Figure

PEER_ROWS = 200_003


def run(quick):
    import pandas as pd

    pd.DataFrame({"warm": [1]})
    rounds = 3 if quick else 5
    tuples = [list_of_tuples(pd) for _ in range(rounds)]
    for numeric, title, limit in ((True, "numeric", 20), (False, "with comm and UTC time", 10)):
        for rows in (1_000_003, 10_000_019):
            first, *rates = frames(numeric, rows, rounds)
            yield Figure(
                f"{rows // 10**6} M records -> DataFrame, {title}",
                "M rows/s",
                rates,
                tuples,
                "list of tuples",
                budget=("ours", ">=", limit),
                note="" if numeric else "comm as a categorical of 23 names",
            )
            yield Figure("  the first time, into fresh memory", "M rows/s", [first])


def frames(numeric, rows, rounds):
    """Millions of rows a second of ``e.df()``, call by call."""
    with cells.filled(1_000_003, keep=rows, numeric=numeric) as s:
        s.events.resume()
        s.events.wait(1_000_003, timeout=10)
        while (held := s.vars["sent"]) < rows:
            s.test_run(ctx=cells.order(min(500_009, rows - held)))
            s.events.wait(s.vars["sent"] - s.vars["refused"], timeout=10)
        rates = []
        for _ in range(rounds + 1):
            start = time.perf_counter()
            frame = s.events.df()
            rates.append(len(frame) / (time.perf_counter() - start) / 1e6)
            if len(frame) != rows or int(frame["number"].iloc[-1]) != rows - 1:
                raise Broken(f"frames: {len(frame):,} rows of {rows:,}: {s.events.stats()}")
            del frame
    return rates


def list_of_tuples(pd):
    """What follows BCC's callback: a frame of the tuples that it kept."""
    columns = ("number", "ts", "pid", "cpu", "value", "comm")
    kept = [(n, 10**9 + n, 4242, 1, n * 7, "xython3") for n in range(PEER_ROWS)]
    start = time.perf_counter()
    frame = pd.DataFrame(kept, columns=columns)
    frame["ts"] = pd.to_datetime(frame["ts"], utc=True)
    frame["comm"] = frame["comm"].astype("category")
    return PEER_ROWS / (time.perf_counter() - start) / 1e6
