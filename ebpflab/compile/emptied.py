# Functions of which clang leaves nothing.
#
# What uses a variable that was never set, or follows a NULL pointer, may do anything by the rules of C; clang then
# takes the rest of the function for code that is never reached, and drops it. What it writes is an object without the
# program, or with one of no instructions, about which libbpf says something else.

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence

from ..cell import Cell
from ..errors import CompileError, Diagnostic, Location

# include/uapi/linux/elf.h: Elf64_Ehdr from e_shoff on, Elf64_Shdr, Elf64_Sym.
_HEADER, _HEADER_AT = "QIHHHHHH", 40
_SECTION, _SYMBOL = "IIQQQQIIQQ", "IBBHQQ"
_SHT_SYMTAB, _STT_FUNC = 2, 2
_UNSET = re.compile(r"variable '(\w+)' is (?:used )?uninitialized")


def functions(data: bytes) -> tuple[str, ...]:
    # The functions of an object that have no instructions, in order.
    order = "<" if data[5:6] == b"\1" else ">"
    start, *_, count, _ = struct.unpack_from(order + _HEADER, data, _HEADER_AT)
    sections = [struct.unpack_from(order + _SECTION, data, start + 64 * number) for number in range(count)]
    return tuple(
        name
        for _, kind, _, _, at, size, link, *_ in sections
        if kind == _SHT_SYMTAB
        for name in _empty(order, data, data[at : at + size], sections[link][4])
    )


def _empty(order: str, data: bytes, symbols: bytes, names: int) -> Iterator[str]:
    for name, info, _, section, _, size in struct.iter_unpack(order + _SYMBOL, symbols):
        if info & 15 == _STT_FUNC and section and not size:
            yield data[names + name : data.index(b"\0", names + name)].decode("utf-8", "replace")


def refused(name: str, said: Sequence[Diagnostic], cell: Cell) -> CompileError:
    # The error for a function that is empty. `said` are clang's warnings, with those of variables that are not set.
    first, last = _lines(name, cell)
    for warning in said:
        unset, where = _UNSET.search(warning.message), warning.where
        if unset and where and where.file == "cell" and first <= where.line <= last:
            return CompileError(
                f"clang left nothing of {name}: it uses {unset[1]}, which was never set",
                where=where,
                hint=_hint(unset[1], cell, first, where),
                diagnostics=said,
            )
    return CompileError(
        f"clang left nothing of {name}: whatever it does, it comes to something that C does not define",
        where=cell.location(first) if first else None,
        hint="look for a pointer that is NULL or was never set, and for a loop without an end",
        diagnostics=said,
    )


def _hint(variable: str, cell: Cell, first: int, where: Location) -> str:
    lines = "\n".join(cell.code.split("\n")[first - 1 : where.line])
    pointer = re.search(rf"\b((?:struct\s+)?\w+)\s*\*\s*{variable}\b", lines)
    if pointer:
        kind = " ".join(pointer[1].split())
        member = re.search(rf"\b{variable}\s*->\s*(\w+)", where.text)
        use = f"{variable}.{member[1]} for {variable}->{member[1]} and " if member else ""
        return f"{variable} points nowhere: declare {kind} {variable} = {{}}; and write {use}&{variable} for {variable}"
    return f"give {variable} a value where it is declared"


def _lines(name: str, cell: Cell) -> tuple[int, int]:
    # The first and the last line of a function; BCC's name of a program is put together from what a macro is given.
    lines = cell.code.split("\n")
    parts = [r"\b" + r"\s*,\s*".join(name.split("__")[1:]) + r"\b"] if "__" in name else []
    for pattern in (rf"\b{re.escape(name)}\b", *parts):
        first = next((n for n, text in enumerate(lines, 1) if re.search(pattern, text)), 0)
        if first:
            end = (n for n, text in enumerate(lines[first - 1 :], first) if text.startswith("}"))
            return first, next(end, len(lines))
    return 0, len(lines)
