"""Flame graphs: stacks of functions as boxes, as wide as the events (or their weight) that passed through them.

Below a function hang those that it called, in alphabetical order: from left to right is therefore not time. The idea
is Brendan Gregg's (https://www.brendangregg.com/flamegraphs.html). The root is on top, which he calls an icicle: below
a cell the deepest stacks are the ones to scroll to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from . import data, style
from .flame_svg import Svg, clean, render, shade, shorten
from .flame_tree import LEAST, Box, Frame, Space, boxes, fold, heaviest, nothing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from .style import Place

__all__ = ["Box", "Frame", "Svg", "boxes", "draw", "fold", "heaviest", "svg"]

_ROW, _SMALLEST, _LARGEST = 0.18, 2.4, 14.0  # inches: a row, and the figure's height at least and at most
_LETTER = 0.602  # width of a letter of DejaVu Sans Mono, in its sizes


def draw(
    frame: pd.DataFrame, column: str | Sequence[str], *, ax: Axes | None = None, weight: str | None = None
) -> Axes:
    """Draw the stacks of events as a flame graph, root on top: the kernel's functions blue, those of user space orange.

    A picture that can be searched and zoomed is that of :func:`svg`.

    Parameters
    ----------
    frame, column, weight
        As for :func:`~ebpflab.plots.flame_tree.fold`.
    ax
        Where to draw; without it, on a new figure as high as the stacks are deep.

    Returns
    -------
    Axes
        x is in events or in the unit of the weights (of durations: nanoseconds), y in rows of which the root is 0.

    Raises
    ------
    EbpflabError
        There is no such column, or it holds no stacks or no weights.

    Examples
    --------
    >>> flame.draw(s.events.df(), ["user", "kernel"], weight="took")
    <Axes: title={'left': 'flame graph of user and kernel'}, ...>
    """
    root, amount = folded(frame, column, weight)
    return paint(ax, root, amount, frame, column, weight)


def paint(
    ax: Place,
    root: Frame,
    amount: Callable[[float], str],
    frame: pd.DataFrame,
    column: str | Sequence[str],
    weight: str | None = None,
    least: float = LEAST,
) -> Axes:
    """Draw a tree, of events that this frame tells more about."""
    drawn, omitted = boxes(root, least)
    rows = 1 + max((box.row for box in drawn), default=0)
    ax = style.axes(ax, min(max(1.0 + _ROW * rows, _SMALLEST), _LARGEST))
    if not drawn:
        return style.empty(ax, _heading(column), _nothing(frame))
    ax.set_xlim(0, root.total)
    ax.set_ylim(rows, -0.1)
    ax.set_yticks([])
    ax.grid(visible=False)
    ax.spines["left"].set_visible(False)
    _x_axis(ax, amount, weight)
    style.title(ax, _heading(column), _detail(frame, root, amount, omitted, least))
    _fill(ax, drawn)
    _letter(ax, drawn, rows)
    return ax


def svg(frame: pd.DataFrame, column: str | Sequence[str], *, weight: str | None = None, title: str = "") -> Svg:
    """Return the stacks of events as a flame graph in SVG: a click zooms, and a box searches.

    The text is whole in itself: it needs no network, nor a kernel once it is in a notebook, and can be saved as a file.

    Parameters
    ----------
    frame, column, weight
        As for :func:`~ebpflab.plots.flame_tree.fold`.
    title
        The line above; without it, what is drawn.

    Raises
    ------
    EbpflabError
        There is no such column, or it holds no stacks or no weights.

    Examples
    --------
    >>> Path("flame.svg").write_text(flame.svg(s.events.df(), "kernel"))
    18211
    """
    root, amount = folded(frame, column, weight)
    note = _detail(frame, root, amount, boxes(root)[1])
    return render(root, title or _heading(column), amount, note, _nothing(frame))


def folded(
    frame: pd.DataFrame, column: str | Sequence[str], weight: str | None
) -> tuple[Frame, Callable[[float], str]]:
    """Return the tree of a frame, and how its amounts are shown."""
    # Frames without rows may have columns without types, or none at all.
    if not len(frame):
        return nothing(), _events
    root = fold(frame, column, weight)
    return root, _events if weight is None else partial(style.amount, kind=data.numbers(frame, weight).kind)


def _events(count: float) -> str:
    return f"{count:,.0f} event{'' if count == 1 else 's'}"


def _heading(column: str | Sequence[str]) -> str:
    return f"flame graph of {column if isinstance(column, str) else ' and '.join(column)}"


def _nothing(frame: pd.DataFrame) -> str:
    return "all weights are 0" if len(frame) else "no events yet"


def _detail(
    frame: pd.DataFrame, root: Frame, amount: Callable[[float], str], omitted: int, least: float = LEAST
) -> str:
    parts = [amount(root.total), data.loss(frame)]
    if omitted:
        parts.append(f"{omitted:,} function{'s' if omitted > 1 else ''} below {100 * least:g} % not drawn")
    return ", ".join(part for part in parts if part)


def _x_axis(ax: Axes, amount: Callable[[float], str], weight: str | None) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=weight is None))
    if weight is None:
        style.thousands(ax.xaxis)
    else:
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
    ax.set_xlabel(weight or "events")


def _fill(ax: Axes, drawn: Sequence[Box]) -> None:
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Patch

    left, right, row = np.array([(box.left, box.right, box.row) for box in drawn]).T
    corners = np.array([[left, row], [right, row], [right, row + 0.94], [left, row + 0.94]]).transpose(2, 0, 1)
    known = {label: to_rgba(shade(*label)) for label in {(box.frame.name, box.frame.space) for box in drawn}}
    colours = np.array([known[box.frame.name, box.frame.space] for box in drawn])
    # A line around narrow boxes would be all that is seen of them.
    narrow = (right - left < 0.004 * drawn[0].right)[:, None]
    edges = np.where(narrow, colours, to_rgba(ax.get_facecolor()))
    boxes: Any = PolyCollection(corners, facecolors=colours, edgecolors=edges, linewidths=0.4)  # type: ignore[arg-type]
    ax.add_collection(boxes, autolim=False)
    spaces: list[Space] = sorted({b.frame.space for b in drawn if b.frame.space}, reverse=True)
    style.legend(ax, [Patch(color=shade("", space)) for space in spaces], spaces)


def _letter(ax: Axes, drawn: Sequence[Box], rows: int) -> None:
    # Names go where they fit, as the axes are now; the layout that makes room for the labels comes first.
    whole = ax.figure.figure  # of a subfigure, too
    engine = whole.get_layout_engine()
    if engine is not None:
        engine.execute(whole)
    extent = ax.get_window_extent()
    points = 72 / whole.dpi
    size = min(7.5, 0.68 * extent.height * points / (rows + 0.1))
    if size < 4:
        return
    letters = extent.width * points / (size * _LETTER) / drawn[0].right
    for box in drawn:
        name = shorten(clean(box.frame.name), int((box.right - box.left) * letters - 1))
        if name:
            ax.text(
                box.left + 0.5 / letters, box.row + 0.49, name, fontsize=size, family="monospace",
                color=style.ON_COLOUR, va="center_baseline", clip_on=True, parse_math=False,
            )  # fmt: skip


def words(root: Frame, amount: Callable[[float], str]) -> str:
    """Return the picture in a sentence: the functions with the largest part in themselves."""
    found = heaviest(root)
    shares = [f"{own / root.total:.1%}".replace("%", " %") for _, own in found[:3]]
    return f"{amount(root.total)} in stacks; most in {style.largest([name for name, _ in found], shares, len(found))}"
