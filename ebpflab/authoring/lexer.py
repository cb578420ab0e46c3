"""C text as tokens, also where a comment, a string or a brace does not end yet.

Somebody is typing: nothing here may fail, whatever the text, and everything takes time linear in it.
"""

from __future__ import annotations

import bisect
import functools
import re
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

_TOKEN = re.compile(
    r"""(?P<directive>^[ \t]*\#(?:\\\r?\n|[^\n])*)
    | (?P<comment>//[^\n\\]*(?:\\(?:\r\n|.)[^\n\\]*)*|/\*.*?(?:\*/|\Z))
    | (?P<string>"(?:\\.|[^"\\\n])*"?)
    | (?P<char>'(?:\\.|[^'\\\n])*'?)
    | (?P<number>\.?[0-9](?:[eEpP][+-]|[\w.])*)
    | (?P<word>[A-Za-z_]\w*)
    | (?P<mark>->|\.\.\.|\S)""",
    re.VERBOSE | re.MULTILINE | re.DOTALL | re.ASCII,
)
# Sections that hold data and no program.
_DATA_SECTION = re.compile(r"\.|license$|version$|maps$|\?\.")
_DEEPEST = 200  # brackets that are looked through for the one that is closed: more are no program
_OPENS = {"(": ")", "[": "]", "{": "}"}
_CLOSES = {")": "(", "]": "[", "}": "{"}


class Token(NamedTuple):
    """A piece of C: ``kind`` is directive, comment, string, char, number, word or mark; ``start`` its offset."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        """The offset behind its last character."""
        return self.start + len(self.text)


@functools.lru_cache(maxsize=4)  # a completion reads its cell for the place, and again for what is declared
def tokens_of(text: str) -> tuple[Token, ...]:
    """Take C text apart; blanks are left out.

    Examples
    --------
    >>> [t.text for t in tokens_of("ctx->fil")]
    ['ctx', '->', 'fil']
    """
    return tuple(Token(match.lastgroup or "", match[0], match.start()) for match in _TOKEN.finditer(text))


def joined(tokens: tuple[Token, ...]) -> str:
    """Put tokens together as a person would write them on one line.

    Examples
    --------
    >>> joined(tokens_of("f(a ,* b)"))
    'f(a, *b)'
    """
    pieces = list[str]()
    for before, token in zip((None, *tokens), tokens, strict=False):
        glued = before is None or token.text in ("(", ")", ",", ";", "[", "]") or before.text in ("(", "[", "*", "&")
        pieces.append(token.text if glued and not (before and before.text == ",") else f" {token.text}")
    return "".join(pieces).strip()


@dataclass(frozen=True)
class Code:
    """The tokens of a cell without comments and directives, and which bracket ends where.

    Examples
    --------
    >>> Code(tokens_of("f(a, [b)")).ends
    {1: 6, 4: 6}
    """

    tokens: tuple[Token, ...]

    @cached_property
    def starts(self) -> list[int]:
        """Where each token starts."""
        return [token.start for token in self.tokens]

    @cached_property
    def ends(self) -> dict[int, int]:
        """For the index of each opening bracket, that of what closes it, or of the first token behind it.

        A bracket that nobody closed ends where one of those around it does, at the semicolon of its statement,
        or where the next program's ``SEC("...")`` begins.
        """
        return _pairs(self.tokens)

    @cached_property
    def begins(self) -> dict[int, int]:
        """The other way round: for each closing bracket the one that it closes."""
        return {
            last: first
            for first, last in self.ends.items()
            if last < len(self.tokens) and self.tokens[last].text == _OPENS[self.tokens[first].text]
        }

    def index(self, offset: int) -> int:
        """The index of the first token that starts at this offset or behind it."""
        return bisect.bisect_left(self.starts, offset)

    def text(self, at: int) -> str:
        """The text of a token, "" outside of the code."""
        return self.tokens[at].text if 0 <= at < len(self.tokens) else ""

    def kind(self, at: int) -> str:
        """The kind of a token, "" outside of the code."""
        return self.tokens[at].kind if 0 <= at < len(self.tokens) else ""

    def section(self, at: int) -> str | None:
        """The name in the ``SEC("...")`` that starts at this token, or None if none does."""
        if self.text(at) == "SEC" and self.text(at + 1) == "(" and self.kind(at + 2) == "string":
            return self.text(at + 2).strip('"')
        return None


def is_program(section: str | None) -> bool:
    """Whether a section holds a program, not maps, a licence or other data."""
    return section is not None and not _DATA_SECTION.match(section)


def _pairs(tokens: tuple[Token, ...]) -> dict[int, int]:
    code, ends, stack = Code(tokens), dict[int, int](), list[int]()
    begun = dict[int, int]()
    for at, token in enumerate(tokens):
        if token.kind == "word":
            if stack and token.text == "SEC" and is_program(code.section(at)):
                _end(stack, ends, 0, at)
        elif token.kind != "mark":
            continue
        elif token.text in _OPENS:
            if token.text == "{" and stack and tokens[stack[-1]].text == "(" and not _is_inside(code, begun, at):
                _end(stack, ends, len(stack) - 1, at)
            stack.append(at)
        elif token.text in _CLOSES:
            depth = _depth_of(tokens, stack, _CLOSES[token.text])
            if depth is not None:
                begun[at] = stack[depth]
                _end(stack, ends, depth, at)
        elif token.text == ";":
            while stack and tokens[stack[-1]].text != "{" and code.text(stack[-1] - 1) != "for":
                ends[stack.pop()] = at
    _end(stack, ends, 0, len(tokens))
    return ends


def _end(stack: list[int], ends: dict[int, int], depth: int, at: int) -> None:
    while len(stack) > depth:
        ends[stack.pop()] = at


def _is_inside(code: Code, begun: dict[int, int], at: int) -> bool:
    # Whether a brace may stand in parentheses: `({`, `(struct x){` and `__array(values, struct x {`. Where it may
    # not, as in `if (x {`, a parenthesis is missing.
    before = code.text(at - 1)
    cast = begun.get(at - 1)
    words = (code.text(cast + 1),) if cast is not None else (before, code.text(at - 2))
    return before == "(" or any(word in ("struct", "union") for word in words)


def _depth_of(tokens: tuple[Token, ...], stack: list[int], wanted: str) -> int | None:
    # Where in the stack the bracket is that is closed now. A brace ends what is open inside of it; any other
    # bracket without its partner is a slip, and is passed over.
    for depth in range(len(stack) - 1, max(-1, len(stack) - _DEEPEST), -1):
        opened = tokens[stack[depth]].text
        if opened == wanted:
            return depth
        if opened == "{":
            return None
    return None
