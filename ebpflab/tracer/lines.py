"""What a program prints line by line, with ``printf()`` or ``print((a, b))``: a bounded history, and a frame."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from . import messages, script, tables

if TYPE_CHECKING:
    import pandas as pd

_RATE = 1.0  # seconds that the rate is a mean of


class Lines:
    """The lines that a program prints: ``t.events``.

    Parameters
    ----------
    text
        The program.
    keep
        How many lines are kept, the newest.

    Examples
    --------
    >>> t.events.df()
    """

    def __init__(self, text: str, keep: int) -> None:
        self._statements = script.lines(text)
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=keep)
        self._lock = threading.Lock()
        self._received = self._lost = 0
        self._recent: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def __len__(self) -> int:
        return len(self._kept)

    def stats(self) -> dict[str, Any]:
        """Return how many lines came (received), were lost, discarded (none) and evicted, and how many a second."""
        now = time.monotonic()
        with self._lock:
            while len(self._recent) > 1 and self._recent[1][0] < now - _RATE:
                self._recent.popleft()
            at, before = self._recent[0]
            if now - self._recent[-1][0] > _RATE / 10:
                self._recent.append((now, self._received))
            rate = (self._received - before) / (now - at) if now > at else 0.0
            evicted = self._received - len(self._kept)
            return {"received": self._received, "lost": self._lost, "discarded": 0, "evicted": evicted, "rate": rate}

    def wait(self, count: int = 1, timeout: float | None = None) -> bool:
        """Wait until so many lines came in all, at most so many seconds; returns whether they did."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._received < count and (deadline is None or time.monotonic() < deadline):
            time.sleep(0.005)
        return self._received >= count

    def df(self, last: int | None = None) -> pd.DataFrame:
        """Return the lines as a frame.

        Parameters
        ----------
        last
            Only so many, the newest.

        Returns
        -------
        pandas.DataFrame
            ``time`` (UTC, when the line was read) and, where one statement of the program prints all of them, its
            arguments as columns; else ``kind`` (``printf``, ``value``, ``time`` ...) and ``text``. The attrs are
            ``received``, ``lost`` and ``evicted``.

        Examples
        --------
        >>> t = ebpflab.bpftrace('tracepoint:syscalls:sys_enter_openat { printf("%d %s", pid, comm); }')
        >>> t.events.df()[["pid", "comm"]]
        """
        with self._lock:
            kept = list(self._kept)
        return self._frame(kept if last is None or last >= len(kept) else kept[len(kept) - last :])

    def _frame(self, kept: list[tuple[int, bytes]]) -> pd.DataFrame:
        import pandas as pd

        read = [messages.parse(line) for _, line in kept]
        columns = self._fields(read)
        if columns is None:
            columns = {"kind": pd.Categorical([m.kind for m in read]), "text": _column([_text(m) for m in read])}
        times = pd.DatetimeIndex([at for at, _ in kept], dtype="datetime64[ns, UTC]")
        taken = "time" if "time" not in columns else "time.read"
        frame = pd.DataFrame({taken: times, **columns})
        stats = self.stats()
        frame.attrs = {name: stats[name] for name in ("received", "lost", "evicted")}
        return frame

    def _head(self, count: int) -> pd.DataFrame:
        with self._lock:
            kept = [self._kept[place] for place in range(min(count, len(self._kept)))]
        return self._frame(kept)

    def _take(self, at: int, line: bytes) -> None:
        with self._lock:
            self._kept.append((at, line))
            self._received += 1

    def _texts(self) -> list[str]:
        # What is no message: it says some of its errors on standard output.
        read = (messages.parse(line) for _, line in list(self._kept))
        return [message.data for message in read if message.kind == "unreadable"]

    def _lose(self, count: int) -> None:
        with self._lock:
            self._lost += count

    def _fields(self, read: list[messages.Message]) -> dict[str, Any] | None:
        # The columns of the only statement that prints lines; None if there are others, or a line is of another form.
        if len(self._statements) != 1:
            return None
        ((format, arguments),) = self._statements
        if not arguments:
            return None
        names = script.names(arguments, "value")
        if format is None:
            rows = [m.data if m.kind == "value" and isinstance(m.data, list) else None for m in read]
            if any(row is None or len(row) != len(arguments) for row in rows):
                return None
            return {name: tables.numbers([row[i] for row in rows if row]) for i, name in enumerate(names)}
        expression, letters = script.pattern(format)
        found = [expression.fullmatch(m.data) if m.kind == "printf" and isinstance(m.data, str) else None for m in read]
        if len(letters) != len(arguments) or any(match is None for match in found):
            return None
        columns = zip(names, letters, range(1, len(letters) + 1), strict=True)
        return {n: _of_letter(letter, [m[i] for m in found if m]) for n, letter, i in columns}


def _of_letter(letter: str, values: list[str]) -> Any:
    if letter in "diu":
        return tables.numbers([int(value) for value in values])
    if letter in "xX":
        return tables.numbers([int(value, 16) for value in values])
    return _column([tables.unindented(value) for value in values])


def _column(values: list[str]) -> Any:
    import pandas as pd

    return pd.array(values, dtype="str")


def _text(message: messages.Message) -> str:
    return message.data.removesuffix("\n") if isinstance(message.data, str) else str(message.data)
