"""What a program decided, as bars: packets by verdict, and how many bytes they were."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import EbpflabError
from . import data, style

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from .style import Place

_MOST = 16  # bars; the rest is one bar
_BAR = 0.34  # inches
# By what becomes of the packet; the words are those of XDP, tc, netfilter and cgroups.
_GONE, _PASSED, _ELSEWHERE = style.LOST, style.PALETTE[2], style.PALETTE[0]
_COLOURS = (
    (re.compile(r"DROP|ABORT|SHOT|DENY|DENIED|REJECT|BLOCK", re.IGNORECASE), _GONE),
    (re.compile(r"REDIRECT|_TX|QUEUE|STOLEN|TRAP|REPEAT|REROUTE", re.IGNORECASE), _ELSEWHERE),
    (re.compile(r"PASS|ACCEPT|ALLOW|_OK|\bOK\b|CONTINUE|NEXT", re.IGNORECASE), _PASSED),
)


class Verdicts(NamedTuple):
    """The verdicts by number of packets, most first (of equal ones, by name); `sizes` is None if it was not asked for.

    Many verdicts end in ``others``; a packet without one has ``(none)``.
    """

    names: tuple[str, ...]
    packets: NDArray[Any]
    sizes: NDArray[Any] | None


def counts(
    frame: pd.DataFrame, column: str = "verdict", *, packets: str | None = None, size: str | None = None
) -> Verdicts:
    """Count packets by verdict.

    Parameters
    ----------
    frame
        Packets, such as of :meth:`~ebpflab.session.Session.test_run`, or events.
    column
        The column of verdicts: names or numbers.
    packets
        A column that tells how many packets a row stands for. Without it, that is one.
    size
        A column of bytes.

    Raises
    ------
    EbpflabError
        There is no such column, or one of `packets` and `size` holds no numbers of 0 or more.

    Examples
    --------
    >>> counts(s.test_run(data="mix.pcap"), size="length")
    Verdicts(names=('XDP_PASS', 'XDP_DROP'), packets=array([13, 7]), sizes=array([1846, 420]))
    """
    codes, texts = data.names(data.pick(frame, column))
    names = list(dict.fromkeys(text or data.NONE for text in texts))
    places = np.array([names.index(text or data.NONE) for text in texts], np.int64)[codes]
    each = np.ones(len(frame), np.int64) if packets is None else _numbers(frame, packets)
    many = _sums(places, each, len(names))
    sizes = None if size is None else _sums(places, _numbers(frame, size), len(names))
    order = [i for i in sorted(range(len(names)), key=lambda i: (-many[i], names[i])) if (places == i).any()]
    shown = order if len(order) <= _MOST else order[: _MOST - 1]
    rest = order[len(shown) :]
    if rest:
        names.append(f"{data.OTHERS} ({len(rest):,})")
        many = np.append(many, many[rest].sum())
        sizes = None if sizes is None else np.append(sizes, sizes[rest].sum())
        shown = [*shown, len(names) - 1]
    return Verdicts(tuple(names[i] for i in shown), many[shown], None if sizes is None else sizes[shown])


def draw(
    frame: pd.DataFrame,
    column: str = "verdict",
    *,
    ax: Axes | None = None,
    packets: str | None = None,
    size: str | None = None,
) -> Axes:
    """Draw the verdicts as bars, most frequent on top, with their numbers, parts of the whole and bytes.

    Names that mean "dropped" are vermilion, "passed" green, "sent elsewhere" blue, and others grey.

    Parameters
    ----------
    frame, column, packets, size
        As for :func:`counts`.
    ax
        Where to draw; without it, on a new figure as high as there are verdicts.

    Returns
    -------
    Axes
        x is in packets.

    Raises
    ------
    EbpflabError
        As of :func:`counts`.

    Examples
    --------
    >>> verdicts.draw(s.test_run(data="mix.pcap"), size="length")
    <Axes: title={'left': 'packets by verdict'}, xlabel='packets'>
    """
    found = counts(frame, column, packets=packets, size=size) if len(frame) else None
    return paint(ax, found, frame, column)


def paint(ax: Place, found: Verdicts | None, frame: pd.DataFrame, column: str) -> Axes:
    """Draw what was counted, of events that this frame tells more about."""
    name = f"packets by {column}"
    if found is None:
        return style.empty(style.axes(ax, 2.2), name)
    ax = style.axes(ax, 1.1 + _BAR * max(len(found.names), 2))
    rows = np.arange(len(found.names))
    bars = ax.barh(rows, found.packets, color=[_colour(verdict) for verdict in found.names], height=0.72)
    ax.bar_label(bars, _labels(found), padding=4, fontsize="small")
    ax.set_yticks(rows, [style.elided(verdict) for verdict in found.names])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(0, max(int(found.packets.max()), 1) * 1.22)  # room for the labels
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.grid(visible=True, axis="x", **style.GRID)
    ax.set_axisbelow(True)
    _x_axis(ax)
    style.title(ax, name, _detail(frame, found))
    return ax


def _numbers(frame: pd.DataFrame, column: str) -> NDArray[Any]:
    found = data.numbers(frame, column)
    if len(found.values) and found.values.min() < 0:
        raise EbpflabError(
            f"the column {column!r} cannot be added up: it goes down to {found.values.min():,}",
            hint="choose a column of numbers that are 0 or more",
            stage="plot",
        )
    there = data.summable(found.values)
    values = np.zeros(len(frame), there.dtype)
    values[found.valid] = there
    return values


def _sums(places: NDArray[np.int64], values: NDArray[Any], count: int) -> NDArray[Any]:
    sums = np.zeros(count, values.dtype)
    np.add.at(sums, places, values)
    return sums


def _colour(verdict: str) -> str:
    return next((colour for words, colour in _COLOURS if words.search(verdict)), style.OTHERS)


def _labels(found: Verdicts) -> Sequence[str]:
    whole = max(int(found.packets.sum()), 1)
    labels = [f"{count:,}  ({100 * count / whole:.3g} %)" for count in found.packets.tolist()]
    if found.sizes is None:
        return labels
    return [f"{label}, {style.amount(size, 'bytes')}" for label, size in zip(labels, found.sizes.tolist(), strict=True)]


def _x_axis(ax: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    style.thousands(ax.xaxis)
    ax.set_xlabel("packets")


def _detail(frame: pd.DataFrame, found: Verdicts) -> str:
    total = int(found.packets.sum())
    parts = [f"{total:,} packet{'' if total == 1 else 's'}"]
    parts += [] if found.sizes is None else [style.amount(int(found.sizes.sum()), "bytes")]
    return ", ".join(part for part in [*parts, data.loss(frame)] if part)


def words(found: Verdicts) -> str:
    """Return the picture in a sentence: the most frequent verdicts, and how many packets had each."""
    total = int(found.packets.sum())
    return (
        f"{total:,} packet{'' if total == 1 else 's'}: {style.largest(found.names, _labels(found), len(found.names))}"
    )
