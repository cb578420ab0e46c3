# What a function of a rewritten program takes: the type that its first argument points to, behind macros and typedefs.

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from .. import cflags
from .. import compile as compiler
from ..cell import Cell
from . import ctext

_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+([^\n]+)", re.MULTILINE)
_TYPEDEF = re.compile(r"\btypedef\s+((?:struct\s+)?\w+)\s+(\w+)\s*;")
_WORD = re.compile(r"\b[A-Za-z_]\w*")
_POINTED = re.compile(r"\s*(?:(?:const|volatile|__user)\s+)*((?:struct\s+)?\w+(?:\s+(?!\*)\w+)*)\s*\*")
_TAG = r"\bstruct\s+{tag}\s*\{{"
_DEEPEST, _LONGEST = 8, 1000  # names, each for the next, and characters


@dataclass(frozen=True)
class Signature:
    # The type, "void" for a function that takes no pointer; the text of the function with strings and comments blank;
    # and whether the program, or a header of its own, defines the type.
    context: str
    body: str
    own: bool


class Signatures:
    # Those of the functions of one program.
    def __init__(self, cell: Cell, rewritten: str) -> None:
        self._cell = cell
        self._bare = ctext.plain(rewritten)
        self._text = rewritten

    def of(self, function: str) -> Signature:
        start = max(self._text.find(f'section(".bpf.fn.{function}")'), 0)
        opening, end = ctext.body(self._bare, start)
        found = re.search(rf"\b{function}\s*\(([^,()]*)", self._bare[start:opening])
        pointed = _POINTED.match(self._resolved(found[1])) if found else None
        context = " ".join(pointed[1].split()) if pointed else "void"
        return Signature(context, self._bare[start:end], self._is_own(context))

    def _resolved(self, parameter: str) -> str:
        for _ in range(_DEEPEST):
            replaced = _WORD.sub(lambda match: self._names.get(match[0], match[0]), parameter)
            if replaced == parameter or len(replaced) > _LONGEST:
                break
            parameter = replaced
        return parameter

    @cached_property
    def _sources(self) -> list[str]:
        headers = (ctext.plain(text) for text in compiler.local_headers(self._cell))
        return [cflags.defines(self._cell.cflags), *headers, ctext.plain(self._cell.code)]

    @cached_property
    def _names(self) -> dict[str, str]:
        names = {match[1]: match[2].strip() for text in self._sources for match in _DEFINE.finditer(text)}
        typedefs = {match[2]: match[1] for text in self._sources for match in _TYPEDEF.finditer(text)}
        # `typedef struct event event;` stands for itself.
        return {**names, **{name: of for name, of in typedefs.items() if name not in of.split()}}

    def _is_own(self, context: str) -> bool:
        tag = re.compile(_TAG.format(tag=re.escape(context.removeprefix("struct "))))
        return context in self._cell.typedef_names or any(tag.search(text) for text in self._sources)
