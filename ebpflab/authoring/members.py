"""The members of a type: of a struct of the cell, of the kernel's BTF, or of a tracepoint's record."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, NamedTuple

from ..btf import Kind
from ..errors import DecodeError, HookNotFoundError
from ..inspectors import tracefs
from ..inspectors.layout import vmlinux
from .declared import CType
from .source import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..btf import Btf, Member
    from .source import Source

_DYNAMIC = re.compile(r"^__(data_loc_)")
_ROUNDS = 40  # typedefs of typedefs
_COUNTED = (Kind.PTR, Kind.ARRAY)
_STRUCTS = (Kind.STRUCT, Kind.UNION)
_KINDS = {"struct": (Kind.STRUCT,), "union": (Kind.UNION,)}


class Field(NamedTuple):
    """A member: its type for going on, as C spells it, and where it is: bytes, None where that is not known.

    ``bits`` is the width of a bitfield and 0 for anything else.
    """

    name: str
    type: CType
    c_type: str
    offset: int | None = None
    size: int | None = None
    bits: int = 0


def members(source: Source, owner: CType) -> tuple[Field, ...]:
    """Return the members of a struct or union, pointers to it included; () where it is neither, or unknown.

    Those of anonymous structs inside stand for these, as they do in C.

    Examples
    --------
    >>> [f.name for f in members(read(""), CType("struct list_head", 1))]
    ['next', 'prev']
    """
    base = _core(source, owner.base)
    if base in source.structs:
        return tuple(Field(d.name, d.type, d.text) for d in source.structs[base])
    if base.startswith("struct tracepoint__"):
        found = _of_tracepoint(base.removeprefix("struct "))
        # BCC writes the struct itself, and leaves the underscores out.
        return tuple(f._replace(name=_DYNAMIC.sub(r"\1", f.name)) for f in found) if source.bcc else found
    number = type_number(base)
    return _of_btf(number) if number is not None else ()


def find(source: Source, owner: CType, name: str) -> Field | None:
    """Return the member of that name, or None."""
    return next((field for field in members(source, owner) if field.name == name), None)


def of_number(type_id: int) -> CType:
    """Return the type that has this number in the kernel's BTF.

    Raises
    ------
    KernelSupportError, PrivilegeError
        The kernel carries no BTF, or it cannot be read.
    """
    btf, levels = vmlinux(), 0
    found = btf.strip(type_id)
    while found.kind in _COUNTED and levels < _ROUNDS:
        levels, found = levels + 1, btf.strip(found.type_id)
    return CType(f"#{found.id}", levels)


def type_number(base: str) -> int | None:
    """Return the number of a type in the kernel's BTF by how C calls it, or None; typedefs are followed."""
    if base.startswith("#"):
        return int(base[1:])
    if not base or base.startswith(("{", "enum ")):
        return None
    keyword, _, tag = base.partition(" ")
    btf = vmlinux()
    if not tag:
        found = btf.find(keyword, Kind.TYPEDEF)
        return btf.strip(found.id).id if found else None
    kinds = _KINDS.get(keyword, ())
    # What follows three underscores is a flavour, which CO-RE ignores.
    found = (btf.find(tag, *kinds) or btf.find(tag.partition("___")[0], *kinds)) if kinds else None
    return found.id if found else None


def function(name: str) -> str | None:
    """Return the declaration of a function of the kernel, or None if its BTF has none of that name.

    Examples
    --------
    >>> function("bpf_task_release")
    'void bpf_task_release(struct task_struct *p)'
    """
    btf = vmlinux()
    found = btf.find(name, Kind.FUNC)
    if found is None:
        return None
    proto = btf[found.type_id]
    listed = (btf.c_type(p.type_id, p.name) if p.type_id else "..." for p in proto.params)
    return btf.c_type(proto.type_id, f"{name}({', '.join(listed) or 'void'})")


def enumerator(enum: str, name: str) -> int | None:
    """Return the number of an enumerator of the kernel, of this enum or of one without a name; None if it is none."""
    btf, kinds = vmlinux(), (Kind.ENUM, Kind.ENUM64)
    found = btf.find(enum, *kinds) if enum else None
    among = (found,) if found else (t for t in btf.of_kind(*kinds) if not t.name)
    return next((v.value for t in among for v in t.values if v.name == name), None)


def tracepoint(tag: str) -> tracefs.Format | None:
    """Return the format of the tracepoint whose struct has this tag, or None if there is none."""
    try:
        return tracefs.struct_for(tag)
    except HookNotFoundError:
        return None


def is_typedef(source: Source, name: str) -> bool:
    """Tell whether a word is the name of a type, in the cell or in the kernel."""
    return name in source.typedefs or vmlinux().find(name, Kind.TYPEDEF) is not None


def _core(source: Source, base: str) -> str:
    for _ in range(_ROUNDS):
        if base not in source.typedefs:
            break
        base = source.typedefs[base].base
    return base


def _of_tracepoint(tag: str) -> tuple[Field, ...]:
    # The text of the C struct is read, since its names differ a little from those of the format file.
    form = tracepoint(tag)
    if form is None:
        return ()
    places = {f.name: f for f in form.members}
    found = read(form.c(tag)).structs.get(f"struct {tag}", ())
    fields = []
    for declared in found:
        plain = declared.name.removeprefix("__data_loc_").removeprefix("__rel_loc_")
        place = places.get(declared.name) or places.get(plain) or places.get(plain.rstrip("_"))
        if place and not place.common:
            fields.append(Field(declared.name, declared.type, place.type, place.offset, place.size))
    return tuple(fields)


@functools.lru_cache(maxsize=64)
def _of_btf(type_id: int) -> tuple[Field, ...]:
    btf = vmlinux()
    found = btf.strip(type_id)
    while found.kind in _COUNTED:
        found = btf.strip(found.type_id)
    if found.kind not in _STRUCTS:
        return ()
    return tuple(_field(btf, member, base) for base, member in _flat(btf, found.members, 0))


def _flat(btf: Btf, listed: tuple[Member, ...], base: int) -> Iterator[tuple[int, Member]]:
    # Members with the bits before the struct that they are in.
    for member in listed:
        inner = btf.strip(member.type_id)
        if not member.name and inner.kind in _STRUCTS:
            yield from _flat(btf, inner.members, base + member.bit_offset)
        elif member.name:
            yield base, member


def _field(btf: Btf, member: Member, base: int) -> Field:
    bit, bits = btf.bit_range(member)
    try:
        size = btf.sizeof(member.type_id)
    except DecodeError:  # a struct that is only declared
        size = None
    spelled = btf.c_type(member.type_id)
    return Field(member.name, of_number(member.type_id), spelled, (base + bit) // 8, size, bits)
