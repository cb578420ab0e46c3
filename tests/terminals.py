"""A terminal for tests: a program behind a pty, and what a person would see of what it sends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

_CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b[=>78]|\x1b\][^\x07]*\x07|[\r\n\x08\x07]|[^\x1b\r\n\x08\x07]+")


class Seen:
    """The lines of a terminal and its scrollback, for what our views send; anything else is an error of the test."""

    def __init__(self, columns):
        self.columns, self.lines, self.row, self.column = columns, [""], 0, 0
        self.cursor = True

    def feed(self, text):
        for match in _CONTROL.finditer(text):
            if match[2]:
                self._obey(match[1], match[2])
            elif match[0] == "\r":
                self.column = 0
            elif match[0] == "\n":
                self.row += 1
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif match[0] == "\x08":
                self.column = max(self.column - 1, 0)
            elif match[0][0] >= " ":
                self._write(match[0])

    def _obey(self, number, what):
        if what == "A":
            self.row -= int(number or 1)
            assert self.row >= 0, "the cursor went up beyond the first line"
        elif what == "K":
            self.lines[self.row] = self.lines[self.row][: self.column]
        elif what == "J":
            self.lines[self.row] = self.lines[self.row][: self.column]
            del self.lines[self.row + 1 :]
        elif what in "hl" and number == "?25":
            self.cursor = what == "h"
        else:
            assert what == "m" or number.startswith("?"), f"an unknown control sequence {number}{what}"

    def _write(self, text):
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + text + line[self.column + len(text) :]
        self.column += len(text)
        assert self.column <= self.columns, f"a line is longer than the terminal: {self.lines[self.row]!r}"

    @property
    def text(self):
        return "\n".join(line.rstrip() for line in self.lines).strip("\n")


class Terminal:
    """A program that believes that somebody sits in front of it."""

    def __init__(self, command, *, columns=100, lines=30, env=None):
        self.columns, self.sent = columns, ""
        self.pid, self._fd = pty.fork()
        if not self.pid:
            with contextlib.suppress(BaseException):
                os.execvpe(command[0], command, env or os.environ)
            os._exit(127)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._fd)

    def type(self, text):
        os.write(self._fd, text.encode())

    def until(self, said, timeout=30.0, meanwhile=lambda: None):
        """Read until a regular expression is in what was sent since the last call; returns all of that."""
        begin, taken = time.monotonic(), b""
        while not re.search(said, text := taken.decode("utf-8", "replace")):
            assert time.monotonic() - begin < timeout, f"{said!r} did not come within {timeout} s: {text[-3000:]!r}"
            meanwhile()
            if select.select([self._fd], [], [], 0.05)[0]:
                taken += os.read(self._fd, 65536)
        self.sent += text
        return text

    @property
    def echoes(self):
        """Whether keys are shown."""
        return bool(termios.tcgetattr(self._fd)[3] & termios.ECHO)


def seen(text, columns=100):
    """What a person sees after all that was sent."""
    screen = Seen(columns)
    screen.feed(text)
    return screen
