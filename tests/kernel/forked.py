"""A copy of the test's process, to be killed or to lose privileges: much quicker to start than another Python."""

from __future__ import annotations

import contextlib
import os
import signal
import traceback
from collections.abc import Callable, Iterator


class Child:
    """A forked process that runs one function; the function is given another to tell lines with."""

    def __init__(self, function: Callable[[Callable[[str], None]], None]) -> None:
        read, write = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            status = 1
            try:
                os.close(read)
                with os.fdopen(write, "w") as pipe:
                    function(lambda text: print(text, file=pipe, flush=True))
                status = 0
            except BaseException:  # noqa: BLE001 - there is no pytest in this process to report it
                traceback.print_exc()
            finally:
                os._exit(status)  # nothing of the test's own is closed or reported twice
        os.close(write)
        self._pipe = os.fdopen(read)

    def line(self) -> str:
        """The next line that it tells, "" when it has ended."""
        return self._pipe.readline().rstrip("\n")

    def end(self, *, kill: bool = False) -> int:
        """Kill it, or wait until it ends; returns its exit status, negative for a signal."""
        if kill:
            os.kill(self._pid, signal.SIGKILL)
        with self._pipe:
            self._pipe.read()
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


@contextlib.contextmanager
def holding(attach: Callable[[], object]) -> Iterator[Child]:
    """A process that attaches something, and then waits for its end: it is killed when the block is left."""

    def hold(tell: Callable[[str], None]) -> None:
        kept = attach()
        tell("attached")
        signal.pause()
        del kept

    child = Child(hold)
    try:
        assert child.line() == "attached"
        yield child
    finally:
        assert child.end(kill=True) == -signal.SIGKILL


def told(function: Callable[[Callable[[str], None]], None]) -> str:
    """Run a function in a process of its own; returns the only line that it tells."""
    child = Child(function)
    text = child.line()
    assert child.end() == 0
    return text
