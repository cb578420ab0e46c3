# What a live view sends goes through here: as often as its budget allows, and nothing once it is closed.

from __future__ import annotations

import threading
from collections.abc import Callable

from .pace import Budget

SPARE = 2  # messages in a second that are kept for what is not a frame


class Wire:
    """The way of a view to its pages.

    Attributes
    ----------
    stopping : threading.Event
        Set when nothing may be sent any more; what waits here goes on at once.
    """

    def __init__(self, budget: Budget | None = None) -> None:
        self.stopping = threading.Event()
        self._budget = budget or Budget()
        self._lock = threading.Lock()
        self._closed = False

    def wait(self, spare: int = 0) -> bool:
        """Wait until a message may be sent; False when none may be, ever."""
        while seconds := self._budget.wait(spare):
            if self.stopping.wait(seconds):
                return False
        return not self.stopping.is_set()

    def send(self, message: Callable[[], object], spare: int = 0) -> bool:
        """Call what sends a message, once it may; returns whether it was called."""
        while self.wait(spare):
            if not self._budget.take(spare):
                with self._lock:
                    if not self._closed:
                        message()
                    return not self._closed
        return False

    def now(self, message: Callable[[], object]) -> None:
        """Call what sends a message that somebody waits for; it counts all the same."""
        self._budget.spend()
        message()

    def close(self) -> None:
        """Send nothing from now on."""
        self.stopping.set()
        with self._lock:  # not in the middle of a message either
            self._closed = True
