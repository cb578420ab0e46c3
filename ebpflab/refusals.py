"""The verifier's logs of refused programs: each is kept whole in a file, and looked through a part at a time."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import cache
from .errors import CellError
from .formatting import Code, Head, Note, Part, html, number, text
from .similar import did_you_mean, nearest

_SUFFIX = "-verifier.log"
_MOST = 60  # lines shown at a time: a log has up to millions
_WIDTH = 180  # characters shown of a line
_LARGEST = 32_000_000  # characters


@dataclass(frozen=True)
class VerifierLog:
    """A kept log, or the lines of it that hold certain words; shows itself in at most 60 lines.

    Parameters
    ----------
    name
        The session's.
    path
        The file that holds the whole log.
    words
        What a line has to hold to be shown, all of them; without any the end of the log is shown.

    Examples
    --------
    >>> verifier_log("opens").find("R3=scalar")
    """

    name: str
    path: Path
    words: tuple[str, ...] = ()

    def find(self, *words: str) -> VerifierLog:
        """Return the lines that hold these words, too, in this order or another."""
        return VerifierLog(self.name, self.path, (*self.words, *words))

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield the lines with their 1-based numbers, those that hold all words."""
        with self.path.open(errors="replace") as file:
            for at, line in enumerate(file, 1):
                if all(word in line for word in self.words):
                    yield at, line.rstrip("\n")

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "\n".join(line for _, line in self.lines())

    def _document(self) -> list[Part]:
        last: deque[tuple[int, str]] = deque(maxlen=_MOST)
        count = 0
        for count, line in enumerate(self.lines(), 1):  # noqa: B007 - how many there are is said below
            last.append(line)
        what = f"lines with {' and '.join(self.words)}" if self.words else "lines"
        shown = f"the last {len(last)} of {number(count)} {what}" if count > len(last) else f"{number(count)} {what}"
        parts: list[Part] = [Head(self.name, "verifier", "muted", f"{shown}; all of it: {self.path}")]
        if last:
            return [*parts, Code("\n".join(_numbered(last)))]
        return [*parts, Note("no line has these words" if self.words else "the log is empty")]

    def __repr__(self) -> str:
        return text(self._document())

    def _repr_html_(self) -> str:
        return html(self._document())


def _numbered(lines: Iterable[tuple[int, str]]) -> Iterator[str]:
    for at, line in lines:
        yield f"{at:>7}  {line if len(line) <= _WIDTH else f'{line[: _WIDTH - 1]}…'}"


def keep(name: str, log: str) -> Path:
    """Write the log of a session that was refused to its file, in place of the last one, and return the path.

    Of more than 32 MB the beginning and the end are kept, and a line between them says how much is left out.
    """
    path = cache.directory("logs") / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}{_SUFFIX}"
    if not fits(log):
        head, tail = log[: _LARGEST // 8], log[-_LARGEST * 7 // 8 :]
        left_out = log.count("\n") - head.count("\n") - tail.count("\n")
        log = f"{head}\n... {left_out:,} lines left out here: the log has {len(log):,} characters ...\n{tail}"
    cache.write(path, log.encode())
    return path


def fits(log: str) -> bool:
    """Tell whether a log is kept whole."""
    return len(log) <= _LARGEST


def names() -> tuple[str, ...]:
    """Return the names of the sessions whose logs are kept, the oldest first."""
    kept = _kept()
    return tuple(sorted(kept, key=lambda name: kept[name].stat().st_mtime_ns))


def refused_since(name: str, when: float) -> bool:
    """Tell whether the log of a session of this name was kept after a time, in seconds since 1970."""
    path = _kept().get(name)
    return path is not None and path.stat().st_mtime >= when


def _kept() -> dict[str, Path]:
    return {path.name.removesuffix(_SUFFIX): path for path in cache.directory("logs").glob(f"*{_SUFFIX}")}


def verifier_log(name: str | None = None) -> VerifierLog:
    """Return the log of the last refusal, or of the last one of a session's name.

    Parameters
    ----------
    name
        The session's, as in ``%%bpf NAME``.

    Raises
    ------
    CellError
        When no log is kept, or none of that name; names the nearest.

    Examples
    --------
    >>> verifier_log("opens").path.name
    'opens-verifier.log'
    """
    kept = _kept()
    if not kept:
        raise CellError("no program was refused so far", hint="the log of a session that runs: NAME.verifier_log")
    if name is None:
        name = names()[-1]
    if name not in kept:
        near = nearest(name, kept)
        raise CellError(
            f"no program of {name} was refused",
            hint=did_you_mean(near) or f"the log of a session that runs: {name}.verifier_log",
        )
    return VerifierLog(name, kept[name])
