"""Events per second over time, by the most frequent values of a column, with the gaps in which records were lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import EbpflabError
from . import data, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from .style import Place

_MOST_BINS = 10_000  # more than a screen has columns, and little enough to draw
_DAY = 86_400 * 10**9
_CLOCK = (10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)  # seconds
_NICE = (*(m * 10**p for p in range(10) for m in (1, 2, 5)), *(s * 10**9 for s in _CLOCK))  # nanoseconds
_LABELLED = 3  # the largest gaps have their count written beside them


class Rate(NamedTuple):
    """Counts of events: `counts` has a row for each of `names` and a column for each bin of `width` nanoseconds.

    The first bin begins at `start`, nanoseconds UTC; `undated` events have no time and are in none.
    """

    start: int
    width: int
    names: tuple[str, ...]
    counts: NDArray[np.int64]
    undated: int
    others: int = 0  # how many values the last row stands for, if it is that of the others

    @property
    def edges(self) -> NDArray[np.int64]:
        """Where the bins begin, and where the last one ends: nanoseconds UTC."""
        return self.start + self.width * np.arange(self.counts.shape[1] + 1, dtype=np.int64)


def bin_width(span: int, events: int) -> int:
    """Return a round width in nanoseconds that gives `span` up to 100 bins, fewer where there are few events.

    What has no span gets one bin of a second; a time on an axis of matplotlib is not exact enough for less than 1 us.
    """
    if span <= 0:
        return 10**9
    wanted = max(span / np.clip(2 * np.sqrt(events), 20, 100), 1_000)
    days = -(-span // (100 * _DAY))  # for more than a hundred days
    return next((width for width in _NICE if width >= wanted), days * _DAY)


def counts(
    frame: pd.DataFrame, by: str | None = None, every: str | float | None = None, top: int = 5, time: str | None = None
) -> Rate | None:
    """Count events by time, and by the `top` most frequent values of the column `by`; None if there are none.

    The bins reach from the first event to the last one, or to the end of the last loss.

    Raises
    ------
    EbpflabError
        When a column is not there, or `every` cannot be read or gives more than 10,000 bins.
    """
    if not len(frame):
        return None
    column = data.pick(frame, by) if by is not None else None
    at, valid = data.times(frame, time)
    if not len(at):
        return None
    first = int(at.min())
    last = max([int(at.max()), *(gap.end for gap in data.gaps(frame))])
    width = bin_width(last - first, len(at)) if every is None else _width(every, last - first)
    start = first - first % width
    bins = (last - start) // width + 1
    groups = data.groups(column[valid], top) if column is not None else data.Groups(np.zeros(len(at), np.int64), ("",))
    cells = groups.codes * bins + (at - start) // width
    table = np.bincount(cells, minlength=len(groups.names) * bins).reshape(len(groups.names), bins)
    return Rate(start, width, groups.names, table, len(frame) - len(at), groups.others)


def draw(
    frame: pd.DataFrame,
    *,
    by: str | None = None,
    every: str | float | None = None,
    top: int = 5,
    time: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw :func:`counts` as a stacked area of steps, in events per second."""
    return paint(ax, counts(frame, by, every, top, time), frame, by)


def paint(ax: Place, found: Rate | None, frame: pd.DataFrame, by: str | None = None) -> Axes:
    """Draw what was counted, of events that this frame tells more about."""
    name = f"events per second by {by}" if by else "events per second"
    ax = style.axes(ax)
    if found is None:
        return style.empty(ax, name)
    edges, base = style.dates(found.edges), np.zeros(found.counts.shape[1])
    layers = []
    others = found.others > 0
    for row, colour in zip(found.counts, style.colours(len(found.names), others), strict=True):
        above = base + row * (1e9 / found.width)
        layers.append(style.steps(ax, above, edges, base, color=colour, alpha=0.85))
        base = above
    style.time_axis(ax, int(found.edges[0]), int(found.edges[-1]))
    ax.set_ylim(0, float(base.max()) * (1.2 if data.gaps(frame) else 1.08))  # room for what they say
    ax.set_ylabel("events/s")
    style.thousands(ax.yaxis)
    _gaps(ax, data.gaps(frame), int(found.edges[0]), int(found.edges[-1]))
    if by is not None:
        style.legend(ax, layers[::-1], found.names[::-1], by)
    style.title(ax, name, _detail(frame, found))
    return ax


def _width(every: str | float, span: int) -> int:
    import pandas as pd

    hint = 'every is a number of seconds, or a text such as "100ms"'
    try:
        width = int(pd.Timedelta(every if isinstance(every, str) else f"{float(every):.9f}s").value)
    except (ValueError, TypeError) as error:
        raise EbpflabError(f"cannot read every={every!r}", hint=hint, stage="plot") from error
    if width <= 0:
        raise EbpflabError(f"every={every!r} is not a length of time", hint=hint, stage="plot")
    if span // width >= _MOST_BINS:
        least = style.duration(bin_width(span, 1_000_000))
        raise EbpflabError(
            f"every={every!r} cuts {style.duration(span)} into {span // width + 1:,} bins, more than {_MOST_BINS:,}",
            hint=f"{least} would be a good width",
            stage="plot",
        )
    return width


def _gaps(ax: Axes, gaps: list[data.Gap], start: int, end: int) -> None:
    ends = [gap._replace(end=gap.end + gap.blur) for gap in gaps]
    seen = [gap for gap in ends if gap.end > start and gap.start < end]
    widest = (end - start) // 200  # narrower ones would not be seen
    for gap in seen:
        low, high = max(gap.start, start), min(max(gap.end, gap.start + widest), end)
        sides = style.dates(np.array([low, high]))
        ax.axvspan(*sides, facecolor=style.LOST, alpha=0.18, hatch="///", edgecolor=style.LOST, linewidth=0, zorder=2.5)
    for gap in sorted(seen, key=lambda gap: -gap.lost)[:_LABELLED]:
        middle = (max(gap.start, start) + min(gap.end, end)) // 2
        ax.text(
            float(style.dates(np.array([middle]))[0]), 0.97, f"{gap.lost:,} lost", transform=ax.get_xaxis_transform(),
            ha="center", va="top", fontsize="small", color=style.LOST, fontweight="bold",
        )  # fmt: skip


def _detail(frame: pd.DataFrame, found: Rate) -> str:
    total = int(found.counts.sum())
    parts = [style.events(total), f"bins of {style.duration(found.width)}", data.loss(frame)]
    parts += [f"{found.undated:,} without a time"] if found.undated else []
    return ", ".join(part for part in parts if part)


def words(found: Rate, by: str | None = None) -> str:
    """Return the picture in a sentence: events, their rate, and which values were the most frequent."""
    bins, whole = found.counts.sum(axis=0), int(found.counts.sum())
    mean, highest = (style.amount(round(n * 1e9 / found.width)) for n in (bins.mean(), bins.max()))
    told = f"{style.events(whole)} in {style.duration(len(bins) * found.width)}, {mean} per second on average"
    shares = [f"{count / whole:.1%}".replace("%", " %") for count in found.counts.sum(axis=1).tolist()]
    values = len(found.names) - (found.others > 0) + found.others
    return f"{told}, highest {highest}" + (f"; {by}: {style.largest(found.names, shares, values)}" if by else "")
