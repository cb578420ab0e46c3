# Maps that other maps hold, and the numbers that BCC gives to the tables of a program that has some.
#
# BCC numbers tables as the program declares them, makes the maps in that order, and tells descriptors. But it makes
# the maps that others hold before all others. So what number such a table has is asked of BCC itself: by a function
# behind the program that uses it and nothing else.

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..cell import Cell
from ..errors import CellError
from . import ctext

if TYPE_CHECKING:
    from .rewriter import Table

HOLDERS = (12, 13)  # BPF_MAP_TYPE_ARRAY_OF_MAPS and BPF_MAP_TYPE_HASH_OF_MAPS, include/uapi/linux/bpf.h
_INNER = re.compile(
    r'\bBPF_(?:ARRAY|HASH)_OF_MAPS\s*\(\s*(?P<holder>\w+)\s*,[^;]*?"(?P<held>\w+)"'
    r'|\bBPF_(?:F_)?TABLE\w*\s*\(\s*"(?:array|hash)_of_maps\$(?P<within>\w+)"\s*,[^;,]*,[^;,]*,\s*(?P<table>\w+)'
)
_ASKING = "static inline void *ebpflab_number_of_"
_ASKED = re.compile(rf"(?:\n__attribute__[^\n]*)?\n{re.escape(_ASKING)}")
_ANSWER = re.compile(rf"{re.escape(_ASKING)}(\w+)\(void\)[^}}]*?bpf_pseudo_fd\(1, -(\d+)\)")


def names(tables: Sequence[Table], text: str) -> Mapping[str, str]:
    """Return the map that each map of maps holds.

    Parameters
    ----------
    tables
        The tables, as BCC describes them.
    text
        The program, without comments.

    Raises
    ------
    CellError
        The declaration of a map of maps does not name the map.

    Examples
    --------
    >>> names([], "")
    {}
    """
    declared = _declared(text)
    unknown = next((table for table in tables if table.type in HOLDERS and table.name not in declared), None)
    if unknown is not None:
        raise CellError(
            f"{unknown.name} is a map of maps, and its declaration does not name the map that it holds",
            hint=f'write BPF_ARRAY_OF_MAPS({unknown.name}, "NAME", {unknown.max_entries}) with the name of a map',
        )
    return {table.name: declared[table.name] for table in tables if table.type in HOLDERS}


def _declared(text: str) -> dict[str, str]:
    found = _INNER.finditer(text)
    return {match["holder"] or match["table"]: match["held"] or match["within"] for match in found}


def asking(program: str) -> str:
    """Return a program with a question behind it for each map that another holds; as it is, if none does.

    Examples
    --------
    >>> asking("int f(void *c) { return 0; }")
    'int f(void *c) { return 0; }'
    """
    if "_OF_MAPS" not in program.upper():
        return program
    code = Cell(program).code
    words = set(re.findall(r"\w+", ctext.plain(code)))
    held = sorted(set(_declared(code).values()) & words)
    return "".join([program, *(f"\n{_ASKING}{name}(void) {{ return {name}.lookup((void *)0); }}" for name in held)])


def numbered(tables: Sequence[Table], rewritten: str, program: str) -> tuple[str, tuple[Table, ...]]:
    """Return what BCC made of a program without the questions, and its tables in the order of their numbers.

    Parameters
    ----------
    tables
        The tables in the order in which BCC made the maps.
    rewritten
        What it made of the program, with or without questions.
    program
        The program.

    Raises
    ------
    CellError
        The program has a map of maps, and nothing tells the number of the map in it.
    """
    if not any(table.type in HOLDERS for table in tables):
        return _without_questions(rewritten), tuple(tables)
    numbers = {match[1]: int(match[2]) for match in _ANSWER.finditer(rewritten)}
    missing = sorted(set(names(tables, Cell(program).code).values()) - numbers.keys())
    if missing:
        hint = "declare it, and the map of maps, outside of macros and conditions"
        raise CellError(f"which number BCC gave to {missing[0]}, which a map of maps holds, cannot be told", hint=hint)
    ordered = [table for table in tables if table.name not in numbers]
    for table in sorted((table for table in tables if table.name in numbers), key=lambda table: numbers[table.name]):
        ordered.insert(numbers[table.name] - 1, table)
    return _without_questions(rewritten), tuple(ordered)


def _without_questions(rewritten: str) -> str:
    found = _ASKED.search(rewritten)
    return rewritten[: found.start()] if found else rewritten
