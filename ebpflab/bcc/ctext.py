# C text without a parser: what is neither string nor comment, which bracket ends what another begins, and arguments.

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from ..cell import without_comments

_STRING = re.compile(r""""(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?""", re.DOTALL)
_BRACKET = re.compile(r"[(){}\[\]]")
_BRACKET_OR_END = re.compile(r"[(){}\[\],;]")


@functools.lru_cache(maxsize=8)
def plain(text: str) -> str:
    # Strings and comments become blanks of the same shape, so that every offset stays.
    return _STRING.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), without_comments(text))


def closing(bare: str, opening: int) -> int:
    # Where the bracket ends that begins at `opening`, in a text of plain(); the length of the text if it never does.
    depth = 0
    for match in _BRACKET.finditer(bare, opening):
        depth += 1 if match[0] in "([{" else -1
        if depth == 0:
            return match.start()
    return len(bare)


def body(bare: str, start: int) -> tuple[int, int]:
    # The first braces from `start` on, which is before those of a function: where they open and where they close.
    opening = bare.find("{", start)
    return (opening, closing(bare, opening)) if opening >= 0 else (len(bare), len(bare))


def arguments(bare: str, start: int) -> list[tuple[int, int]]:
    # The arguments of a call whose bracket was opened just before; or the value that begins there.
    depth, first = 0, start
    found: list[tuple[int, int]] = []
    for match in _BRACKET_OR_END.finditer(bare, start):
        at, mark = match.start(), match[0]
        if mark in ")]};" and depth == 0:
            return [*found, (first, at)]
        depth += (mark in "([{") - (mark in ")]}")
        if mark == "," and depth == 0:
            found.append((first, at))
            first = at + 1
    return [*found, (first, len(bare))]


def replaced(pattern: re.Pattern[str], by: Callable[[re.Match[str]], str], text: str) -> str:
    # re.sub() outside strings and comments.
    parts, at = [], 0
    for match in pattern.finditer(plain(text)):
        parts += [text[at : match.start()], by(match)]
        at = match.end()
    return "".join([*parts, text[at:]])
