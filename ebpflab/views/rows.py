"""The newest rows of a stream as a table of texts: filtered, sorted, and never more than a few thousand looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DecodeError, EbpflabError
from ..similar import did_you_mean, nearest
from .cells import Column, cells_of, columns_of, texts
from .words import WordError, matching

if TYPE_CHECKING:
    import pandas as pd

    from ..session import Session
    from . import Look

__all__ = ["MOST", "Column", "Rows", "newest"]

MOST = 20_000  # rows that a filter and a sort look at


@dataclass(frozen=True)
class Rows:
    """Some rows of a stream, newest first or sorted.

    Attributes
    ----------
    stream
        Its name; empty if the session has none.
    columns
        Name and kind of each column.
    cells
        A tuple of texts for each row, in the order of the columns.
    shown, matched, looked, held
        How many rows are here; how many the filter let through, of the newest `looked`; how many the stream holds.
    problem
        A sentence when the filter, the sort or the records cannot be read; empty otherwise.
    """

    stream: str
    columns: tuple[Column, ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()
    shown: int = 0
    matched: int = 0
    held: int = 0
    looked: int = 0
    problem: str = ""


def newest(session: Session, look: Look) -> Rows:
    """Return the newest rows of the stream that is looked at; nothing is raised, ``Rows.problem`` says what is wrong.

    ``look.filter`` has words, all of which must be true of a row: ``bash`` (some column shows it), ``comm:bash``,
    ``pid=123``, ``latency>1ms``, ``ret<0``, ``time>12:34:56``, ``!word``; see :mod:`ebpflab.views.words`. While a word
    cannot be understood, the rows are not filtered. With a filter or a sort, the newest 20,000 rows are looked at,
    else only those that are shown: what it costs does not depend on how many the stream holds.

    Parameters
    ----------
    session
        A session, live, closed or replayed.
    look
        Its ``stream``, ``rows``, ``filter``, ``sort`` and ``descending`` are used.

    Examples
    --------
    >>> newest(session, Look(filter="comm:bash ret<0", sort="latency")).matched
    17
    """
    streams = dict(session.streams)
    name = look.stream or next(iter(streams), "")
    if name not in streams:
        return Rows(name, problem=_no_stream(session, name))
    events = streams[name]
    picky = bool(look.filter.strip() or look.sort)
    try:
        frame = events.newest(MOST if picky else look.rows)
    except DecodeError as error:
        return Rows(name, held=len(events), problem=_sentence(error))
    held, frame.attrs = frame.attrs["held"], {}  # pandas copies them at every step
    return _rows(name, frame, look, held)


def _rows(name: str, frame: pd.DataFrame, look: Look, held: int) -> Rows:
    if not len(frame.columns):  # nothing has come yet, and nobody knows which of several types it will be
        return Rows(name)
    order, problems = np.arange(len(frame))[::-1], []
    try:
        order = order[matching(frame, look.filter)[::-1]]
    except WordError as error:
        problems.append(str(error))
    matched = len(order)
    if look.sort in frame.columns:
        order = order[_sorted(frame[look.sort].iloc[order], look.descending)]
    elif look.sort:
        near = did_you_mean(nearest(look.sort, map(str, frame.columns)))
        problems.append(f"there is no column {look.sort} to sort by" + (f": {near}" if near else ""))
    shown = frame.iloc[order[: look.rows]]
    return Rows(name, columns_of(frame), cells_of(shown), len(shown), matched, held, len(frame), "; ".join(problems))


def _sorted(series: pd.Series[Any], descending: bool) -> NDArray[np.int64]:
    # Places in their new order; equal values stay as they are, newest first, and missing ones come last.
    import pandas as pd

    plain = series.reset_index(drop=True)
    if getattr(series.dtype, "kind", "O") == "O" and not hasattr(series, "cat"):
        plain = pd.Series(texts(series))  # lists and mixtures have no order of their own
    placed = plain.sort_values(ascending=not descending, kind="stable", na_position="last")
    return placed.index.to_numpy()


def _no_stream(session: Session, name: str) -> str:
    if not name:
        return f"{session.name} has no ring or perf buffer, so it sends no events"
    near = did_you_mean(nearest(name, session.streams))
    return f"there is no stream {name}" + (f": {near}" if near else "")


def _sentence(error: EbpflabError) -> str:
    return f"{error.what}: {error.hint}" if error.hint else error.what
