"""What a cell declares: its programs and functions, variables, maps, structs, typedefs, enumerators and macros.

This is no compiler: it reads what is there, however unfinished, and leaves out what it does not understand.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import bcc_heads
from .c_words import AROUND, BUILTIN, HEADS, STATEMENTS, TAGS
from .declared import CType, Declared, Function, Map
from .lexer import Code, is_program, joined, tokens_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEFINE = re.compile(r"[ \t]*#[ \t]*define[ \t]+([A-Za-z_]\w*)(\([^)\n]*\))?")
_TYPE_BODY = re.compile(r"((?:struct|union)[ \t]+[A-Za-z_]\w*)[ \t]*(\**)[ \t]*(?:/[/*].*)?\Z", re.ASCII)
_DEEPEST = 12  # structs in structs
_SHORT = 12  # tokens of a declaration before its names


@dataclass
class Source:
    """What the text of a cell declares at file level; see :func:`read`."""

    text: str
    code: Code
    functions: list[Function] = field(default_factory=list)
    variables: dict[str, Declared] = field(default_factory=dict)
    maps: dict[str, Map] = field(default_factory=dict)
    structs: dict[str, tuple[Declared, ...]] = field(default_factory=dict)
    typedefs: dict[str, CType] = field(default_factory=dict)
    enumerators: dict[str, str] = field(default_factory=dict)
    macros: dict[str, str] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)  # where the text of a type or macro is
    bcc: bool = False  # whether this is BCC's C

    def function_at(self, offset: int) -> Function | None:
        """The function whose body an offset lies in."""
        at = self.code.index(offset)
        return next((f for f in self.functions if f.first < at <= f.last), None)

    @property
    def programs(self) -> list[Function]:
        """The functions that are programs."""
        return [f for f in self.functions if is_program(f.section or None)]

    def locals_before(self, function: Function, offset: int) -> dict[str, Declared]:
        """The parameters of a function, and what it declares before an offset; the last of a name counts."""
        found = {p.name: p for p in function.parameters if p.name}
        end = min(self.code.index(offset), function.last)
        found |= {d.name: d for d in _Reader(self).statements(function.first + 1, end)}
        return found


@functools.lru_cache(maxsize=4)  # help asks several times about the same cell; what a body declares is only added
def read(text: str) -> Source:
    """Read the C of a cell.

    Examples
    --------
    >>> read('struct e { int pid; }; SEC("xdp") int f(struct xdp_md *ctx) { struct e *p = 0; p->').functions[0].section
    'xdp'
    """
    tokens = tokens_of(text)
    source = Source(text, Code(tuple(t for t in tokens if t.kind not in ("comment", "directive"))))
    for token in tokens:
        if token.kind == "directive" and (found := _DEFINE.match(token.text)):
            source.macros[found[1]] = found[2] or ""
            source.places[found[1]] = (token.start, token.end)
            if not found[2] and (type_ := _TYPE_BODY.match(token.text[found.end() :].strip())):
                source.typedefs[found[1]] = CType(" ".join(type_[1].split()), len(type_[2]))
    _Reader(source).file()
    bcc_heads.finish(source)
    return source


class _Reader:
    # Walks over tokens by index; what it finds goes into the source.

    def __init__(self, source: Source) -> None:
        self.source = source
        self.code = source.code
        self.section = ""
        self.constant = False
        self.typedef = False
        self.declares = False  # the last one began with a type
        self.depth = 0

    def file(self) -> None:
        at, end = 0, len(self.code.tokens)
        while at < end:
            at = max(self._item(at, end), at + 1)

    def _item(self, at: int, end: int) -> int:
        # A declaration or a function; returns the token behind it.
        if behind := self._of_bcc(at, end):
            return behind
        found, after = self._declaration(at, end)
        for declared in found:
            if self.typedef:
                self.source.typedefs.setdefault(declared.name, declared.type)
                self.source.places.setdefault(declared.name, (self.code.tokens[at].start, self._offset(after)))
            elif declared.name not in self.source.maps:
                self.source.variables[declared.name] = declared
        return after

    def _of_bcc(self, at: int, end: int) -> int:
        # A program or a table that one of BCC's macros declares; 0 where none does.
        if not bcc_heads.begins(self.code, at):
            return 0
        arguments = bcc_heads.arguments(self.code, at + 1)
        closed = self.code.ends[at + 1]
        if self.code.text(at) in bcc_heads.TABLES:
            types = {i: type_name(self.source, begin, after) for i, (begin, after) in enumerate(arguments)}
            bcc_heads.add_table(self.source, at, arguments, types)
            return self._behind(closed, end) if self.code.text(closed) == ")" else closed
        body = closed + 1 if self.code.text(closed) == ")" else closed
        if self.code.text(body) != "{":
            return body
        last = self.code.ends[body]
        rest = tuple(self._parameters(arguments[1][0], closed)) if len(arguments) > 1 else ()
        bcc_heads.add_program(self.source, at, arguments, rest, (body, last))
        return last + 1 if self.code.text(last) == "}" else last

    def statements(self, at: int, end: int) -> Iterator[Declared]:
        # What the statements of a body declare, and the blocks inside of it that do not end before `end`.
        while at < end:
            if self.code.text(at) == "for" and self.code.text(at + 1) == "(":
                body = self.code.ends[at + 1] + 1
                if self._ends_before(body, end):
                    at = self.code.ends[body] + 1
                    continue
                at += 2
            found, after = self._declaration(at, end, local=True)
            if not self.typedef:
                yield from found
            at = max(after, at + 1) if self.declares else self._next_statement(at, end)

    def _next_statement(self, at: int, end: int) -> int:
        while at < end and self.code.text(at) not in (";", "{", "}"):
            if self.code.text(at) == "for":
                return at if self.code.text(at - 1) != "for" else at + 1
            at += 1
        return (self.code.ends[at] if self._ends_before(at, end) else at) + 1

    def _ends_before(self, at: int, end: int) -> bool:
        # Whether a block begins at this token and is closed before that one.
        closed = self.code.ends.get(at, end) if self.code.text(at) == "{" else end
        return closed < end and self.code.text(closed) == "}"

    def _declaration(self, at: int, end: int, *, local: bool = False) -> tuple[list[Declared], int]:
        # Declarations up to their semicolon, and the token behind it; none where something else stands.
        begin, found = at, list[Declared]()
        self.section, self.constant, self.typedef = "", False, False
        base, at = self._specifier(at, end)
        self.declares = base is not None
        if base is None:
            return [], at
        if self._begins_program(at):  # a semicolon is missing
            return [], at
        spelled = self._spelled(base, begin, at)
        while at < end:
            name, type_, after, start = self._declarator(base, at, end)
            if name is None:
                return found, self._behind(after, end)
            if self.code.text(after) == "(" and not local:
                return found, self._function(name, type_, begin, after, end)
            after = self._around(after, end)
            if local and self.code.text(after) not in ("=", ";", ",", ":"):
                return found, after
            self._map(base, name, begin, after)
            text = f"{spelled} {joined(self.code.tokens[at:after])}"
            found.append(Declared(name, type_, text, self.code.tokens[start].start, self.constant))
            while after < end and self.code.text(after) not in (",", ";") and not self._begins_program(after):
                after = self._over(after, end)
            if self.code.text(after) != ",":
                return found, after + (self.code.text(after) == ";")
            at = after + 1
        return found, at

    def _begins_program(self, at: int) -> bool:
        return is_program(self.code.section(at))

    def _spelled(self, base: str, begin: int, at: int) -> str:
        # What stands before the names of a declaration, on one line: without the body of a struct.
        short = self.code.tokens[begin : min(at, begin + _SHORT)]
        if any(token.text == "{" for token in short):
            return f"{self.code.text(begin)} {{...}}" if base.startswith("{") else base
        return joined(short)

    def _specifier(self, at: int, end: int) -> tuple[str | None, int]:
        # The base type that a declaration starts with, None where it does not start with one.
        at = self._around(at, end, program=True)
        word = self.code.text(at)
        if at >= end or self.code.kind(at) != "word" or word in STATEMENTS:
            return None, at
        if word in TAGS:
            return self._tagged(word, at, end)
        if word in BUILTIN:
            words = []
            while at < end and (self.code.text(at) in BUILTIN or self.code.text(at) in AROUND):
                words += [self.code.text(at)] * (self.code.text(at) in BUILTIN)
                self.constant |= self.code.text(at) == "const"
                at += 1
            return " ".join(words), at
        at = self._around(at + 1, end)
        # A word alone is a typedef's name if another follows.
        if self.code.text(at) == "*" or self.code.kind(at) == "word":
            return word, at
        return None, at

    def _tagged(self, keyword: str, at: int, end: int) -> tuple[str | None, int]:
        begin, at = at, self._around(at + 1, end)
        tag = ""
        if self.code.kind(at) == "word":
            tag, at = self.code.text(at), self._around(at + 1, end)
        base = f"{keyword} {tag}" if tag else self._nameless(begin)
        if keyword == "enum" and self.code.text(at) == ":":  # enum x : u8 {
            while at < end and self.code.text(at) not in ("{", ";"):
                at += 1
        if self.code.text(at) != "{":
            return (base, at) if tag else (None, at)
        last = min(self.code.ends[at], end)
        self.source.places.setdefault(base, (self.code.tokens[begin].start, self._offset(last + 1)))
        if keyword == "enum":
            self._enumerators(base, at, last)
        elif self.depth < _DEEPEST:
            self.source.structs[base] = self._members(at + 1, last)
        return base, self._around(last + 1, end)

    def _members(self, at: int, end: int) -> tuple[Declared, ...]:
        # Those of anonymous structs inside stand for these, as they do in C.
        inner, found = _Reader(self.source), list[Declared]()
        inner.depth = self.depth + 1
        while at < end:
            begin = at
            declared, at = inner._declaration(at, end)
            at = max(at, begin + 1)
            anonymous = self._nameless(begin)
            if declared:
                found += declared
            elif anonymous in self.source.structs:
                found += self.source.structs[anonymous]
        return tuple(found)

    def _nameless(self, at: int) -> str:
        # What a struct without a tag is called here.
        return f"{{{self.code.tokens[at].start}}}"

    def _enumerators(self, base: str, at: int, end: int) -> None:
        for i in range(at + 1, end):
            if self.code.kind(i) == "word" and self.code.text(i - 1) in ("{", ","):
                self.source.enumerators[self.code.text(i)] = base

    def _declarator(self, base: str, at: int, end: int) -> tuple[str | None, CType, int, int]:
        # Name (None: there is none), type, the token behind, and that of the name.
        levels = 0
        while at < end and (self.code.text(at) == "*" or self._around(at, end) > at):
            levels += self.code.text(at) == "*"
            at = at + 1 if self.code.text(at) == "*" else self._around(at, end)
        if self.code.text(at) == "(" and self.code.text(at + 1) == "*":  # a pointer to a function or an array
            inner = self.code.ends[at]
            after = self._over(inner + 1, end) if self.code.text(inner + 1) in ("(", "[") else inner + 1
            return (self.code.text(at + 2) if self.code.kind(at + 2) == "word" else None), CType(""), after, at + 2
        if at >= end or self.code.kind(at) != "word":
            return None, CType(base, levels), at, at
        name, start, at = self.code.text(at), at, at + 1
        while at < end and self.code.text(at) == "[":
            levels, at = levels + 1, self.code.ends[at] + 1
        return name, CType(base, levels), at, start

    def _function(self, name: str, returns: CType, begin: int, at: int, end: int) -> int:
        # From the parenthesis of its head; a declaration without a body counts only as something to pass over.
        closed = self.code.ends[at]
        if self.code.text(closed) != ")":
            return closed
        head, inner = (name, at + 1) if name in HEADS else ("", at + 1)
        start = self.code.tokens[at - 1].start
        if head and self.code.kind(inner) == "word":
            name, start = self.code.text(inner), self.code.tokens[inner].start
            inner += 2
        section = self.section
        body = self._around(closed + 1, end)
        if self.code.text(body) != "{":
            return self._behind(body, end)
        last = self.code.ends[body]
        text = joined(self.code.tokens[begin : closed + 1])
        parameters = tuple(self._parameters(inner, closed))
        made = Function(name, section, head, returns, parameters, text, start, body, last)
        self.source.functions.append(made)
        return last + 1 if self.code.text(last) == "}" else last

    def _parameters(self, at: int, end: int) -> Iterator[Declared]:
        while at < end:
            after = at
            while after < end and self.code.text(after) != ",":
                after = self._over(after, end)
            base, inner = self._specifier(at, after)
            if base is not None:
                name, type_, _, start = self._declarator(base, inner, after)
                text = joined(self.code.tokens[at:after])
                yield Declared(name or "", type_, text, self.code.tokens[min(start, after - 1)].start)
            at = after + 1

    def _map(self, base: str, name: str, begin: int, after: int) -> None:
        if self.section != ".maps" or base not in self.source.structs:
            return
        opened = next((i for i in range(begin, after) if self.code.text(i) == "{"), after)
        settings, types = dict[str, str](), dict[str, CType]()
        for i in range(opened, after - 3):
            if self.code.text(i) in ("__uint", "__type", "__array", "__ulong") and self.code.text(i + 1) == "(":
                last = self.code.ends[i + 1]
                key = self.code.text(i + 2)
                settings[key] = joined(self.code.tokens[i + 4 : last])
                if self.code.text(i) == "__type":
                    types[key] = type_name(self.source, i + 4, last)
        start, stop = self.code.tokens[begin].start, self.code.tokens[after - 1].end
        self.source.maps[name] = Map(name, settings, types, start, stop)

    def _around(self, at: int, end: int, *, program: bool = False) -> int:
        # Over what may stand around a declaration: qualifiers, attributes, SEC("..."); that of a program only in
        # front, since elsewhere a semicolon is missing.
        while at < end:
            word = self.code.text(at)
            section = self.code.section(at)
            if section is not None and is_program(section) and not program:
                break
            if section is not None:
                self.section, at = section, min(self.code.ends[at + 1] + (self.code.text(at + 3) == ")"), end)
            elif word in ("__attribute__", "_Alignas", "typeof") and (self.code.text(at + 1) == "("):
                at = self.code.ends[at + 1] + 1
            elif word in AROUND or word == "typedef":
                self.typedef |= word == "typedef"
                self.constant |= word == "const"
                at += 1
            else:
                break
        return at

    def _over(self, at: int, end: int) -> int:
        # The next token, behind a bracket's end if one opens here.
        return min(self.code.ends.get(at, at) + 1, end)

    def _behind(self, at: int, end: int) -> int:
        while at < end and self.code.text(at) not in (";", "}", "{"):
            at = self._over(at, end)
        return at + 1

    def _offset(self, at: int) -> int:
        return self.code.tokens[at].start if at < len(self.code.tokens) else len(self.source.text)


def type_name(source: Source, at: int, end: int) -> CType:
    """Read a type without a name, such as that of a cast, from these tokens."""
    reader = _Reader(source)
    base, after = reader._specifier(at, end)
    if base is None:
        # One word alone.
        word = source.code.text(at)
        return CType(word if source.code.kind(at) == "word" and after >= end else "")
    stars = sum(source.code.text(i) in ("*", "[") for i in range(after, end))
    return CType(base, stars)
