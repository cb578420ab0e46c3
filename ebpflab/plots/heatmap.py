"""Heat maps: the values of a column over time, in buckets whose colour is the number of events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ..errors import EbpflabError
from . import data, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from .style import Place

Scale = Literal["log2", "linear"]

_COLUMNS = 100  # bins of time, where nothing else is wanted
_ROWS = 40  # and of values, on a linear scale
_MOST = 2_000  # bins: more than a screen has dots


class Cells(NamedTuple):
    """How many events there are in each cell of a heat map.

    Attributes
    ----------
    time_edges
        Where the bins of time begin, and the last one ends: datetime64[ns], UTC.
    value_edges
        The same of the values: numbers, of durations nanoseconds. On the scale ``log2`` these are powers of two, below
        which there may be a bucket from 0.
    counts
        A row for each bin of time, a column for each bucket. As of :func:`numpy.histogram2d` an edge belongs to what
        is above it.
    left_out
        Events without a time or without a value.
    """

    time_edges: NDArray[np.datetime64]
    value_edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    left_out: int


def cells(
    frame: pd.DataFrame, column: str, *, time: str | None = None, bins: int = _COLUMNS, scale: Scale | None = None
) -> Cells:
    """Count events by time and by value.

    Parameters
    ----------
    frame
        Events; at least one of them with a time and a value.
    column
        A column of numbers or time spans.
    time
        A column of times; without it ``time``, or the first that holds times.
    bins
        How many bins of time there are; they share the time from the first event to the last evenly.
    scale
        ``log2``: a bucket for each power of two, as kernel people draw it. ``linear``: buckets of equal width. Without
        it ``log2``, unless there are values below 0.

    Raises
    ------
    EbpflabError
        There is no such column, it holds no numbers or times, or values below 0 are to be on the scale ``log2``.

    Examples
    --------
    >>> cells(s.events.df(), "took", bins=3).counts.shape
    (3, 14)
    """
    at, values, left_out = _pairs(frame, column, time)
    _check(scale, bins)
    if not len(at):
        raise EbpflabError(f"no event has both a time and a {column!r}", stage="plot")
    low = values.min()
    if scale == "log2" and low < 0:
        raise EbpflabError(
            f"the column {column!r} goes down to {low:,.6g}: log2 has no place for it",
            hint='draw it with scale="linear"',
            stage="plot",
        )
    whole = data.numbers(frame, column).step
    edges = _linear(low, values.max(), whole) if scale == "linear" or low < 0 else _powers(values)
    start, span = int(at.min()), int(np.ptp(at)) + 1
    bins = min(bins, span)
    width = -(-span // bins)
    times = start + width * np.arange(bins + 1, dtype=np.int64)
    rows = np.searchsorted(edges, values, side="right") - 1
    rows = np.minimum(rows, len(edges) - 2)  # the greatest value may be the last edge itself
    flat = (at - start) // width * (len(edges) - 1) + rows
    counts = np.bincount(flat, minlength=bins * (len(edges) - 1)).reshape(bins, -1)
    return Cells(times.astype("datetime64[ns]"), edges, counts, left_out)


def draw(
    frame: pd.DataFrame,
    column: str,
    *,
    ax: Axes | None = None,
    time: str | None = None,
    bins: int = _COLUMNS,
    scale: Scale | None = None,
    **mesh: Any,
) -> Axes:
    """Draw the values of a column over time as a heat map: the colour of a cell is the number of events in it.

    Parameters
    ----------
    frame, column, time, bins, scale
        As for :func:`cells`.
    ax
        Where to draw; without it, on a new figure.
    **mesh
        Passed on to :meth:`matplotlib.axes.Axes.pcolormesh`, such as ``cmap`` or ``norm``.

    Returns
    -------
    Axes
        x is time; y is the value, of durations in nanoseconds. Cells without events are transparent.

    Raises
    ------
    EbpflabError
        As of :func:`cells`.

    Examples
    --------
    >>> heatmap.draw(s.events.df(), "took").axhline(1_000_000)  # a line at 1 ms
    <matplotlib.lines.Line2D object at ...>
    """
    return paint(ax, counted(frame, column, time=time, bins=bins, scale=scale), frame, column, **mesh)


def counted(frame: pd.DataFrame, column: str, **options: Any) -> Cells | None:
    """Return :func:`cells`, or None if no event has both a time and a value."""
    there = len(frame) > 0 and len(_pairs(frame, column, options.get("time"))[0]) > 0
    return cells(frame, column, **options) if there else None


def paint(ax: Place, found: Cells | None, frame: pd.DataFrame, column: str, **mesh: Any) -> Axes:
    """Draw what was counted, of events that this frame tells more about."""
    name = f"{column} over time"
    ax = style.axes(ax, height=3.8)
    if found is None:
        return style.empty(ax, name, "no event has a time and a value" if len(frame) else "no events yet")
    kind = data.numbers(frame, column).kind
    start, end = found.time_edges[[0, -1]].astype(np.int64).tolist()
    x, y = style.dates(found.time_edges.astype(np.int64)), _value_axis(ax, found.value_edges, kind)
    shown = np.ma.masked_equal(found.counts.T, 0)
    look = {"norm": _norm(found.counts), "cmap": _colours(ax), "rasterized": True, **mesh}
    _colour_bar(ax, ax.pcolormesh(x, y, shown, **look))
    style.time_axis(ax, start, end)
    ax.grid(visible=False)
    ax.set_ylabel(column)
    style.title(ax, name, _detail(frame, found))
    return ax


def _pairs(frame: pd.DataFrame, column: str, time: str | None) -> tuple[NDArray[np.int64], NDArray[Any], int]:
    numbers = data.numbers(frame, column)
    if time is not None:
        data.pick(frame, time)
    at, dated = data.times(frame, time)
    both = numbers.valid & dated
    return at[both[dated]], numbers.values[both[numbers.valid]], len(frame) - int(both.sum())


def _check(scale: str | None, bins: int) -> None:
    if scale not in (None, "log2", "linear"):
        raise EbpflabError(f"there is no scale {scale!r}", hint="scales: log2, linear", stage="plot")
    if not 1 <= bins <= _MOST:
        raise EbpflabError(f"bins={bins!r} is not from 1 to {_MOST:,}", stage="plot")


def _powers(values: NDArray[Any]) -> NDArray[np.float64]:
    # [2^n, 2^(n+1)) each, and [0, 2^n) for what is 0: frexp() is exact where log2() rounds.
    positive = values[values > 0]
    if not len(positive):
        return np.array([0.0, 1.0])
    first, last = (int(np.frexp(np.float64(value))[1]) - 1 for value in (positive.min(), positive.max()))
    edges = np.ldexp(1.0, np.arange(first, last + 2))
    return edges if len(positive) == len(values) else np.concatenate([[0.0], edges])


def _linear(low: Any, high: Any, step: int) -> NDArray[np.float64]:
    low, high = float(low), float(high)
    wanted = max((high - low) / _ROWS, float(step)) or abs(high) / _ROWS or 1.0
    width = data.steps(wanted)
    first = np.floor(low / width)
    return np.asarray((first + np.arange(int(np.floor(high / width) - first) + 2)) * width, np.float64)


def _value_axis(ax: Axes, edges: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    # Returns the edges as drawn: a logarithmic axis has no 0, so the bucket from 0 is drawn as high as the others.
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    steps = np.diff(edges)
    if len(steps) < 2 or np.allclose(steps, steps[0]):
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.amount(value, kind)))
        return edges
    shown = edges.copy()
    if edges[0] == 0:
        shown[0] = shown[1] / 2
    ax.set_yscale("log", base=2)
    ax.set_ylim(shown[0], shown[-1])
    ticks = _ticks(shown, kind)
    ax.yaxis.set_major_locator(FixedLocator(ticks))
    ax.yaxis.set_minor_locator(NullLocator())
    zero = shown[0] if edges[0] == 0 else None
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: "0" if value == zero else style.amount(value, kind)))
    return shown


def _ticks(edges: NDArray[np.float64], kind: str) -> list[float]:
    # Durations at 1, 10, 100 us, or denser if that would be few; everything else at edges of buckets.
    low, high = float(edges[0]), float(edges[-1])
    if kind != "time":
        return [float(edge) for edge in edges[:: -(-len(edges) // 12)]]
    decades = [10.0**power for power in range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)]
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [factor * decade for decade in decades for factor in factors if low <= factor * decade <= high]
        if len(ticks) >= 5:
            break
    return ticks


def _colours(ax: Axes) -> Any:
    # Few events are near the colour of the ground, many are far from it.
    import matplotlib as mpl
    from matplotlib.colors import ListedColormap, to_rgb

    red, green, blue = to_rgb(ax.get_facecolor())
    light = 0.3 * red + 0.59 * green + 0.11 * blue > 0.5
    shades = mpl.colormaps[style.MAP](np.linspace(0.95, 0, 256) if light else np.linspace(0.15, 1, 256))
    return ListedColormap(shades)


def _norm(counts: NDArray[np.int64]) -> Any:
    # A few busy cells would leave all others in one colour.
    from matplotlib.colors import LogNorm, Normalize

    most = int(counts.max())
    return LogNorm(1, most) if most >= 100 else Normalize(0, most)


def _colour_bar(ax: Axes, mesh: Any) -> None:
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    bar = ax.figure.colorbar(mesh, ax=ax, label="events", pad=0.01)
    if not isinstance(mesh.norm, LogNorm):
        bar.locator = MaxNLocator(nbins=6, integer=True)
    bar.formatter = FuncFormatter(lambda value, _: f"{value:,.10g}")
    bar.minorticks_off()  # they have no label, and take longer than all others
    bar.update_ticks()


def _detail(frame: pd.DataFrame, found: Cells) -> str:
    width = int(found.time_edges[1] - found.time_edges[0])
    total = int(found.counts.sum())
    parts = [f"{total:,} event{'' if total == 1 else 's'}", f"columns of {style.duration(width)}", data.loss(frame)]
    parts += [f"{found.left_out:,} without a time or value"] if found.left_out else []
    return ", ".join(part for part in parts if part)


def words(found: Cells, column: str, kind: str) -> str:
    """Return the picture in a sentence: how many values over how long, and where most of them lie."""
    sums = found.counts.sum(axis=0)
    at = int(sums.argmax())
    low, high = (style.amount(float(edge), kind) for edge in found.value_edges[at : at + 2])
    span = style.duration(float((found.time_edges[-1] - found.time_edges[0]).astype(np.int64)))
    return f"{int(sums.sum()):,} values of {column} over {span}: most ({int(sums[at]):,}) from {low} to {high}"
