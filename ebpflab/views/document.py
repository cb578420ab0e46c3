"""What a live view leaves behind: its numbers, newest rows and plot as text and as HTML that need no kernel.

A notebook that was saved, exported or opened elsewhere shows it in place of the widget. Nothing in it depends on
scripts, and it can be read without our style: front ends take both away from notebooks that they do not trust.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .. import formatting
from ..formatting import Head, Note, Part, Table
from ..summary import age, notes, steps
from .rows import newest

if TYPE_CHECKING:
    from ..session import Session
    from . import Look
    from .monitor import History, Numbers
    from .picture import Picture as Drawn
    from .rows import Rows

LIMIT = 49_000  # bytes of text and HTML as JSON: a message has at most 50 kB, and names the widget too
_ROWS = (50, 20, 10, 5, 2, 1, 0)  # how many rows are tried
_OTHERS = 5  # rows of a stream that is not looked at, and of how many of these
_COLUMNS = 32
_PROGRAMS = 12
_OVER = ("closed", "replayed")
_LONGEST = 300  # characters of a note


@dataclass(frozen=True)
class Twin:
    """The same content as text and as HTML.

    Examples
    --------
    >>> print(twin(s, Look(), numbers).text())
    """

    parts: tuple[Part, ...]

    def text(self) -> str:
        """Return it as plain text; the sentence of the plot stands for the plot."""
        return _unicode(formatting.text(self.parts))

    def html(self) -> str:
        """Return it as HTML; everything in it is escaped, and the plot is part of it."""
        return _unicode(formatting.html(self.parts))

    @property
    def nbytes(self) -> int:
        """Bytes of both in a message to the front end."""
        return len(json.dumps([self.text(), self.html()], ensure_ascii=False).encode())


def twin(
    session: Session, look: Look, numbers: Numbers, picture: Drawn | None = None, history: History | None = None
) -> Twin:
    """Return what a view shows now as text and HTML, at most 49 kB of both together.

    Parameters
    ----------
    session
        Whose rows and stages it shows; it may be closed.
    look
        Its stream comes first, with its filter and order; at most 50 of its rows are shown.
    numbers
        What :meth:`ebpflab.views.monitor.Monitor.look` returned.
    picture
        The plot. One that does not fit is only told in its sentence.
    history
        The rate of the last minutes, as a line of blocks.

    Examples
    --------
    >>> twin(s, look, monitor.look(), draw(s, look, monitor.history()), monitor.history()).html()
    """
    at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(session._began + numbers.age))
    if numbers.state not in _OVER:  # it may be read long after
        at, numbers = f"as of {at}", replace(numbers, tone="muted")
    above = (*_numbers(numbers, history, at), steps(session))
    found = [(newest(session, each), each) for each in _looks(session, look)]
    below = (*_drawn(picture), *_notes(session, numbers, picture))
    # Fewer rows before no plot; and as many again when the plot alone is too large.
    for rest in (below, tuple(map(_told, below))):
        for rows in sorted({min(rows, look.rows) for rows in _ROWS}, reverse=True):
            tables = [_tables(*each, min(rows, _OTHERS) if index else rows) for index, each in enumerate(found)]
            made = Twin((*above, *(part for each in tables for part in each), *rest))
            if made.nbytes <= LIMIT:
                return made
    return Twin((above[0], Note("it is too large to be shown here", "warning")))


def _numbers(numbers: Numbers, history: History | None, at: str) -> list[Part]:
    tiles = [tile for tile in numbers.tiles() if tile.value]
    parts: list[Part] = [
        Head(numbers.name, numbers.state, numbers.tone, f"{numbers.engine}, {age(numbers.age)}, {at}"),
        Table(
            tuple(tile.label for tile in tiles),
            (tuple(tile.value for tile in tiles),),
            tones=tuple((0, index, tile.tone) for index, tile in enumerate(tiles) if tile.tone),
            right=tuple(range(len(tiles))),
        ),
    ]
    if history is not None and len(history.rate):
        parts.append(Note(history.spark(), "", f"events/s, last {len(history.rate) * history.step:.0f} s"))
    if len(numbers.per_program) > 1 and numbers.runs_per_s is not None:  # of one, the numbers above tell it all
        parts.append(_overhead(numbers))
    return parts


def _overhead(numbers: Numbers) -> Table:
    dearest = sorted(numbers.per_program, key=lambda program: -(program[4] or 0))[:_PROGRAMS]
    rows = tuple(
        (name, runs, per_second, ns, "-" if share is None else f"{formatting.number(100 * share)} %")
        for name, runs, per_second, ns, share in dearest
    )
    left = len(numbers.per_program) - len(rows)
    title = f"what the programs cost{f' ({left} cheaper ones not shown)' if left else ''}"
    return Table(("program", "runs", "runs/s", "ns per run", "of a core"), rows, title, right=(1, 2, 3, 4))


def _looks(session: Session, look: Look) -> list[Look]:
    # The stream that is looked at, then others: these without its filter and order, whose columns they may not have.
    first = look.stream or next(iter(session.streams), "")
    others = [name for name in session.streams if name != first][:_OTHERS]
    shown = replace(look, stream=first, rows=min(look.rows, max(_ROWS)))
    return [shown, *(replace(look, stream=name, rows=_OTHERS, filter="", sort="") for name in others)] if first else []


def _tables(rows: Rows, look: Look, most: int) -> list[Part]:
    problem = [Note(_short(rows.problem), "warning", rows.stream)] if rows.problem else []
    if rows.cells:
        return [_table(rows, look, most), *problem]
    nothing = f"no event matches {look.filter}" if look.filter and rows.held else "no events yet"
    return [*problem] or [Note(_short(nothing), label=rows.stream)]


def _table(rows: Rows, look: Look, most: int) -> Table:
    cells = tuple(row[:_COLUMNS] for row in rows.cells[:most])
    columns = rows.columns[:_COLUMNS]
    title = f"{rows.stream}: {len(cells)} of {rows.held:,} events, {f'by {look.sort}' if look.sort else 'newest first'}"
    if look.filter:
        title += f", that match {look.filter}"
    if len(rows.columns) > len(columns):
        title += f", {len(columns)} of {len(rows.columns)} columns"
    right = tuple(index for index, column in enumerate(columns) if column.kind in ("number", "duration"))
    return Table(tuple(column.name for column in columns), cells, _short(title), right=right)


def _drawn(picture: Drawn | None) -> list[Part]:
    if picture is None or picture.problem or not picture.png:
        return []
    return [formatting.Picture(picture.png, _short(picture.alt), picture.width, picture.height)]


def _told(part: Part) -> Part:
    return Note(part.alt, "", "plot") if isinstance(part, formatting.Picture) else part


def _notes(session: Session, numbers: Numbers, picture: Drawn | None) -> list[Note]:
    problems = [numbers.problem, picture.problem if picture is not None else ""]
    found = [*notes(session)[:_PROGRAMS], *(Note(problem, "warning") for problem in problems if problem)]
    return [replace(note, text=_short(note.text)) for note in found]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _unicode(text: str) -> str:
    # Names from the kernel need not be Unicode; messages have to be.
    return text.encode("utf-8", "replace").decode()
