"""Pictures of what bpftrace counted, in the look of our plots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..plots import histogram as bars
from ..plots import style
from ..plots import top as tops

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_TIMES = {"ns": 1, "us": 1000, "ms": 1_000_000}
_BYTES = ("bytes", "B")


def histogram(frame: pd.DataFrame, name: str, *, units: str = "", ax: Axes | None = None) -> Axes:
    """Draw buckets that are counted already: columns low, high and count, those of several keys added up."""
    buckets = frame.groupby("low", as_index=False).agg(high=("high", "max"), count=("count", "sum"))
    counts = buckets["count"].to_numpy(np.int64)
    used = np.nonzero(counts)[0]
    if not len(used):
        return style.empty(style.axes(ax), name, "nothing counted yet")
    buckets, counts = buckets.iloc[used[0] : used[-1] + 1], counts[used[0] : used[-1] + 1]
    edges = np.append(buckets["low"].to_numpy(np.float64), float(buckets["high"].iloc[-1]) + 1)
    log2, negative = _is_log2(edges), 0
    if log2 and edges[0] < 0:  # which has no place on a logarithmic axis
        edges, counts, negative = edges[1:], counts[1:], int(counts[0])
    edges = _closed(edges)
    kind, scale = ("time", _TIMES[units]) if units in _TIMES else ("bytes" if units in _BYTES else "", 1)
    median, p99 = (_share(edges, counts, part) * scale for part in (0.5, 0.99))
    found = bars.Histogram(edges, ("",), counts[None, :], log2, kind, units, scale, median, p99, 0, negative)
    ax = bars.paint(ax, found, frame.iloc[:0], name)
    # The values themselves are not known, only their buckets: the line under the title says no more than that.
    middle, most = style.amount(median, kind), style.amount(p99, kind)
    below = f", {negative:,} below 0 left out" if negative else ""
    ax.texts[-1].set_text(f"{style.events(int(counts.sum()))}, half of them below {middle}, 99 % below {most}{below}")
    return ax


def top(frame: pd.DataFrame, name: str, *, ax: Axes | None = None) -> Axes:
    """Draw the largest values of a map with a key."""
    value = str(frame.columns[-1])
    keys = frame[frame.columns[:-1]].astype(str).agg(", ".join, axis=1)
    return tops.draw(frame.assign(**{name: keys})[[name, value]], name, n=10, weight=value, ax=ax)


def _is_log2(edges: Any) -> bool:
    inner = edges[(edges > 1) & (edges < 2.0**62)]
    return bool(len(inner)) and bool((np.exp2(np.round(np.log2(inner))) == inner).all())


def _closed(edges: Any) -> Any:
    # A bucket that is open to one side is drawn as wide as its neighbour.
    edges = edges.copy()
    if len(edges) > 2 and edges[0] <= -(2.0**62):
        edges[0] = 2 * edges[1] - edges[2]
    if len(edges) > 2 and edges[-1] >= 2.0**62:
        edges[-1] = 2 * edges[-2] - edges[-3]
    return edges


def _share(edges: Any, counts: Any, part: float) -> float:
    # Where so much of the counts lies below: the upper edge of that bucket.
    at = int(np.searchsorted(np.cumsum(counts), part * counts.sum()))
    return float(edges[min(at + 1, len(edges) - 1)])
