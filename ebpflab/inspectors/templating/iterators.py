"""Cells for iterators: a row for each object, with members that the kernel's types have."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...btf import Btf, Kind
from ..layout import Field, fields, vmlinux
from .parts import Column, Made, Program, row_cell
from .typed import KNOWN, behind, members

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...btf import Type
    from ...program_types import Section

_MOST = 8  # members of a struct of which nothing else is known
# Iterators over the elements of a map, which has to be one of the cell's: its type, entries, flags.
_MAPS = {
    "bpf_map_elem": ("BPF_MAP_TYPE_HASH", 1024, ""),
    "bpf_sk_storage_map": ("BPF_MAP_TYPE_SK_STORAGE", 0, "BPF_F_NO_PREALLOC"),
    "sockmap": ("BPF_MAP_TYPE_SOCKMAP", 64, ""),
}
_MAP = """\
struct {{
	__uint(type, {type});
{more}	__type(key, {key});
	__type(value, u64);
}} visited SEC(".maps");"""


def of_iterator(section: Section, name: str) -> Made:
    """Return the cell for an iterator."""
    btf, target = vmlinux(), section.target
    context = btf.find(f"bpf_iter__{target}", Kind.STRUCT)
    assert context is not None  # or the search would not have found it
    found = [field for field in fields(btf, context) if field.name != "meta"]
    if target in _MAPS:
        found = [field for field in found if field.name != "map"]
    declare: list[str] = []
    columns: list[Column] = []
    for field in found:
        columns += _columns(btf, field, alone=len(found) == 1)
        if field.c_type.endswith("*"):
            declare.append(f"{field.c_type}{field.name} = ctx->{field.name};")
    pointers = [field.name for field in found if field.c_type.endswith("*")]
    skip = " || ".join(f"!{name}" for name in pointers)
    says = f"A row for each object that the iterator {target} visits, written when it is read."
    head = f"int on_{target}(struct bpf_iter__{target} *ctx)"
    before, targets = _map(target)
    program = Program(says, f"{section.prefix}/{target}", head, tuple(columns), before=before)
    made = row_cell(program, name, declare, skip)
    if not targets:
        return made
    note = "it visits the map of this cell, which is empty until something fills it"
    return replace(made, notes=(*made.notes, note), targets={f"on_{target}": targets})


def _map(target: str) -> tuple[str, str]:
    if target not in _MAPS:
        return "", ""
    kind, entries, flags = _MAPS[target]
    more = f"\t__uint(max_entries, {entries});\n" if entries else ""
    more += f"\t__uint(map_flags, {flags});\n" if flags else ""
    key = "int" if "STORAGE" in kind else "u32"
    return _MAP.format(type=kind, more=more, key=key), f"{target},map=visited"


def _columns(btf: Btf, field: Field, *, alone: bool) -> Iterator[Column]:
    spelled = field.c_type.removesuffix("*").strip()
    if not field.c_type.endswith("*"):
        yield Column(field.name, f"{field.c_type} @", f"@ = ctx->{field.name};")
    elif spelled == "void":  # the bytes of a map's key or value
        size = "u32" if field.name == "key" else "u64"
        yield Column(field.name, f"{size} @", f"@ = *({size} *){field.name};")
    else:
        struct = btf.find(spelled.removeprefix("struct "), Kind.STRUCT)
        if struct is not None:
            yield from _of_struct(btf, struct, field.name, "" if alone else f"{field.name}_")


def _of_struct(btf: Btf, struct: Type, pointer: str, prefix: str) -> Iterator[Column]:
    if struct.name == "task_struct":
        yield from _task(btf, struct, pointer, prefix)
    elif struct.name in KNOWN:
        yield from behind(btf, struct, pointer, prefix if struct.name not in ("sock_common", "udp_sock") else "")
    else:
        yield from members(btf, struct, pointer, _MOST)
        yield Column(f"{prefix}address", "u64 @", f"@ = (u64){pointer};", f"struct {struct.name} *")


def _task(btf: Btf, struct: Type, pointer: str, prefix: str) -> Iterator[Column]:
    for column in behind(btf, struct, pointer, prefix):
        yield column
        if column.name == f"{prefix}pid":
            tgid = column.fill.replace(", pid)", ", tgid)")
            yield Column(f"{prefix}tgid", column.declaration, tgid)
