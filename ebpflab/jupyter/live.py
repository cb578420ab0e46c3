# Output that stays up to date below its cell, a few times a second at most, whatever the event rate.

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from IPython import display

from .. import formatting
from ..session import Session
from ..summary import progress_line, session_document

_WATCH_SECONDS = 0.5
_FIRST_LOOKS = (0.4, 1.6)  # seconds after the cell returned at which its first rows are looked for
_PROGRESS_SECONDS = 0.25


def bundle(session: Session, note: str = "") -> dict[str, str]:
    document = session_document(session, note)
    return {"text/plain": formatting.text(document), "text/html": formatting.html(document)}


class Output:
    """The place below one cell where a session is shown."""

    def __init__(self, shell: Any) -> None:
        # A terminal cannot take back what it printed; only a notebook's front end updates in place.
        self._updates = hasattr(shell, "kernel")
        self._handle: Any = None
        self._lock = threading.Lock()

    def show(self, session: Session, note: str = "") -> None:
        """Show a session, in place of what was shown before."""
        self._publish(bundle(session, note))

    def follow(self, session: Session, *, watch: bool) -> None:
        """Keep the output up to date: until the session is closed, or only until the first rows are there."""
        if self._updates:
            threading.Thread(
                target=self._follow, args=(session, watch), name=f"ebpflab-watch-{session.name}", daemon=True
            ).start()

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

    def _follow(self, session: Session, watch: bool) -> None:
        if not watch:
            for pause in _FIRST_LOOKS:
                time.sleep(pause)
                self.show(session)
            return
        shown = None
        while session.state != "closed":
            state = (
                session.state,
                *(len(e) for e in session.streams.values()),
                *(e.stats()["received"] for e in session.streams.values()),
            )
            if state != shown:
                self.show(session)
            shown = state
            time.sleep(_WATCH_SECONDS)
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
