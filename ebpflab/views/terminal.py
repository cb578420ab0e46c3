"""The live view as plain text, for IPython in a terminal and for programs that print."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import EbpflabError
from ..formatting import number
from . import _charts
from ._lines import Line, Span, flow, line, rendered, sentence, table
from ._tty import Screen, is_live, put, quiet_keys, size
from .monitor import Monitor, Numbers

if TYPE_CHECKING:
    from ..session import Session
    from . import Look
    from .code import Row
    from .entries import Entries
    from .rows import Rows

_LEAST_SECONDS = 0.1  # between two looks: more often, nobody can read them
_PROGRAMS = 6  # shown at most; the rest is counted
_MEASURED = ("runs", "ns", "core")
_LEAST_STEPS = 5  # of a sparkline that says something
_GLANCE = 0.25  # seconds: over less than that, there is no rate
_HOW_TO_END = "Ctrl-C ends the watch, the session goes on"
_COST = ("text", "number", "number", "number")
_OVER = ("closed", "replayed")


class TextView:
    """What a session does, as text: numbers, rates, programs, and the tab that is looked at.

    Its text (``print(view)``) is one look; :meth:`watch` keeps it up to date.

    Attributes
    ----------
    session : Session
        Whose view it is.
    look : Look
        What it shows; assign another one to see something else.

    Examples
    --------
    >>> s.view().watch(seconds=10)
    >>> print(s.view(plot="top", column="comm"))
    """

    def __init__(self, session: Session, look: Look) -> None:
        self.session, self.look = session, look
        self._monitor = Monitor(session)
        self._began = time.monotonic()

    def __repr__(self) -> str:
        self._wait_for_rate()
        columns, _ = size()
        over = self.session.state in _OVER
        lines = self._lines(columns, None, "" if over else "one look; .watch() keeps it up to date")
        return "\n".join(rendered(each, columns, colours=False) for each in lines)

    def show(self) -> None:
        """Print one look.

        Examples
        --------
        >>> s.view(tab="maps").show()
        """
        self._wait_for_rate()
        put(lambda columns, _: self._lines(columns, None, ""))

    def watch(self, seconds: float | None = None, every: float = 0.5) -> None:
        """Keep the look up to date in place, until an interrupt, the end of the session, or for some seconds.

        The session goes on afterwards. Where the output is not a terminal, one look is printed at the end. Meanwhile
        the kernel measures the run time of programs, which it does for all programs of the machine.

        Parameters
        ----------
        seconds
            How long; None: until an interrupt (Ctrl-C) or the end of the session.
        every
            Seconds between two looks, at least 0.1.

        Raises
        ------
        EbpflabError
            When one of the two is no positive number.

        Examples
        --------
        >>> s.view().watch(seconds=10, every=1)
        """
        self.follow(seconds, every)

    def follow(self, seconds: float | None = None, every: float = 0.5) -> bool:
        """Do what :meth:`watch` does, and return whether no interrupt ended it; for ``%%bpf --watch``.

        Examples
        --------
        >>> s.view().follow(seconds=10)
        True
        """
        for name, value in (("seconds", seconds), ("every", every)):
            if value is not None and not value > 0:
                raise EbpflabError(f"{name}={value!r} is no positive number", hint="give seconds", stage="view")
        end = None if seconds is None else time.monotonic() + seconds
        self._monitor.measure(on=True)
        try:
            return self._follow(end, max(every, _LEAST_SECONDS))
        finally:
            self._monitor.measure(on=False)

    def close(self) -> None:
        """Let go of what the view holds; the session goes on."""
        self._monitor.close()

    def __enter__(self) -> TextView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _follow(self, end: float | None, every: float) -> bool:
        # An interrupt ends the watch wherever it comes, and what is seen last is how things are then.
        interrupted = True
        with Screen() if is_live() else contextlib.nullcontext() as screen, quiet_keys():
            with contextlib.suppress(KeyboardInterrupt):
                while self.session.state not in _OVER and (end is None or time.monotonic() < end):
                    if screen:
                        screen.draw(lambda columns, most: self._lines(columns, most, _HOW_TO_END))
                    else:
                        self._monitor.look()  # its history is made of looks
                    left = every if end is None else min(every, end - time.monotonic())
                    time.sleep(max(left, 0.0))
                interrupted = False
            draw = screen.draw if screen else put
            draw(lambda columns, most: self._lines(columns, most, ""))
        return not interrupted

    def _wait_for_rate(self) -> None:
        # Nobody looked before this one look: it takes as long as a rate takes.
        if self.session.state in ("attached", "replaying"):
            time.sleep(max(self._began + _GLANCE - time.monotonic(), 0.0))

    def _lines(self, columns: int, most: int | None, said: str) -> list[Line]:
        # Everything, in at most so many lines: the part that is looked at gives way.
        numbers = self._monitor.look()
        above = [
            *_head(numbers, columns),
            *flow(_tiles(numbers), columns),
            *self._spark(columns),
            *_programs(numbers, columns),
        ]
        below = [line("  ", Span(said, "muted"))] if said else []
        body = self._body(columns)
        if most is None:
            return [*above, *body, *below]
        room = max(most - len(above) - len(below), 0)
        if self.look.tab == "log" and len(body) > room:
            body = body[len(body) - room :]  # what happened last
        return [*above, *body[:room], *below][:most]

    def _spark(self, columns: int) -> list[Line]:
        if self.look.tab == "plot" and self.look.plot == "rate":
            return []  # it is drawn larger below
        history = self._monitor.history(60)
        if len(history.rate) < _LEAST_STEPS or not self.session.streams:
            return []
        most = f"up to {number(float(history.rate.max()))}/s"
        return [line("  events/s ", Span(history.spark(min(columns - 36, 60)), "bar"), " ", Span(most, "muted"))]

    def _body(self, columns: int) -> list[Line]:
        # A view must not break the cell below which it stands, nor a prompt: what goes wrong is said in its place.
        try:
            return _TABS[self.look.tab](self, columns)
        except EbpflabError as error:
            return [*sentence(error.what, "error", columns), *sentence(error.hint or "", "muted", columns)]

    def _table(self, columns: int) -> list[Line]:
        from . import rows  # as below: what is not looked at costs nothing

        found = rows.newest(self.session, self.look)
        said = [_count(found.shown, "row") + (f" by {self.look.sort}" if self.look.sort else ", newest first")]
        said += [f"{found.matched:,} of the newest {found.looked:,} match"] if self.look.filter else []
        said += [f"{found.held:,} held"]
        title = line("  ", Span(found.stream, "strong"), "  ", Span(", ".join(said), "muted"))
        return [*([title] if found.stream else []), *_cells(found, columns)]

    def _plot(self, columns: int) -> list[Line]:
        return _charts.chart(self.session, self.look, self._monitor.history(columns * 0.2), columns)

    def _maps(self, columns: int) -> list[Line]:
        from . import entries

        found = entries.entries(self.session, self.look)
        count = "" if found.count is None else _count(found.count, "entry", "entries")
        title = line("  ", Span(found.map, "strong"), "  ", Span(", ".join(filter(None, (found.type, count))), "muted"))
        return [*([title] if found.map else []), *_cells(found, columns)]

    def _code(self, columns: int) -> list[Line]:
        from . import code

        found = code.listing(self.session, self.look)
        lines = [line("  ", Span(found.program, "strong"))] if found.program else []
        lines += sentence(found.problem, "warning", columns)
        shown = _of_program(found.rows)
        lines += [line("  ", Span(" line insn", "muted"))] if shown else []
        for row in shown:
            lines.append(line("  ", Span(f"{row.line or '':>5} {row.insns or '':>4} ", "muted"), row.source))
        said = f"disasm({found.program!r}) shows the instructions" if any(row.insns for row in shown) else ""
        return [*lines, *_muted(said)]

    def _log(self) -> list[Line]:
        from . import log

        return [
            line(
                "  ",
                Span(time.strftime("%H:%M:%S", time.gmtime(each.time)), "muted"),
                " ",
                Span(each.text, each.tone),
            )
            for each in log.lines(self.session)
        ]


_TABS: dict[str, Callable[[TextView, int], list[Line]]] = {
    "table": TextView._table,
    "plot": TextView._plot,
    "maps": TextView._maps,
    "code": TextView._code,
    "log": lambda view, _: view._log(),
}


def _head(numbers: Numbers, columns: int) -> list[Line]:
    age = f"{numbers.age:.0f} s" if numbers.age < 120 else f"{numbers.age / 60:.0f} min"
    state, about = Span(f"[{numbers.state}]", numbers.tone), Span(f"{numbers.engine}, {age}", "muted")
    head = line(Span(numbers.name, "strong"), " ", state, " ", about)
    return [head, *sentence(numbers.problem, "warning", columns)]


def _tiles(numbers: Numbers) -> list[Line]:
    measured = numbers.runs_per_s is not None
    tiles = [tile for tile in numbers.tiles() if measured or tile.key not in _MEASURED]
    return [line(Span(tile.label, "muted"), " ", Span(tile.value, tile.tone)) for tile in tiles]


def _programs(numbers: Numbers, columns: int) -> list[Line]:
    if numbers.runs_per_s is None:
        return []
    shown = [cost for cost in numbers.per_program if cost.runs_per_s is not None][:_PROGRAMS]
    cells = [
        (cost.name, number(cost.runs_per_s), number(cost.ns_per_run), f"{cost.core_share or 0:.2%}") for cost in shown
    ]
    lines = table(("program", "runs/s", "ns per run", "of a core"), cells, _COST, columns)
    left = len(numbers.per_program) - len(shown)
    return [*lines, *(_muted(f"and {_count(left, 'program')} more") if left else [])]


def _of_program(rows: Sequence[Row]) -> Sequence[Row]:
    # The lines of a cell between the first and the last that became instructions; all where none did.
    cell = list(itertools.takewhile(lambda row: row.line is not None, rows))
    made = [at for at, row in enumerate(cell) if row.insns]
    return cell[made[0] : made[-1] + 2] if made else cell


def _cells(found: Rows | Entries, columns: int) -> list[Line]:
    problem = sentence(found.problem, "warning", columns)
    if not found.cells:
        return problem or _muted("nothing yet")
    names, kinds = zip(*found.columns, strict=True)
    return [*problem, *table(names, found.cells, kinds, columns)]


def _count(many: int, one: str, more: str = "") -> str:
    return f"{many:,} {one if many == 1 else more or one + 's'}"


def _muted(text: str) -> list[Line]:
    return [line("  ", Span(text, "muted"))] if text else []
