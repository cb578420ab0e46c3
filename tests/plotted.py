"""Events for tests of plots: made up with a fixed seed, or those of the notebooks' recordings."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

import ebpflab

mpl.use("agg")

# Those with a time, a process and a file in each row.
RECORDINGS = sorted((Path(__file__).parents[1] / "notebooks" / "recordings").glob("0[01]_*/*.parquet"))
START = 1_700_000_000_123_456_789
COUNT = 10_007
SECOND = 10**9


def made(count, seconds=90):
    random = np.random.default_rng(7)
    at = START + np.sort(random.integers(0, seconds * SECOND, count))
    share = np.arange(12, 0, -1) / 78
    found = pd.DataFrame(
        {
            "time": pd.to_datetime(at, utc=True),
            "cpu": random.integers(0, 7, count).astype("u4"),
            "took": pd.to_timedelta(random.lognormal(9, 2, count).astype("i8")),
            "wait_us": random.lognormal(3, 2, count).astype("u8"),
            "bytes": np.where(random.random(count) < 0.1, 0, 2 ** random.uniform(0, 22, count)).astype("u4"),
            "change": random.normal(0, 3, count),
            "comm": pd.Categorical(random.choice([f"task{i}" for i in range(12)], count, p=share)),
        }
    )
    found.attrs = {"received": count, "lost": 0, "evicted": 0, "span": [], "gaps": []}
    return found


def captured(path):
    with ebpflab.replay(path, speed=None) as session:
        return session.events.df()


def nanoseconds(series):
    return series.dt.tz_localize(None).to_numpy().astype("datetime64[ns]").astype("i8")


def texts(ax):
    return [text.get_text() for text in ax.texts]
