"""What happened to a session, line by line: its stages, what was attached, what was lost, what the view did."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..events import Events
    from ..session import Session

_MOST = 200  # lines kept of what goes on
_QUIET, _LONGEST = 1.0, 64.0  # seconds between two lines about losses of a stream, at least and in the end
_ENDS = {"closed": "the session is closed", "replayed": "all of the recording was played"}


class Line(NamedTuple):
    """One line: its number from 1 on, when it happened (UTC seconds), its tone, and a sentence."""

    number: int
    time: float
    tone: str  # ok, warning, muted or error
    text: str


def lines(session: Session, since: int = 0) -> tuple[Line, ...]:
    """Return the lines after number `since`, oldest first; at most 200 are kept.

    Nothing here asks the kernel: it is what the session knows of itself.

    Examples
    --------
    >>> [line.text for line in lines(session)][-1]
    'attached on_open to tracepoint syscalls/sys_enter_openat'
    """
    observe(session)
    return _log_of(session).since(since)


def note(session: Session, text: str, tone: str = "ok") -> Line:
    """Add a line about what was done, and return it.

    Examples
    --------
    >>> note(session, "saved 1,009 rows to opens.parquet")
    """
    return _log_of(session).add(time.time(), tone, text)


def observe(session: Session) -> None:
    """Take down what has changed since the last look; views call it at every tick, so that the times are right."""
    _log_of(session).observe(session)


def waits(session: Session) -> str:
    """Return what becomes of events while a session is paused, in words.

    Examples
    --------
    >>> waits(session)
    'the buffer fills, and what it refuses is lost'
    """
    return "the recording waits" if session.engine == "replay" else "the buffer fills, and what it refuses is lost"


class _Log:
    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._lines: deque[Line] = deque(maxlen=_MOST)
        self._number = 0
        self._stages = 0
        self._links: dict[int, str] = {}
        self._state = ""
        self._losses: dict[str, _Losing] = {}
        self._paused: dict[str, bool] = {}

    def add(self, at: float, tone: str, text: str) -> Line:
        with self._lock:
            self._number += 1
            line = Line(self._number, at, tone, text)
            self._lines.append(line)
            return line

    def since(self, number: int) -> tuple[Line, ...]:
        with self._lock:
            return tuple(line for line in self._lines if line.number > number)

    def observe(self, session: Session) -> None:
        with self._lock:
            self._see_stages(session)
            self._see_links(session)
            for name, events in session.streams.items():
                self._see_stream(name, events, waits(session))
            self._see_state(session)

    def _see_stages(self, session: Session) -> None:
        first = not self._stages
        for stage in session._stages[self._stages :]:
            detail = f", {stage.detail}" if stage.detail else ""
            self.add(session._began, "muted", f"{stage.name}: {stage.ms:,.1f} ms{detail}")
            self._stages += 1
        for warning in session.warnings if first and self._stages else ():
            where = f" (line {warning.where.line})" if warning.where else ""
            self.add(session._began, "warning", f"clang: {warning.message}{where}")

    def _see_links(self, session: Session) -> None:
        now, seen = _when(session, "_began", self._state), {link.number: link for link in tuple(session._links)}
        for number in [number for number in self._links if number not in seen]:
            self.add(now, "muted", f"detached {self._links.pop(number)}")
        for number, link in seen.items():
            if number not in self._links:
                self._links[number] = link.program
                self.add(now, "ok", f"attached {link.program} to {link.hook} {link.target}".rstrip())

    def _see_state(self, session: Session) -> None:
        state = session.state
        if state != self._state and state in _ENDS:
            self.add(_when(session, "_ended", self._state), "muted", _ENDS[state])
        self._state = state

    def _see_stream(self, name: str, events: Events, waiting: str) -> None:
        now = time.time()
        if events.paused != self._paused.get(name, False):
            self._paused[name] = events.paused
            what = f"paused: {waiting}" if events.paused else "resumed"
            self.add(now, "warning" if events.paused else "ok", f"{name}: {what}")
        losing = self._losses.setdefault(name, _Losing())
        if text := losing.text(now, events.lost or 0):
            self.add(now, "error", f"{name}: {text}")


def _when(session: Session, what: str, state: str) -> float:
    # Now; but at the first look, which may be late, the streams know better when they were attached and detached.
    told = [getattr(events, what) for events in session.streams.values()]
    return max(told, default=0.0) or time.time() if not state else time.time()


class _Losing:
    # A stream that loses records all the time must not push out everything else: the lines get rarer, until
    # nothing was lost for as long as the last pause between two.
    def __init__(self) -> None:
        self._told, self._at, self._pause = 0, 0.0, _QUIET

    def text(self, now: float, lost: int) -> str:
        if lost <= self._told or now - self._at < self._pause:
            return ""
        self._pause = min(2 * self._pause, _LONGEST) if now - self._at < 2 * self._pause else _QUIET
        more, self._told, self._at = lost - self._told, lost, now
        return f"{more:,} record{'s' if more != 1 else ''} lost, {lost:,} in all"


_logs: weakref.WeakKeyDictionary[Session, _Log] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def _log_of(session: Session) -> _Log:
    with _making:
        found = _logs.get(session)
        if found is None:
            found = _logs[session] = _Log()
        return found
