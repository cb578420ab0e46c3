# Output below a cell: the session as it is, a bar while a timed run goes on, or a live view.

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from IPython import display

from .. import formatting
from ..session import Session
from ..summary import progress_line, session_document
from ..views import log

_FIRST_LOOKS = (0.4, 1.6)  # seconds after the cell returned at which its first rows are looked for
_PROGRESS_SECONDS = 0.25
_WAIT_SECONDS = 0.1  # between two looks whether the session was closed meanwhile


def bundle(session: Session, note: str = "") -> dict[str, str]:
    document = session_document(session, note)
    return {"text/plain": formatting.text(document), "text/html": formatting.html(document)}


class Output:
    """The place below one cell where a session is shown."""

    def __init__(self, shell: Any) -> None:
        # A terminal cannot take back what it printed; only a notebook's front end updates in place.
        self._updates = hasattr(shell, "kernel")
        self._handle: Any = None
        self._view: Any = None
        self._lock = threading.Lock()

    def show(self, session: Session, note: str = "") -> None:
        """Show a session, in place of what was shown before."""
        self._publish(bundle(session, note))

    def show_first_rows(self, session: Session) -> None:
        """Show a session again when its first rows may be there, after the cell."""
        if self._updates:
            name = f"ebpflab-watch-{session.name}"
            threading.Thread(target=self._look_again, args=(session,), name=name, daemon=True).start()

    def progress(self, session: Session, seconds: float) -> float:
        """Show a bar for so many seconds; returns how many went by, fewer when interrupted."""
        start = time.monotonic()
        try:
            while (gone := time.monotonic() - start) < seconds:
                self._line(progress_line(session, gone, seconds))
                time.sleep(min(_PROGRESS_SECONDS, max(0.0, seconds - gone)))
        except KeyboardInterrupt:
            # The stop button ends the run, not the cell's result: what came so far is kept and shown.
            return time.monotonic() - start
        finally:
            if not self._updates:
                sys.stdout.write("\r\033[K")
        return seconds

    def prepare(self) -> None:
        """Import what a view takes: done before programs are attached, its many files are not among their events."""
        with contextlib.suppress(ImportError):  # what is missing is said where the view would be
            if self._updates:
                from . import view as _view  # noqa: F401
            else:
                from ..views import rows as _rows  # noqa: F401
                from ..views import terminal as _terminal  # noqa: F401

    def watch(self, session: Session, seconds: float | None) -> float:
        """Show the live view, for so many seconds where they are given; returns how many went by.

        In a notebook the view goes on when the cell has ended. In a terminal it has the prompt's place, until an
        interrupt or the end of the session.
        """
        start = time.monotonic()
        try:
            goes_on = self._look(session, seconds)
            while seconds is not None and goes_on and session.state != "closed":
                left = seconds - (time.monotonic() - start)
                if left <= 0:
                    break
                time.sleep(min(_WAIT_SECONDS, left))
        except KeyboardInterrupt:
            if seconds is None:
                raise
            # The stop button ends the run, not the cell's result: what came so far is kept and shown.
        return time.monotonic() - start

    def say_where(self, session: Session) -> None:
        """Say, where a view had the prompt's place and is over, what of the session is not."""
        if not self._updates:
            sys.stdout.write(f"{formatting.text([formatting.Note(_where(session))])}\n")

    def end(self, session: Session, note: str) -> None:
        """Show how a timed run ended: in the view, if there is one that stays, else in place of the bar."""
        if self._view is not None:
            if note:
                log.note(session, note, "muted")
            with self._unbroken(session):
                self._view.publish()
                return
        self.show(session, note)

    def _look(self, session: Session, seconds: float | None) -> bool:
        # Whether a timed run goes on: in a terminal, the view has taken its time, or was interrupted.
        with self._unbroken(session):
            view = session.view()
            if not self._updates:
                with view:
                    return bool(view.follow(seconds))
            view.show(busy=seconds is not None)
            self._view = view
        return True

    @contextlib.contextmanager
    def _unbroken(self, session: Session) -> Iterator[None]:
        # A view that fails is said below the cell, and breaks neither the cell nor the run.
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
            self._view = None
            self.show(session, f"the live view cannot be shown: {error}")

    def _look_again(self, session: Session) -> None:
        for pause in _FIRST_LOOKS:
            time.sleep(pause)
            self.show(session)

    def _line(self, line: str) -> None:
        if not self._updates:
            sys.stdout.write(f"\r\033[K{line}")
            sys.stdout.flush()
            return
        document = [formatting.Code(line)]
        self._publish({"text/plain": line, "text/html": formatting.html(document)})

    def _publish(self, data: dict[str, str]) -> None:
        with self._lock:
            if self._handle is None or not self._updates:
                self._handle = display.display(data, raw=True, display_id=True)  # type: ignore[no-untyped-call]
            else:
                self._handle.update(data, raw=True)


def _where(session: Session) -> str:
    rows = f", {session.name}.events.df() has the rows" if len(session.streams) == 1 else ""
    if session.state in ("closed", "replayed"):
        return f"{session.name} is {session.state}{rows}"
    return f"{session.name} is {session.state}{rows}, and %bpf stop {session.name} ends it"
