"""Every event as a point: when it was, and on which CPU, in which process or of which other value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import data, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from .style import Place

_USUAL = ("cpu", "pid", "tgid", "tid", "comm")
_LANES = 24  # more values than this are points on an axis of numbers, or others
_COLUMNS, _ROWS = 2_000, 500  # as fine as a screen draws it
_MOST_POINTS = 100_000


class Points(NamedTuple):
    """The points of a timeline: `at` (nanoseconds UTC), `y` (a number, or the place of a lane) and `colours`.

    `lanes` are the names of the places, empty on an axis of numbers; `total` is how many events the points stand for.
    """

    at: NDArray[np.int64]
    y: NDArray[Any]
    lanes: tuple[str, ...]
    colours: data.Groups
    kind: str
    total: int
    exact: bool  # every event that is not drawn lies behind one that is


def points(
    frame: pd.DataFrame,
    y: str | None = None,
    colour: str | None = None,
    *,
    time: str | None = None,
    top: int = 5,
    columns: int = _COLUMNS,
    most: int = _MOST_POINTS,
) -> Points | None:
    """Return a point for each event, thinned to what can be seen; None if there are no events.

    Of more than `most` events those are left out that lie behind others on a screen with so many columns.

    Raises
    ------
    EbpflabError
        When a column is not there.
    """
    if not len(frame):
        return None
    name = y if y is not None else usual(frame)
    series = data.pick(frame, name)
    by = data.pick(frame, colour) if colour is not None else None
    at, valid = data.times(frame, time)
    if not len(at):
        return None
    heights, lanes, kind, there = _heights(frame[valid], name, series[valid])
    at = at[there]
    if not len(at):
        return None
    zeros = np.zeros(len(at), np.int64)
    colours = data.groups(by[valid][there], top) if by is not None else data.Groups(zeros, ("",))
    kept, exact = thin(at, heights, colours.codes, lanes=bool(lanes), most=most, across=columns)
    shown = colours._replace(codes=colours.codes[kept])
    return Points(at[kept], heights[kept], lanes, shown, kind, len(at), exact)


def usual(frame: pd.DataFrame) -> str:
    """Return the column that tells events apart: the CPU, else the process, else its name, else the first."""
    return next((name for name in _USUAL if name in frame.columns), str(frame.columns[0]))


def thin(
    at: NDArray[np.int64],
    y: NDArray[Any],
    codes: NDArray[np.int64],
    *,
    lanes: bool,
    most: int = _MOST_POINTS,
    across: int = _COLUMNS,
) -> tuple[NDArray[np.int64], bool]:
    """Return which points to draw, in their order, and whether the picture is the same as with all of them.

    Of points of one colour on one pixel the first is enough. If more than `most` are left, every k-th of them is.
    """
    if len(at) <= most:
        return np.arange(len(at)), True
    columns = _pixels(at, across)
    rows: NDArray[np.int64] = y.astype(np.int64) if lanes else _pixels(y, _ROWS)
    cells = (codes * (int(rows.max()) + 1) + rows) * across + columns
    kept = np.sort(np.unique(cells, return_index=True)[1])
    step = -(-len(kept) // most)
    return kept[::step], step == 1


def draw(
    frame: pd.DataFrame,
    y: str | None = None,
    *,
    colour: str | None = None,
    time: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw :func:`points`: ticks in lanes where there are few values, dots on an axis of numbers otherwise."""
    return paint(ax, points(frame, y, colour, time=time), frame, y, colour)


def paint(
    ax: Place, found: Points | None, frame: pd.DataFrame, y: str | None = None, colour: str | None = None
) -> Axes:
    """Draw the points, of events that this frame tells more about."""
    name = f"events over time, by {y or usual(frame)}" if len(frame) else "events over time"
    ax = style.axes(ax, max(style.SIZE[1], 1.2 + 0.24 * len(found.lanes)) if found else style.SIZE[1])
    if found is None:
        return style.empty(ax, name)
    others = found.colours.others > 0
    x, handles = style.dates(found.at), []
    marker, size = ("|", 110 if len(found.lanes) <= 12 else 60) if found.lanes else (".", 24)
    thick, shades = 1.2 if found.lanes else 0.0, style.colours(len(found.colours.names), others)
    look: dict[str, Any] = {"alpha": 0.8, "rasterized": True, "linewidths": thick}
    for code, shade in enumerate(shades):
        mine = found.colours.codes == code
        below = 1.5 if others and code == len(shades) - 1 else 2.0  # the rest hides nobody
        handles.append(ax.scatter(x[mine], found.y[mine], size, shade, marker=marker, zorder=below, **look))
    first, last = int(found.at.min()), int(found.at.max())
    margin = max((last - first) // 100, 1_000)
    style.time_axis(ax, first - margin, last + margin, origin=first)
    _y_axis(ax, found, y or usual(frame))
    if colour is not None:
        style.legend(ax, handles, found.colours.names, colour)
    style.title(ax, name, _detail(frame, found))
    return ax


def _heights(
    frame: pd.DataFrame, name: str, series: pd.Series[Any]
) -> tuple[NDArray[Any], tuple[str, ...], str, NDArray[np.bool_]]:
    # Numbers of which there are many are heights; everything else gets lanes, in its own order.
    everywhere = np.ones(len(series), bool)
    if getattr(series.dtype, "kind", "O") in "iufm" and series.nunique() > _LANES:
        found = data.numbers(frame, name)
        return found.values, (), found.kind, found.valid
    codes, texts = data.names(series)
    present = np.flatnonzero(np.bincount(codes, minlength=len(texts)))
    if len(present) > _LANES:
        grouped = data.groups(series, _LANES - 1)
        return grouped.codes, grouped.names, "", everywhere
    places = np.zeros(len(texts), np.int64)
    places[present] = np.arange(len(present))
    return places[codes], tuple(texts[i] for i in present), "", everywhere


def _pixels(values: NDArray[Any], count: int) -> NDArray[np.int64]:
    low, high = values.min(), values.max()
    share = (values - low) / max(float(high - low), 1e-300)
    return np.asarray(np.minimum((share * count).astype(np.int64), count - 1), np.int64)


def _y_axis(ax: Axes, found: Points, name: str) -> None:
    ax.set_ylabel(name)
    if not found.lanes:
        from matplotlib.ticker import FuncFormatter

        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.amount(value, found.kind)))
        return
    ax.set_yticks(range(len(found.lanes)), [style.elided(lane) for lane in found.lanes])
    ax.set_ylim(len(found.lanes) - 0.4, -0.6)


def _detail(frame: pd.DataFrame, found: Points) -> str:
    parts = [style.events(found.total)]
    if len(found.at) < found.total:
        rest = "the others lie behind them" if found.exact else "an even choice of them"
        parts.append(f"{len(found.at):,} drawn, {rest}")
    undated = len(frame) - found.total
    parts += [f"{undated:,} without a time or a value"] if undated else []
    return ", ".join([*parts, *filter(None, [data.loss(frame)])])


def words(found: Points, y: str, colour: str | None = None) -> str:
    """Return the picture in a sentence: how many events over how long, and what they are told apart by."""
    span = style.duration(float(np.ptp(found.at)))
    if found.lanes:
        told = f"{len(found.lanes)} lane{'s' if len(found.lanes) > 1 else ''}"
    else:
        told = " to ".join(style.amount(float(end), found.kind) for end in (found.y.min(), found.y.max()))
    names, others = found.colours.names, found.colours.others
    values = len(names) - (others > 0) + others
    coloured = f"; coloured by {colour}: {style.largest(names, [''] * len(names), values)}" if colour else ""
    return f"{style.events(found.total)} over {span} by {y}: {told}{coloured}"
