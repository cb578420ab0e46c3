"""What stands at the cursor of a cell: read from its text alone, without the kernel and without a compiler."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from .c_words import TAGS
from .declared import Function
from .lexer import is_program, tokens_of
from .source import Source, read

if TYPE_CHECKING:
    from .declared import Declared
    from .lexer import Token

_CELL = re.compile(r"\s*%%bpf(?=[ \t\r\n]|\Z)([^\n]*)(?:\n|\Z)")
_LINE = re.compile(r"(?:^|[\n=])[ \t]*%bpf[ \t]([^\n]*)\Z")
_WORD = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)
_INCLUDE = re.compile(r"[ \t]*#[ \t]*include[ \t]*[<\"]([^>\"\n]*)\Z")
_DIRECTIVE = re.compile(r"[ \t]*#[ \t]*(\w*)\Z")
_FAR = 400  # tokens that a call or an expression may reach back


class Call(NamedTuple):
    """A call that the cursor is in: the token of its name, those where its arguments begin, and which one it is."""

    name: str
    at: int
    arguments: tuple[int, ...]

    @property
    def number(self) -> int:
        """The number of the argument at the cursor, from 0."""
        return len(self.arguments) - 1


@dataclass(frozen=True)
class Place:
    """What stands at the cursor.

    Attributes
    ----------
    kind
        "line" (after ``%%bpf``), "command" (after ``%bpf``), "section" (in ``SEC("``), "member" (after ``->`` or
        ``.``, also that of ``{ .member =``), "tag" (after ``struct``), "map" (after ``&``), "word", "include",
        "directive", or "nothing": a comment, a string, a number.
    fragment
        What of the word has been written: this is replaced. In a section or a line it is all up to the cursor.
    offset
        Where the cursor is in the C text; for a line, in what follows the magic's name.
    source
        What the cell declares.
    keyword
        Of a tag: ``struct``, ``union`` or ``enum``.
    """

    kind: str
    fragment: str = ""
    offset: int = 0
    source: Source | None = None
    keyword: str = ""

    @property
    def at(self) -> int:
        """The token that the cursor's fragment is, or would be."""
        assert self.source is not None
        return self.source.code.index(self.offset - len(self.fragment))

    @cached_property
    def function(self) -> Function | None:
        """The function that the cursor is in."""
        return self.source.function_at(self.offset) if self.source else None

    @cached_property
    def section(self) -> str:
        """The section of the program that the cursor is in, or whose head it is in; "" elsewhere."""
        if self.function:
            return self.function.section
        return _pending_section(self.source, self.at) if self.source else ""

    @cached_property
    def variables(self) -> dict[str, Declared]:
        """What can be named here: the file's variables, the function's parameters, what it has declared so far."""
        if self.source is None:
            return {}
        local = self.source.locals_before(self.function, self.offset) if self.function else {}
        return {**self.source.variables, **local}

    @cached_property
    def call(self) -> Call | None:
        """The innermost call that the cursor is in."""
        return _call(self.source, self.at) if self.source else None


def is_cell(text: str) -> bool:
    """Tell whether a notebook's cell is one of ``%%bpf``.

    Examples
    --------
    >>> is_cell("%%bpf opens"), is_cell("%%bpftrace x")
    (True, False)
    """
    return _CELL.match(text) is not None


def place_at(text: str, offset: int) -> Place | None:
    r"""Tell what stands at an offset of a notebook's cell; None where it is none of ebpflab's.

    Parameters
    ----------
    text
        The whole cell, its line ``%%bpf`` included.
    offset
        The cursor, in characters from the cell's start.

    Examples
    --------
    >>> place_at("%%bpf\nint x = ctx->fi", 19).kind
    'member'
    """
    offset = min(max(offset, 0), len(text))
    cell = _CELL.match(text)
    if cell is None:
        line = _LINE.search(text[text.rfind("\n", 0, offset) + 1 : offset])
        return Place("command", line[1], len(line[1])) if line else None
    if offset < cell.start(1):
        return None
    body = cell.end()
    if offset < body or "\n" not in cell[0]:
        said = text[cell.start(1) : offset]
        return Place("line", said, len(said), read(text[body:])) if said[:1] in (" ", "\t") else None
    return _in_code(text[body:], offset - body)


def _in_code(text: str, offset: int) -> Place:
    tokens = tokens_of(text)
    low, high = 0, len(tokens)
    while low < high:  # the last token that starts before the cursor
        middle = (low + high) // 2
        low, high = (middle + 1, high) if tokens[middle].start < offset else (low, middle)
    token = tokens[low - 1] if low else None
    if token is None or token.end < offset:
        return _after(text, offset, "")
    written = text[token.start : offset]
    if token.kind == "string":
        return _in_string(text, offset, tokens, low - 1)
    if token.kind == "directive":
        return _in_directive(text, offset, written)
    if token.kind == "comment":
        closed = token.text.startswith("/*") and token.text.endswith("*/") and len(token.text) > 3
        return _after(text, offset, "") if closed and token.end == offset else Place("nothing")
    if token.kind in ("number", "char"):
        return Place("nothing")
    return _after(text, offset, written if token.kind == "word" else "")


def _in_string(text: str, offset: int, tokens: tuple[Token, ...], at: int) -> Place:
    token = tokens[at]
    written = text[token.start + 1 : offset]
    if offset == token.end and len(token.text) > 1 and token.text.endswith('"'):
        return _after(text, offset, "")
    before = [t.text for t in tokens[max(at - 2, 0) : at]]
    if before != ["SEC", "("]:
        return Place("nothing")
    return Place("section", written, offset, read(text))


def _in_directive(text: str, offset: int, written: str) -> Place:
    if found := _INCLUDE.match(written):
        return Place("include", found[1], offset)
    if found := _DIRECTIVE.match(written):
        return Place("directive", found[1], offset)
    found = _WORD.search(written)
    return Place("word", found[0] if found else "", offset, read(text))


def _after(text: str, offset: int, fragment: str) -> Place:
    # A word, or where one could begin: what it is about depends on what stands before.
    source = read(text)
    at = source.code.index(offset - len(fragment))
    before = source.code.text(at - 1)
    if before in ("->", ".") and at:
        follows = source.code.kind(at - 2) in ("word", "mark") and source.code.text(at - 2) != "("
        return Place("member" if follows else "nothing", fragment, offset, source)
    if before in TAGS:
        return Place("tag", fragment, offset, source, before)
    if before == "&" and (source.code.kind(at - 2) == "mark" and source.code.text(at - 2) not in (")", "]", "&")):
        return Place("map", fragment, offset, source)
    return Place("word", fragment, offset, source)


def _call(source: Source, at: int) -> Call | None:
    code, begins, depth = source.code, source.code.begins, at - 1
    commas = list[int]()
    while depth >= max(0, at - _FAR):
        word = code.text(depth)
        if word in (")", "]", "}") and depth in begins:
            depth = begins[depth]
        elif word == ",":
            commas.append(depth + 1)
        elif word == "(" and code.kind(depth - 1) == "word":
            return Call(code.text(depth - 1), depth - 1, (depth + 1, *reversed(commas)))
        elif word in (";", "{", "}") or word == "(":
            return None
        depth -= 1
    return None


def _pending_section(source: Source, at: int) -> str:
    # A program whose head is being written: its SEC stands before, with no brace and no semicolon in between.
    code = source.code
    for i in range(at - 1, max(-1, at - _FAR), -1):
        if code.text(i) in (";", "{", "}"):
            return ""
        section = code.section(i)
        if section is not None and i + 3 < at:
            return section if is_program(section) else ""
    return ""
