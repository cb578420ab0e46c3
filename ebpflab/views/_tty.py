# The terminal itself: how large it is, what it can do, and how lines are drawn again where they stand.

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import TracebackType

from ._lines import Line, rendered

_UNSAID = (80, 24)  # columns and lines where nobody says how large it is
_UP, _TO_END_OF_LINE, _BELOW = "\x1b[{}A", "\x1b[K", "\x1b[J"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"

Lines = Callable[[int, int | None], list[Line]]  # made for so many columns, and at most so many lines


def size() -> tuple[int, int]:
    found = shutil.get_terminal_size(_UNSAID)
    return found.columns, found.lines


def is_live() -> bool:
    # Whether what was printed can be drawn again in its place.
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def put(lines: Lines) -> None:
    # Print lines as any other output.
    columns, _ = size()
    _send(_text(lines(columns, None), columns))


class Screen:
    # The lines from the cursor's first place on: every drawing begins there again, what was printed before stays.

    def __init__(self) -> None:
        self._drawn = 0
        self._size = (0, 0)

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _send(_SHOW_CURSOR)

    def draw(self, lines: Lines) -> None:
        columns, rows = now = size()
        if now != self._size:
            # Some terminals wrap old lines anew, others do not: nobody knows where these begin, so they stay.
            self._drawn, self._size = 0, now
        shown = lines(columns, rows - 1)
        # The last column stays free: some terminals go to the next line there, others wait.
        text = _text(shown, columns - 1).replace("\n", f"{_TO_END_OF_LINE}\n")
        up = _UP.format(self._drawn) if self._drawn else ""
        with _uninterrupted():
            _send(f"{_HIDE_CURSOR}{up}\r{text}{_BELOW}")  # in one piece, so that no half of it is seen
            self._drawn = len(shown)


def _text(lines: list[Line], columns: int) -> str:
    colours = is_live() and not os.environ.get("NO_COLOR")
    return "".join(f"{rendered(each, columns, colours=colours)}\n" for each in lines)


def _send(text: str) -> None:
    coding = getattr(sys.stdout, "encoding", None) or "utf-8"
    sys.stdout.write(text.encode(coding, "replace").decode(coding))
    sys.stdout.flush()


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    # An interrupt waits until what was drawn is known, or the next drawing would begin at a wrong line.
    came: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    ours = threading.current_thread() is threading.main_thread()  # interrupts come to no other
    if before is None or not ours:  # None: somebody's who is not Python, and could not be put back
        yield
        return
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def quiet_keys() -> Iterator[None]:
    # Keys that are shown while something is drawn would move the cursor away from where the next drawing begins.
    keys = _own_terminal()
    if keys is None:
        yield
        return
    import termios

    before = termios.tcgetattr(keys)
    termios.tcsetattr(keys, termios.TCSANOW, [*before[:3], before[3] & ~termios.ECHO, *before[4:]])
    try:
        yield
    finally:
        termios.tcsetattr(keys, termios.TCSANOW, before)


def _own_terminal() -> int | None:
    # The keyboard's descriptor if it is a terminal and we are in its foreground: others would be stopped.
    try:
        keys = sys.stdin.fileno()
        return keys if is_live() and os.isatty(keys) and os.tcgetpgrp(keys) == os.getpgrp() else None
    except (AttributeError, OSError, ValueError):  # there is no stdin, or one that is no file
        return None
