"""A thread that can be waited for and interrupted, and still says rightly whether it runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable


class Worker:
    """A daemon thread that runs one function, from now on.

    A plain thread is forgotten by CPython before 3.13 when a KeyboardInterrupt comes while somebody waits in
    ``join()``: ``is_alive()`` is False from then on, though it runs (``_wait_for_tstate_lock`` in Lib/threading.py).
    A notebook's stop button does just that. Here an event says it.

    Parameters
    ----------
    run
        What it does.
    name
        The thread's name.

    Examples
    --------
    >>> worker = Worker(read_all, "reader")
    >>> worker.wait(timeout=1)
    """

    def __init__(self, run: Callable[[], object], name: str) -> None:
        self._over = threading.Event()
        self._owner = os.getpid()
        self._thread = threading.Thread(target=self._all, args=(run,), name=name, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it still runs; in a forked process no thread of the parent's does."""
        return not self._over.is_set() and os.getpid() == self._owner

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended, at most so many seconds; returns whether it has. It does not wait for itself."""
        if self.running and threading.current_thread() is not self._thread and self._over.wait(timeout):
            self._thread.join()  # what is left of it takes microseconds
        return not self.running

    def _all(self, run: Callable[[], object]) -> None:
        try:
            run()
        finally:
            self._over.set()
