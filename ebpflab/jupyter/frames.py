# What a live view draws: the parts of a look that are due, each on its own, so that one that fails leaves the others.

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import EbpflabError
from ..views import Look
from . import protocol
from .pace import FAILED_COST, PLOT_SECONDS, Pace
from .protocol import Part

if TYPE_CHECKING:
    from ..session import Session
    from ..views.monitor import Monitor, Numbers
    from ..views.picture import Picture
    from ..views.suiting import Columns

_TAB_PARTS = {"table": "rows", "plot": "picture", "maps": "entries", "code": "code", "log": "log"}
# These cost something, and show nothing but what the numbers tell of; the others change by themselves.
_OF_EVENTS = ("rows", "picture")
_importing: threading.Thread | None = None


class Frames:
    """Draws the parts of frames, and remembers what the pages have of them.

    Attributes
    ----------
    plot
        The plot that was drawn last for the twin.
    """

    def __init__(self, session: Session, monitor: Monitor, pace: Pace) -> None:
        self._session, self._monitor, self._pace = session, monitor, pace
        self._there: dict[str, Any] = {}  # what the pages have: parts by name, what was said, the choices
        self._drawn_for: dict[str, Any] = {}
        self._columns: dict[str, Columns] = {}
        self._problems: dict[str, str] = {}
        self.plot: Picture | None = None
        self._plot_of: Any = None
        self._plot_time = float("-inf")

    def forget(self) -> None:
        """Send everything with the next frame: a page came that has nothing yet."""
        self._there.clear()

    def message(
        self, numbers: Numbers, look: Look, *, quick: bool = False
    ) -> tuple[dict[str, Any], list[bytes]] | None:
        """Return the next frame; None when the pages have all of it. A `quick` one leaves the plot to the next."""
        tab = _TAB_PARTS[look.tab]
        if look != self._there.get("look"):
            self._there.pop(tab, None)
        wait = tab == "picture" and (quick or not ready())
        drawn = (self._part("history", numbers, look), None if wait else self._part(tab, numbers, look))
        parts = [part for part in drawn if part is not None and self._there.get(part.name) != part]
        choices = self._choices(look)
        problem = "; ".join(filter(None, (numbers.problem, *map(self._problems.get, ("history", tab, "columns")))))
        said = (protocol.head(numbers, age(numbers.age), problem), protocol.tiles(numbers))
        now: dict[str, Any] = {"said": said, "look": look, "choices": choices}
        if not parts and all(self._there.get(name) == value for name, value in now.items()):
            return None
        new_choices = None if choices == self._there.get("choices") else choices
        self._there |= {**now, **{part.name: part for part in parts}}
        return protocol.frame(self._pace.frame(), *said, look, new_choices, parts)

    def draw_plot(self, numbers: Numbers, look: Look, *, now: bool = False) -> None:
        """Draw the plot of the twin anew when it is old; `now` when it is not the newest possible."""
        key = (signature(numbers), look.stream, look.plot, look.column, look.by)
        if key != self._plot_of and (now or time.monotonic() - self._plot_time >= PLOT_SECONDS):
            self._plot_of, self._plot_time = key, time.monotonic()
            self.plot = self._guarded("plot", lambda: self._plotted(look))

    def _plotted(self, look: Look) -> Picture:
        # It may be looked at anywhere, so it brings its own ground.
        from ..views import picture

        plain = look.changed(dark=False, width=min(look.width, 760), scale=1.0)
        return picture.draw(self._session, plain, self._monitor.history(), ground="white")

    def _part(self, name: str, numbers: Numbers, look: Look) -> Part | None:
        wanted = (look, signature(numbers) if name in _OF_EVENTS else None)
        unchanged = name in _OF_EVENTS and name in self._there and self._drawn_for.get(name) == wanted
        if unchanged or not self._pace.due(name):
            return None
        start = time.thread_time()
        part: Part | None = self._guarded(name, lambda: self._draw(name, look))
        # What failed is tried again, but not at every frame.
        self._pace.drawn(name, max(time.thread_time() - start, 0 if part else FAILED_COST))
        if part is not None:
            self._drawn_for[name] = wanted
        return part

    def _guarded(self, name: str, draw: Callable[[], Any]) -> Any:
        self._problems.pop(name, None)
        try:
            return draw()
        except EbpflabError as error:
            self._problems[name] = error.what
        except Exception as error:  # noqa: BLE001 - a part that fails must not end the view: it says so and goes on
            self._problems[name] = f"{name} cannot be drawn: {type(error).__name__}: {error}"
            note(self._session, self._problems[name], "error")
        return None

    def _draw(self, name: str, look: Look) -> Part:
        # Imported here: what a page does not look at costs nothing.
        if name == "history":
            return protocol.history(self._monitor.history())
        if name == "rows":
            from ..views import rows

            return protocol.rows(rows.newest(self._session, look), look)
        if name == "picture":
            from ..views import picture

            return protocol.picture(picture.draw(self._session, look, self._monitor.history()))
        if name == "entries":
            from ..views import entries

            return protocol.entries(entries.entries(self._session, look))
        if name == "code":
            from ..views import code

            return protocol.code(code.listing(self._session, look))
        from ..views import log

        return protocol.log(log.lines(self._session))

    def _choices(self, look: Look) -> dict[str, list[Any]]:
        from ..views import suiting

        session = self._session
        # The columns of a stream stay, once there is an event that shows them.
        if not self._columns.get(look.stream) and self._pace.due("columns"):
            self._columns[look.stream] = self._guarded("columns", lambda: suiting.choices(session, look)) or ()
            self._pace.drawn("columns", FAILED_COST)
        columns = self._columns.get(look.stream, ())
        return protocol.choices(
            streams=session.streams,
            plots=suiting.suits(columns),
            columns=columns,
            maps=[*session.maps, *(["variables"] if len(session.vars) else [])],
            programs=[program.name for program in session._programs],
        )


def prepare() -> None:
    """Import what draws plots, beside everything else: that takes a second, in which frames have to go on."""
    global _importing
    if _importing is None and "matplotlib.backends.backend_agg" not in sys.modules:
        modules = ("matplotlib.figure", "matplotlib.backends.backend_agg")
        _importing = threading.Thread(target=lambda: [*map(importlib.import_module, modules)], daemon=True)
        _importing.start()


def ready() -> bool:
    """Say whether plots can be drawn at once."""
    return _importing is None or not _importing.is_alive()


def age(seconds: float) -> str:
    """Say how long ago something was."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def note(session: Session, text: str, tone: str) -> None:
    """Write into the log of the session's views, unless that is what it says last."""
    from ..views import log

    told = log.lines(session)
    if not told or told[-1].text != text:
        log.note(session, text, tone)


def signature(numbers: Numbers) -> tuple[Any, ...]:
    """Return what has changed when more than the age has."""
    counts = (numbers.received, numbers.lost, numbers.evicted, numbers.discarded, numbers.held)
    return (numbers.state, numbers.problem, *counts)
