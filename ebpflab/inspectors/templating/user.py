"""Cells for functions and static probes of programs and libraries."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ...program_types import usdt_target
from .. import binaries
from ..kernel import elf_notes
from .formats import integer
from .parts import Column, Program, handler
from .tracing import numbered

if TYPE_CHECKING:
    from pathlib import Path

    from ...program_types import Section

_GUESSED = 3  # arguments of a function whose types nothing tells
_STAPSDT = 3  # NT_STAPSDT
# -4@%eax: size, negative if signed, before where it is. An "f" marks a floating point number, which libbpf cannot read.
_OPERAND = re.compile(r"(-?)([1248])(f?)@")


class Operand(NamedTuple):
    """An argument of a static probe: its size in bytes and its sign; ``floating`` ones cannot be read."""

    size: int
    signed: bool
    floating: bool


def of_uprobe(section: Section) -> Program:
    """Return the program for a uprobe or uretprobe: arguments by number, or what came back."""
    binary, _, function = section.target.partition(":")
    called = handler(function)
    place, left_out = _place(binary, function)
    spelled = f"{section.prefix}/{binary}:{place}"
    if section.kind == "uretprobe":
        says = f"A row for each return of {function}() in {binary}, in any process."
        result = (Column("ret", "s64 @", "@ = ret;"),)
        return Program(says, spelled, f"int BPF_KRETPROBE({called}, long ret)", result, left_out)
    if "+" in function or function[:1].isdigit():
        says = f"A row each time that a process is at {function} in {binary}."
        where = (Column("ip", "usym_t @", "@ = PT_REGS_IP(ctx);"),)
        return Program(says, spelled, f"int {called}(struct pt_regs *ctx)", where)
    says = (
        f"A row for each call of {function}() in {binary}, in any process. Nothing here tells how many arguments it "
        f"has: give them their names and types, and read text with bpf_probe_read_user_str()."
    )
    known = numbered(_GUESSED)
    heads = ", ".join([called, *(argument.declaration for argument in known)])
    columns = tuple(column for argument in known for column in argument.columns)
    return Program(says, spelled, f"int BPF_KPROBE({heads})", columns, left_out)


def of_usdt(section: Section) -> Program:
    """Return the program for a static probe, with a column for each argument that its note describes."""
    binary, provider, probe = usdt_target(section.target)
    path = binaries.resolve_binary(binary)
    if path is None:
        raise binaries.no_binary(binary)
    columns, heads, left_out = [], [handler(probe)], []
    for number, operand in enumerate(operands(path, provider, probe), 1):
        name, kind = f"arg{number}", integer(operand.size, operand.signed)
        heads.append(f"{kind} {name}")
        if operand.floating:
            left_out.append(f"{name}: a floating point number")
        else:
            columns.append(Column(name, f"{kind} @", f"@ = {name};"))
    says = f"A row for each time that a process passes the static probe {provider}:{probe} of {binary}."
    head = f"int BPF_USDT({', '.join(heads)})"
    spelled = f"{section.prefix}/{section.target}"
    return Program(says, spelled, head, tuple(columns), tuple(left_out), "#include <bpf/usdt.bpf.h>")


def _place(binary: str, function: str) -> tuple[str, tuple[str, ...]]:
    # A library may have several versions of a function, also ones that are the same code. libbpf before 1.4 takes
    # none of them by name.
    path = binaries.resolve_binary(binary)
    if path is None or not _is_versioned(path, function):
        return function, ()
    first, *others = sorted(binaries.function_offsets(path, {function}))
    listed = (f"other versions of {function}, at {', '.join(map(hex, others))}",) if others else ()
    return hex(first), listed


def _is_versioned(path: Path, function: str) -> bool:
    with binaries._elf(path) as elf:
        tables = filter(None, map(elf.get_section_by_name, (".dynsym", ".symtab")))
        return any(sum(name == function for name, _ in binaries._functions(elf, table)) > 1 for table in tables)


def operands(path: Path, provider: str, probe: str) -> tuple[Operand, ...]:
    """Return the arguments of a static probe, from the first of its notes in a binary.

    A note has three addresses, then provider, probe and arguments as text, each with a zero byte
    (https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation).

    Examples
    --------
    >>> operands(Path("/usr/lib/x86_64-linux-gnu/libstdc++.so.6"), "libstdcxx", "throw")[0].size
    8
    """
    with binaries._elf(path) as elf:
        section = elf.get_section_by_name(".note.stapsdt")
        order, address = "<" if elf.little_endian else ">", elf.elfclass // 8
        for kind, name, data in elf_notes(binaries._bytes(elf, section), order) if section else ():
            words = data[3 * address :].split(b"\0")
            if kind == _STAPSDT and name == b"stapsdt" and words[:2] == [provider.encode(), probe.encode()]:
                found = _OPERAND.findall(words[2].decode(errors="replace"))
                return tuple(Operand(int(size), bool(sign), bool(floating)) for sign, size, floating in found)
    return ()
