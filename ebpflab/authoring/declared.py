"""What a cell declares, as values: types, variables, functions, maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class CType(NamedTuple):
    """A C type as far as members go.

    ``base`` is what C says ("struct event", "u32"), ``{71}`` for the struct without a tag that begins at that offset,
    ``#12`` for a type of the kernel's BTF by its number, "" where nothing is known; ``levels`` counts the pointers and
    arrays around it.
    """

    base: str
    levels: int = 0

    def point(self, by: int = 1) -> CType:
        """The type with so many more pointers around it, or fewer."""
        return CType(self.base, max(self.levels + by, 0))


class Declared(NamedTuple):
    """A variable, a parameter or a member: its name and type, and its declaration as it is written."""

    name: str
    type: CType
    text: str = ""
    start: int = 0
    constant: bool = False  # const volatile: what --var sets


@dataclass(frozen=True)
class Function:
    """A function of the cell; ``section`` is "" unless it is a program, ``head`` one of libbpf's macros or "".

    ``first`` and ``last`` are the tokens of its body's braces, and ``start`` is the offset of its name.
    """

    name: str
    section: str
    head: str
    returns: CType
    parameters: tuple[Declared, ...]
    text: str
    start: int
    first: int
    last: int


@dataclass(frozen=True)
class Map:
    """A map that the cell defines: what its ``__uint`` and ``__type`` say, by name."""

    name: str
    settings: dict[str, str]
    types: dict[str, CType]
    start: int
    end: int
