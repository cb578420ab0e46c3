"""Options for the compiler that a cell brings along, such as ``-DPAGES=8``: what may be said, and what it says."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from .errors import CellError

_TAKES = ("-D", "-U", "-I")  # these may have their argument in the next word
_ALLOWED = re.compile(
    r"-D(?P<name>[A-Za-z_]\w*(?:\([^)]*\))?)(?:=(?P<text>.*))?|-U[A-Za-z_]\w*|-I.+"
    r"|-W(?:no-)?[a-z][\w+-]*(?:=[\w+-]+)?",
    re.DOTALL,
)
_HINT = "a cell takes -D, -U, -I and -W options: what it is compiled to, and for which machine, is not its own to say"


def parse(given: str | Sequence[str]) -> tuple[str, ...]:
    """Return compiler options as one word each, with whole paths.

    Parameters
    ----------
    given
        As on a command line, ``"-DPAGES=8 -I include"``, or a list of words.

    Raises
    ------
    CellError
        For an option that would change what is compiled for, where it goes, or run something: ``-o``, ``-c``,
        ``-target``, ``-fplugin=``, ``@file``.

    Examples
    --------
    >>> parse("-DPAGES=8 -D DEBUG")
    ('-DPAGES=8', '-DDEBUG')
    """
    try:
        words = shlex.split(given) if isinstance(given, str) else [os.fspath(word) for word in given]
    except ValueError as error:
        raise CellError(f"the compiler options cannot be read: {error}", hint="check the quotes") from error
    found: list[str] = []
    while words:
        word = words.pop(0)
        if word in _TAKES and words:
            word += words.pop(0)
        if not _ALLOWED.fullmatch(word) or "\0" in word:
            raise CellError(f"the compiler option {word} is not one for a cell", hint=_HINT)
        found.append(_whole(word))
    return tuple(found)


def folders(flags: Iterable[str]) -> list[Path]:
    """Return the folders of ``-I`` options, in order."""
    return [Path(flag[2:]) for flag in flags if flag.startswith("-I")]


def defines(flags: Iterable[str]) -> str:
    r"""Return the ``-D`` options as the directives that they stand for.

    Examples
    --------
    >>> defines(["-DPAGES=8", "-DDEBUG"])
    '#define PAGES 8\n#define DEBUG 1\n'
    """
    matches = (_ALLOWED.fullmatch(flag) for flag in flags)
    texts = ((m["name"], "1" if m["text"] is None else m["text"]) for m in matches if m and m["name"])
    return "".join(f"#define {name} {text}\n" for name, text in texts)


def _whole(word: str) -> str:
    # The compiler works in a folder of its own.
    if not word.startswith("-I"):
        return word
    return "-I" + os.path.abspath(Path(word[2:]).expanduser())  # noqa: PTH100 - links stay
