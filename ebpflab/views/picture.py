"""The plot that a live view shows: a PNG of at most 40 kB, drawn without pyplot, from any thread.

It is made of the newest 100,000 events, so that it costs the same however many are held; the rate comes from the
view's own history, and is true at any rate of events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import EbpflabError
from . import Look, suiting
from .suiting import choices, suits

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from ..plots.sheet import Sheet
    from ..session import Session
    from .history import History

__all__ = ["Picture", "choices", "draw", "suits"]

ROWS = 100_000  # the newest ones, of which a picture is made
BYTES = 40_000  # of a PNG at most
_POINTS = 20_000  # of a timeline; events behind others are left out first
_NARROWEST = 0.002  # part of a flame graph: a box as wide as a dot or two


@dataclass(frozen=True)
class Picture:
    """A plot as a picture.

    Attributes
    ----------
    png
        The bytes of a PNG, at most 40 kB; empty when there is a problem.
    width, height
        Its size in CSS pixels; it may have more dots than that.
    alt
        One sentence with the main figures, for those who do not see it.
    problem
        One sentence that says why there is no picture; empty otherwise.
    """

    png: bytes
    width: int
    height: int
    alt: str
    problem: str = ""


class _Plot(NamedTuple):
    # What is drawn of which events, and where.
    frame: pd.DataFrame
    column: Any
    by: str | None
    weight: str | None
    sheet: Sheet


def draw(session: Session, look: Look, history: History | None = None, *, ground: str = "") -> Picture:
    """Draw the plot that a look asks for.

    Parameters
    ----------
    session
        A session, running or over, or a recording.
    look
        Its ``stream``, ``plot``, ``column``, ``by``, ``dark``, ``width`` and ``scale``.
    history
        The rates of the last minutes; without it, they are those of the newest 100,000 events.
    ground
        The colour of the ground, as ``white`` for a picture that outlives the page; without it, it is transparent.

    Examples
    --------
    >>> draw(s, Look(plot="top", column="comm")).alt
    '1,009 events by comm: bash 643 (63.7 %), ls 366 (36.3 %); none lost'
    """
    from ..plots.sheet import DARK, LIGHT, Sheet

    sheet = Sheet(look.width, look.scale, DARK if look.dark else LIGHT, ground=ground)
    try:
        alt = _draw(session, look, history, sheet)
    except EbpflabError as error:
        return Picture(b"", look.width, 0, "", "; ".join(filter(None, [error.what, error.hint])))
    return Picture(sheet.png(BYTES), look.width, sheet.height, alt)


def _draw(session: Session, look: Look, history: History | None, sheet: Sheet) -> str:
    events = suiting.stream(session, look)
    if look.plot == "rate" and not look.by and history is not None and _tells(session, history):
        return _flow(session, history, sheet)
    frame = events.newest(ROWS)
    found = suiting.columns(frame, events)
    column = suiting.column(look.plot, look.column, found) if look.plot != "rate" else ""
    weight = look.by if suiting.is_measure(look.by, found) else None
    alt = _PAINTERS[look.plot](_Plot(frame, column, look.by or None, weight, sheet))
    return "; ".join(filter(None, [alt or "no events yet", _ending(frame)]))


def _tells(session: Session, history: History) -> bool:
    # Of what came before somebody looked the history knows nothing, as of a session that is over. Of a recording it
    # knows how fast it was played.
    if session.engine == "replay":
        return False
    return bool(history.rate.any() or history.lost.any()) or session.state in ("attached", "loaded")


def _flow(session: Session, history: History, sheet: Sheet) -> str:
    from ..plots import flow

    found = flow.Flow(history.rate, history.lost, history.step, history.end)
    many = len(session.streams)
    flow.paint(sheet, found, f"events per second of all {many} streams" if many > 1 else "events per second")
    return flow.words(found)


def _ending(frame: pd.DataFrame) -> str:
    from ..plots import data

    lost = frame.attrs.get("lost")
    told = f"{lost:,} lost" if lost else "none lost" if lost == 0 and len(frame) else ""
    return ", ".join(filter(None, [data.newest(frame), told]))


def _rate(plot: _Plot) -> str:
    from ..plots import rate

    found = rate.counts(plot.frame, by=plot.by)
    rate.paint(plot.sheet, found, plot.frame, plot.by)
    return rate.words(found, plot.by) if found else ""


def _hist(plot: _Plot) -> str:
    from ..plots import histogram

    found = histogram.counts(plot.frame, plot.column, plot.by)
    histogram.paint(plot.sheet, found, plot.frame, plot.column, plot.by)
    return histogram.words(found, plot.column) if found else ""


def _top(plot: _Plot) -> str:
    from ..plots import top

    found = top.largest(plot.frame, plot.column, weight=plot.weight)
    top.paint(plot.sheet, found, plot.frame, plot.column, plot.weight)
    return top.words(found, plot.column, plot.weight) if found else ""


def _heatmap(plot: _Plot) -> str:
    from ..plots import data, heatmap

    found = heatmap.counted(plot.frame, plot.column)
    heatmap.paint(plot.sheet, found, plot.frame, plot.column)
    return heatmap.words(found, plot.column, data.numbers(plot.frame, plot.column).kind) if found else ""


def _timeline(plot: _Plot) -> str:
    from ..plots import timeline

    dots = round(plot.sheet.width * plot.sheet.scale)
    found = timeline.points(plot.frame, plot.column or None, plot.by, columns=dots, most=_POINTS)
    timeline.paint(plot.sheet, found, plot.frame, plot.column or None, plot.by)
    return timeline.words(found, plot.column, plot.by) if found else ""


def _flame(plot: _Plot) -> str:
    from ..plots import flame

    root, amount = flame.folded(plot.frame, plot.column, plot.weight)
    flame.paint(plot.sheet, root, amount, plot.frame, plot.column, plot.weight, _NARROWEST)
    return flame.words(root, amount) if root.total else ""


def _verdicts(plot: _Plot) -> str:
    from ..plots import verdicts

    found = verdicts.counts(plot.frame, plot.column, size=plot.weight) if len(plot.frame) else None
    verdicts.paint(plot.sheet, found, plot.frame, plot.column)
    return verdicts.words(found) if found else ""


_PAINTERS: dict[str, Callable[[_Plot], str]] = {
    "rate": _rate,
    "hist": _hist,
    "top": _top,
    "heatmap": _heatmap,
    "timeline": _timeline,
    "flame": _flame,
    "verdicts": _verdicts,
}
