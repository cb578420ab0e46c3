"""Histograms of a column: log2 buckets as kernel people draw them, or equal ones where the values lie close together.

A log2 bucket holds the values from a power of two up to the next: that is what ``print_log2_hist()`` of BCC's
libbpf-tools and ``hist()`` of bpftrace print. What is below the first power, such as 0, has a bucket of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import EbpflabError
from . import data, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from .style import Place

_WIDE = 32  # times: values that differ by more than this are drawn in log2 buckets
_BINS = 40
_LARGEST = 1e300  # sums and differences of numbers up to this are floats, too
_MOST_BINS = 10_000
_MOST_NUMBERS = 24  # bars that have room for their number
_MOST_LETTERS = 118  # of labels, in the width of the axes
_BESIDE = 0.8  # of that width is left beside a legend


class Histogram(NamedTuple):
    """Counts of values: `counts` has a row for each of `names` and a column for each bucket.

    Bucket i holds what is at least ``edges[i]`` and less than ``edges[i + 1]``, in units of `unit` (of `scale` each, as
    the column counts: nanoseconds of a duration, bytes of a size). The last equal bucket holds its end too.
    """

    edges: NDArray[np.float64]
    names: tuple[str, ...]
    counts: NDArray[np.int64]
    log2: bool
    kind: str
    unit: str
    scale: int
    median: float
    p99: float
    missing: int  # rows without a value
    negative: int  # values that no log2 bucket holds
    others: int = 0  # how many values of `by` the last row stands for, if it is that of the others


def counts(
    frame: pd.DataFrame,
    column: str,
    by: str | None = None,
    log2: bool | str = "auto",
    bins: int | None = None,
    top: int = 5,
) -> Histogram | None:
    """Count the values of a column in buckets, by the `top` most frequent values of the column `by`.

    Returns None if there are none.

    Raises
    ------
    EbpflabError
        When a column is not there or holds no numbers, or `log2` or `bins` is none of what they may be.
    """
    _check(log2, bins)
    if not len(frame):
        return None
    found = data.numbers(frame, column)
    codes = np.zeros(len(found.values), np.int64)
    names = data.groups(data.pick(frame, by)[found.valid], top) if by is not None else data.Groups(codes, ("",))
    values = found.values
    if not len(values):
        return None
    ends = float(values.min()), float(values.max())
    if max(map(abs, ends)) > _LARGEST:
        what = f"the values of {column!r} go from {ends[0]:.3g} to {ends[1]:.3g}: buckets have no such edges"
        raise EbpflabError(what, hint="leave the largest out: they may be no numbers at all", stage="plot")
    logarithmic = bins is None and _is_wide(values) if log2 == "auto" else bool(log2)
    kept = values >= 0 if logarithmic else np.ones(len(values), bool)
    if not kept.any():
        raise EbpflabError(f"all values of {column!r} are below 0", hint="log2=False draws equal buckets", stage="plot")
    scale, unit = _unit(found, values[kept], logarithmic)
    edges, places = _log2(values[kept], scale, found.step) if logarithmic else _equal(values, scale, found.step, bins)
    width = len(edges) - 1
    cells, rows = names.codes[kept] * width + places, len(names.names)
    table = np.bincount(cells, minlength=rows * width).reshape(rows, width)
    middle, high = (float(q) for q in np.quantile(values, [0.5, 0.99]))
    missing, negative = len(frame) - len(values), int((~kept).sum())
    about = (logarithmic, found.kind, unit, scale, middle, high, missing, negative)
    return Histogram(edges, names.names, table, *about, names.others)


def draw(
    frame: pd.DataFrame,
    column: str,
    *,
    by: str | None = None,
    log2: bool | str = "auto",
    bins: int | None = None,
    top: int = 5,
    ax: Axes | None = None,
) -> Axes:
    """Draw :func:`counts` as bars that touch, stacked by the values of `by`."""
    return paint(ax, counts(frame, column, by, log2, bins, top), frame, column, by)


def paint(ax: Place, found: Histogram | None, frame: pd.DataFrame, column: str, by: str | None = None) -> Axes:
    """Draw what was counted, of events that this frame tells more about."""
    name = f"{column} by {by}" if by else column
    ax = style.axes(ax)
    if found is None:
        return style.empty(ax, name, "no events yet" if not len(frame) else "no values")
    base, layers = np.zeros(found.counts.shape[1]), []
    others = found.others > 0
    if found.log2:
        ax.set_xscale("log", base=2)
    for row, colour in zip(found.counts, style.colours(len(found.names), others), strict=True):
        layers.append(_bars(ax, _shown_edges(found), base, row, colour))
        base = base + row
    _x_axis(ax, found, column, style.room(ax) * (_BESIDE if by else 1))
    if len(base) <= _MOST_NUMBERS * style.room(ax):  # a bar of 3 among thousands cannot be seen, its number can
        _numbers(ax, found, base)
    ax.set_ylim(0, float(base.max()) * 1.12)
    ax.set_ylabel("events")
    style.thousands(ax.yaxis)
    if by is not None:
        style.legend(ax, layers, found.names, by)
    style.title(ax, name, _detail(frame, found))
    return ax


def _check(log2: bool | str, bins: int | None) -> None:
    if log2 not in (True, False, "auto"):
        raise EbpflabError(f"log2={log2!r} is none of True, False and 'auto'", stage="plot")
    if bins is not None and not (isinstance(bins, int) and 1 <= bins <= _MOST_BINS):
        raise EbpflabError(f"bins={bins!r} is no number of buckets", hint=f"1 to {_MOST_BINS:,}", stage="plot")
    if bins is not None and log2 is True:
        hint = "leave bins out, or give log2=False"
        raise EbpflabError("powers of two make the log2 buckets, so bins has no meaning", hint=hint, stage="plot")


def _is_wide(values: NDArray[Any]) -> bool:
    # The ends of most values, not of all: one outlier below does not make values that lie together wide.
    if values.min() < 0:
        return False
    low = max(float(np.quantile(values, 0.01)), float(values.max()) / 2**63, 1.0 if values.dtype.kind != "f" else 0.0)
    return float(values.max()) >= _WIDE * low > 0


def _unit(found: data.Numbers, values: NDArray[Any], logarithmic: bool) -> tuple[int, str]:
    # Of durations the largest unit that leaves most of them at least 1, or that equal buckets are labelled in well.
    if found.kind != "time":
        return 1, found.kind
    highest = float(np.abs(values).max())
    if not logarithmic:
        return style.time_unit(max(highest / 2, found.step))
    return style.time_unit(max(float(np.quantile(values, 0.01)), highest / 1e6, found.step))


def _log2(values: NDArray[Any], scale: int, step: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    positive = values[values > 0]
    if not len(positive):
        return np.array([0.0, 1.0]), np.zeros(len(values), np.int64)
    least, most = positive.min(), positive.max()
    if values.dtype.kind == "f":
        low, high = (_floor_log2(x / scale) for x in (max(least, most / 2**63), most))
        low = max(low, 0) if step else low
        powers = scale * np.exp2(np.arange(low, high + 1))
    else:  # integers stay integers: a float has only 53 bits to tell 2**63 - 1 from 2**63
        low, high = (max((int(x) // scale).bit_length() - 1, 0) for x in (least, most))
        values = values.astype(np.uint64)
        powers = np.array([scale << i for i in range(low, high + 1)], np.uint64)
    places = np.searchsorted(powers, values, side="right")
    edges = np.exp2(np.arange(low, low + len(powers) + 1))
    if places.min() == 0:
        return np.concatenate([[0.0], edges]), places
    return edges, places - 1


def _floor_log2(value: float) -> int:
    return int(np.frexp(value)[1]) - 1


def _equal(
    values: NDArray[Any], scale: int, step: int, bins: int | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    shown = values / scale
    low, high = float(shown.min()), float(shown.max())
    apart = 2 * float(np.spacing(max(abs(low), abs(high))))  # no bucket is narrower than floats can tell
    if bins is not None:
        end = max(high if high > low else low + 1.0, low + bins * apart)
        edges = np.linspace(low, end, bins + 1)
    else:
        least = step / scale
        width = data.steps(max(max((high - low) / _BINS, least) or 1.0, apart))
        first, last = np.floor(low / width), np.floor(high / width) + 1
        edges = width * np.arange(first, last + 1)
    return edges, np.minimum(np.searchsorted(edges, shown, side="right") - 1, len(edges) - 2)


def _shown_edges(found: Histogram) -> NDArray[np.float64]:
    # 0 has no place on a logarithmic axis: its bucket is drawn as wide as the next.
    edges = found.edges.copy()
    if found.log2 and edges[0] == 0:
        edges[0] = edges[1] / 2
    return edges


def _bars(ax: Axes, edges: NDArray[np.float64], base: NDArray[np.float64], row: NDArray[np.int64], colour: Any) -> Any:
    # One artist for all bars of a layer: a hundred patches would take longer than everything else. An outline is the
    # colour of the ground: neighbours stay apart, and nothing lies between them.
    from matplotlib.collections import PolyCollection

    left, right, above = edges[:-1], edges[1:], base + row
    corners = np.array([[left, base], [left, above], [right, above], [right, base]]).transpose(2, 0, 1)
    ground, thin = ax.get_facecolor(), 0.8 if len(row) <= 100 else 0
    bars: Any = PolyCollection(corners, facecolors=colour, edgecolors=ground, linewidths=thin)  # type: ignore[arg-type]
    return ax.add_collection(bars, autolim=False)


def _numbers(ax: Axes, found: Histogram, base: NDArray[np.float64]) -> None:
    edges = _shown_edges(found)
    middles = np.sqrt(edges[:-1] * edges[1:]) if found.log2 else (edges[:-1] + edges[1:]) / 2
    look: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": "small", "alpha": 0.75}
    for x, count in zip(middles.tolist(), base.tolist(), strict=True):
        if count:
            ax.annotate(f"{int(count):,}", (x, count), (0, 2), va="bottom", **look)


def _x_axis(ax: Axes, found: Histogram, column: str, room: float) -> None:
    edges = _shown_edges(found)
    ax.set_xlim(float(edges[0]), float(edges[-1]))
    unit = f", {found.unit}" if found.unit and found.unit != column else ""
    ax.set_xlabel(f"{column}{unit}{' (buckets are powers of two)' if found.log2 else ''}")
    if not found.log2:
        style.thousands(ax.xaxis)
        return
    labels = [_label(edge, found) for edge in found.edges]
    first = int(found.edges[0] == 0)  # 0 is none of the powers, and always has its label
    every = _spacing([len(label.split("\n")[0]) for label in labels[first:]], _MOST_LETTERS * room)
    chosen = [*range(first), *range(first, len(edges), every)]
    ax.set_xticks(edges[chosen], [labels[i] for i in chosen])
    ax.minorticks_off()


def _spacing(lengths: list[int], letters: float) -> int:
    # The smallest step at which neighbours among labels of these lengths, evenly spread, leave a letter between them.
    for step in range(1, len(lengths)):
        pairs = zip(lengths[::step], lengths[step::step], strict=False)
        if all((left + right) / 2 + 1 <= step * letters / len(lengths) for left, right in pairs):
            return step
    return len(lengths)


def _label(edge: float, found: Histogram) -> str:
    if 0 < edge < 1:
        return f"1/{1 / edge:g}"
    if found.kind == "bytes" and edge:  # the unit is said once, below the first power that has it
        scale, unit = style.unit_of(edge, "bytes")
        return f"{edge / scale:g}\n{unit}" if edge == scale else f"{edge / scale:g}"
    # 1K us would be neither 1000 nor 1024 for sure.
    return f"{edge:.12g}" if found.kind == "time" else style.binary(edge)


def _detail(frame: pd.DataFrame, found: Histogram) -> str:
    parts = [
        style.events(int(found.counts.sum())),
        f"median {style.amount(found.median, found.kind)}",
        f"99 % up to {style.amount(found.p99, found.kind)}",
    ]
    parts += [f"{found.missing:,} without a value"] if found.missing else []
    parts += [f"{found.negative:,} below 0 left out"] if found.negative else []
    return ", ".join([*parts, *filter(None, [data.newest(frame)])])


def words(found: Histogram, column: str) -> str:
    """Return the picture in a sentence: how many values, their middle, and where most of them lie."""
    sums = found.counts.sum(axis=0)
    at = int(sums.argmax())
    low, high = (style.amount(float(edge) * found.scale, found.kind) for edge in found.edges[at : at + 2])
    whole, middle = int(sums.sum()), style.amount(found.median, found.kind)
    told = f"{whole:,} values of {column}: median {middle}, 99 % up to {style.amount(found.p99, found.kind)}"
    return f"{told}, most ({int(sums[at]):,}) from {low} to {high}"
