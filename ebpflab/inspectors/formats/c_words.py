"""Words of C: numbers, names, strings and signs, and the brackets that hold them together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_TOKEN = re.compile(
    r"\s+|(?P<number>0[xX][0-9a-fA-F]{1,32}[uUlL]{0,3}\b|[0-9]{1,40}[uUlL]{0,3}\b)|(?P<name>[A-Za-z_]\w*)"
    r'|(?P<string>"(?:[^"\\]|\\.)*")|(?P<char>\'(?:[^\'\\]|\\.)\')'
    r"|(?P<sign>->|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^~!<>=?:.,;(){}\[\]])",
    re.ASCII | re.DOTALL,
)
CLOSING = {"(": ")", "[": "]", "{": "}"}
_ESCAPE = re.compile(r"\\([0-7]{1,3}|x[0-9a-fA-F]{1,2}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b"}


class NotUnderstoodError(Exception):
    """Part of a print format is not understood; its text says which. It never leaves this package's inspectors."""


@dataclass(frozen=True)
class Token:
    """A word of C; ``kind`` is "number", "name", "string", "char" or "sign"."""

    kind: str
    text: str


def tokens(text: str) -> list[Token]:
    """Split C into its words.

    Raises
    ------
    NotUnderstoodError
        There is something in it that is none.

    Examples
    --------
    >>> [token.text for token in tokens("REC->flags & 0x1")]
    ['REC', '->', 'flags', '&', '0x1']
    """
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise NotUnderstoodError(f"no C at {text[at : at + 20]!r}")
        if match.lastgroup:
            found.append(Token(match.lastgroup, match[0]))
        at = match.end()
    return found


def arguments(words: Sequence[Token]) -> list[list[Token]]:
    """Split the words of a call's arguments at the commas that are in no bracket.

    Raises
    ------
    NotUnderstoodError
        A bracket is not closed, or closed and never opened.
    """
    found: list[list[Token]] = [[]]
    open_: list[str] = []
    for token in words:
        if token.kind == "sign" and token.text in CLOSING:
            open_.append(CLOSING[token.text])
        elif token.kind == "sign" and token.text in CLOSING.values() and (not open_ or open_.pop() != token.text):
            raise NotUnderstoodError(f"a {token.text} that nothing opened")
        if token == Token("sign", ",") and not open_:
            found.append([])
        else:
            found[-1].append(token)
    if open_:
        raise NotUnderstoodError(f"a {open_[-1]} is missing")
    return found


def unquoted(quoted: str) -> str:
    """Return what a string or character constant stands for."""

    def one(match: re.Match[str]) -> str:
        said = match[1]
        if said[0] in "01234567":
            return chr(int(said, 8) & 0xFF)
        return chr(int(said[1:], 16)) if said[0] == "x" and len(said) > 1 else _ESCAPED.get(said, said)

    return _ESCAPE.sub(one, quoted[1:-1])
