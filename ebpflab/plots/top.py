"""The most frequent values of a column, or those with the largest sums of another one, as bars."""

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


class Top(NamedTuple):
    """The largest of `distinct` values, and what they amount to; `others` is the sum of those not among them.

    Amounts are events, or sums of the weight, in nanoseconds if it is a duration (`kind` is then ``time``).
    """

    names: tuple[str, ...]
    amounts: NDArray[Any]
    others: float
    distinct: int
    kind: str

    @property
    def total(self) -> float:
        """The sum over all values."""
        return float(self.amounts.sum()) + self.others


def largest(frame: pd.DataFrame, column: str, n: int = 10, weight: str | None = None) -> Top | None:
    """Return the `n` most frequent values of a column, or those with the largest sums of `weight`; None if none are.

    Values that are alike in that are in the order of numbers, categories or the alphabet.

    Raises
    ------
    EbpflabError
        When a column is not there, the weight holds no numbers, or `n` is less than 1.
    """
    if n < 1:
        raise EbpflabError(f"n={n} is no number of bars", hint="n is at least 1", stage="plot")
    if not len(frame):
        return None
    codes, texts = data.names(data.pick(frame, column))
    kind = ""
    if weight is None:
        sums: NDArray[Any] = np.bincount(codes, minlength=len(texts))
        present = sums > 0
    else:
        found = data.numbers(frame, weight)
        kind, codes = found.kind, codes[found.valid]
        present = np.bincount(codes, minlength=len(texts)) > 0
        values = data.summable(found.values)
        sums = np.zeros(len(texts), values.dtype)
        np.add.at(sums, codes, values)
    order = np.argsort(-sums, kind="stable")
    order = order[present[order]]
    if not len(order):
        return None
    first, rest = order[:n], order[n:]
    return Top(tuple(texts[i] for i in first), sums[first], float(sums[rest].sum()), len(order), kind)


def draw(frame: pd.DataFrame, column: str, *, n: int = 10, weight: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw :func:`largest` as horizontal bars, the largest on top, each with its amount."""
    return paint(ax, largest(frame, column, n, weight), frame, column, weight)


def paint(ax: Place, found: Top | None, frame: pd.DataFrame, column: str, weight: str | None = None) -> Axes:
    """Draw what was added up, of events that this frame tells more about."""
    name = f"most frequent {column}" if weight is None else f"{column} by sum of {weight}"
    ax = style.axes(ax, 1.1 + 0.28 * (len(found.names) if found else 5))
    if found is None:
        return style.empty(ax, name, "no events yet" if not len(frame) else "no values")
    places = np.arange(len(found.names))
    scale, unit = style.unit_of(float(found.amounts.max()), found.kind)
    bars = ax.barh(places, found.amounts / scale, height=0.72, color=style.PALETTE[0])
    ax.bar_label(bars, [_label(amount, found) for amount in found.amounts], padding=4, fontsize="small")
    ax.set_yticks(places, [style.elided(name) for name in found.names])
    ax.set_ylim(len(places) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False)
    ax.margins(x=0.14 / min(max(style.room(ax), 0.2), 1.4))  # for the amounts beside the bars
    style.thousands(ax.xaxis)
    ax.set_xlabel("events" if weight is None else f"sum of {weight}" + (f", {unit}" if unit else ""))
    style.title(ax, name, _detail(frame, found))
    return ax


def _label(amount: float, found: Top) -> str:
    share = f" ({amount / found.total:.1%})" if found.total > 0 and found.amounts.min() >= 0 else ""
    return f"{style.amount(float(amount), found.kind)}{share.replace('%', ' %')}"


def _detail(frame: pd.DataFrame, found: Top) -> str:
    rest = found.distinct - len(found.names)
    values = f"{found.distinct:,} value{'s' if found.distinct != 1 else ''}"
    total = style.amount(found.total, found.kind)
    others = f"; others ({rest:,}): {style.amount(found.others, found.kind)}" if rest else ""
    return ", ".join([f"{values}, total {total}{others}", *filter(None, [data.newest(frame)])])


def words(found: Top, column: str, weight: str | None = None) -> str:
    """Return the picture in a sentence: the largest values with their amounts."""
    of = f"{weight} by {column}" if weight else f"events by {column}"
    total = style.amount(found.total, found.kind)
    labels = [_label(float(amount), found) for amount in found.amounts]
    return f"{total} {of}: {style.largest(found.names, labels, found.distinct)}"
