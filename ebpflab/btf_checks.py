"""Assertions in C: that the compiler puts every member of a type where BTF has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .btf import Kind
from .btf_layout import RECORDS
from .btf_plan import ENUMS, member_name, tag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .btf import Btf, Type
    from .btf_plan import Plan


class Spot(NamedTuple):
    """A member as C names it from a record on, ``a.b`` or ``a[0].b``: offset in bits, size in bytes.

    ``bits`` is the width of a bitfield, of which C tells neither offset nor size, and 0 for anything else.
    """

    path: str
    offset: int
    size: int
    bits: int


def spots(btf: Btf, record: Type) -> Iterator[Spot]:
    """Return every member of a record, with those of records inside that have no name of their own.

    Examples
    --------
    >>> next(spots(btf, btf.find("list_head", Kind.STRUCT)))
    Spot(path='next', offset=0, size=8, bits=0)
    """
    return _spots(btf, record, "", 0)


def checks(btf: Btf, planned: Plan) -> str:
    """Return assertions of the size of each type of a plan, and of offset and size of each member of it.

    They go behind the header; where they compile, the compiler and BTF agree.
    """
    return "".join(f"{line}\n" for entry in planned.entries for line in _asserts(btf, btf[entry.type_id], planned))


def _asserts(btf: Btf, t: Type, planned: Plan) -> Iterator[str]:
    # A typedef is checked where it names what has no name of its own.
    record = btf.strip(t.id) if t.kind is Kind.TYPEDEF else t
    if record.kind not in (*RECORDS, *ENUMS) or not t.name or (t.kind is Kind.TYPEDEF and record.name):
        return
    keyword = "" if t.kind is Kind.TYPEDEF else tag(t).partition(" ")[0]
    name = f"{keyword} {planned.names.of(t)}".strip()
    yield _equal(f"sizeof({name})", record.size, name)
    for spot in _spots(btf, record, "", 0):
        if not spot.bits:
            place = f"{name}: {spot.path}"
            yield _equal(f"__builtin_offsetof({name}, {spot.path})", spot.offset // 8, place)
            yield _equal(f"sizeof((({name} *)0)->{spot.path})", spot.size, place)


def _spots(btf: Btf, record: Type, before: str, start: int) -> Iterator[Spot]:
    for member in record.members:
        offset, bits = btf.bit_range(member)
        core, elements = btf.strip(member.type_id), ""
        path = f"{before}{member_name(member.name)}"
        if member.name:
            yield Spot(path, start + offset, btf.sizeof(member.type_id), bits)
        elif core.kind in RECORDS:
            yield from _spots(btf, core, before, start + offset)
            continue
        while core.kind is Kind.ARRAY:
            elements += "[0]"
            core = btf.strip(core.type_id)
        if core.kind in RECORDS and not core.name and _inline(btf, member.type_id):
            yield from _spots(btf, core, f"{path}{elements}.", start + offset)


def _inline(btf: Btf, type_id: int) -> bool:
    # Whether the record is written where it is used; behind a typedef it has been checked under that name.
    chain = list(btf.chain(type_id))
    while chain[-1].kind is Kind.ARRAY:
        chain += btf.chain(chain[-1].type_id)
    return all(t.kind is not Kind.TYPEDEF for t in chain)


def _equal(expression: str, number: int, place: str) -> str:
    return f'_Static_assert({expression} == {number}, "{place}");'
