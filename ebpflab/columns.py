"""The columns that a BTF type becomes, and its numpy dtype: names, places and rules, worked out without any bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from . import rules
from .btf import Btf, Kind, Type
from .errors import DecodeError
from .rules import Rule

T = TypeVar("T")

MAX_EXPANDED = 16  # elements of an array that become columns of their own
MAX_COLUMNS = 4096  # more is a damaged type, or nothing that a person could look at
_MAX_DEPTH = 64  # structs within structs


@dataclass(frozen=True)
class Column:
    """One column of a record: its name, C type, and place in the record in bytes."""

    name: str
    c_type: str
    offset: int
    size: int
    rule: Rule

    @property
    def kind(self) -> str:
        """One word for what it holds; see :class:`Rule`."""
        return self.rule.kind


class _Slot(NamedTuple):
    # A member's bytes; of a bitfield also its width and its place, counted from the lowest bit of its bytes.
    name: str
    type_id: int
    offset: int
    size: int
    shift: int = 0
    bits: int = 0


class Layout:
    # Columns and dtypes by type id, relative to the start of the type. Each type is worked out once, so that
    # damaged BTF cannot make it run for ever.

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._order = "<" if btf.byteorder == "little" else ">"
        self._columns: dict[int, tuple[Column, ...]] = {}
        self._dtypes: dict[int, np.dtype[Any]] = {}
        self._open: set[int] = set()

    def columns(self, type_id: int) -> tuple[Column, ...]:
        return self._once(self._columns, type_id, self._make_columns)

    def dtype(self, type_id: int) -> np.dtype[Any]:
        return self._once(self._dtypes, type_id, self._make_dtype)

    def _once(self, memo: dict[int, T], type_id: int, make: Callable[[int], T]) -> T:
        if type_id not in memo:
            if type_id in self._open or len(self._open) > _MAX_DEPTH:
                raise DecodeError(f"Type id {type_id} contains itself, or is nested too deeply.")
            self._open.add(type_id)
            memo[type_id] = make(type_id)
            self._open.discard(type_id)
        return memo[type_id]

    def _make_columns(self, type_id: int) -> tuple[Column, ...]:
        size = self._btf.sizeof(type_id)
        if not size:
            return ()
        rule = self._rule(type_id)
        if rule is not None:
            return (Column("", self._btf.c_type(type_id), 0, size, rule),)
        found: list[Column] = []
        for name, offset, columns in self._parts(self._btf.strip(type_id)):
            found += [replace(c, name=joined(name, c.name), offset=offset + c.offset) for c in columns]
            if len(found) > MAX_COLUMNS:
                raise DecodeError(f"{self._btf.c_type(type_id)} has more than {MAX_COLUMNS} columns.")
        return tuple(found)

    def _parts(self, core: Type) -> Iterator[tuple[str, int, tuple[Column, ...]]]:
        if core.kind is Kind.ARRAY:
            columns, step = self.columns(core.type_id), self._btf.sizeof(core.type_id)
            for i in range(core.length if columns else 0):
                yield f"[{i}]", i * step, columns
        elif core.kind is Kind.INT:
            yield from self._halves(core)
        for slot in self._slots(core):
            if slot.bits:
                yield slot.name, slot.offset, (self._bit_column(slot),)
            else:
                yield slot.name, slot.offset, self.columns(slot.type_id)

    def _halves(self, core: Type) -> Iterator[tuple[str, int, tuple[Column, ...]]]:
        # A 128-bit integer: numpy and pandas have none. The sign is in the upper half.
        low, high = (0, 8) if self._order == "<" else (8, 0)
        for name, offset, letter in (("lo", low, "u"), ("hi", high, "i" if core.signed else "u")):
            rule = rules.number(np.dtype(f"{self._order}{letter}8"))
            yield name, offset, (Column("", core.name, 0, 8, rule),)

    def _slots(self, core: Type) -> Iterator[_Slot]:
        for member in core.members:
            bit_offset, bits = self._btf.bit_range(member)
            offset, rest = divmod(bit_offset, 8)
            size = (rest + bits + 7) // 8 if bits else self._btf.sizeof(member.type_id)
            if offset + size > core.size or bits > 64 or (rest and not bits):
                raise DecodeError(f"Member {member.name!r} of {self._btf.c_type(core.id)} is misplaced.")
            shift = rest if self._order == "<" else 8 * size - rest - bits
            nested = self._btf.strip(member.type_id).kind in (Kind.STRUCT, Kind.UNION)
            if size and (member.name or (nested and not bits)):  # other unnamed members are padding
                yield _Slot(member.name, member.type_id, offset, size, shift if bits else 0, bits)

    def _bit_column(self, slot: _Slot) -> Column:
        core = self._btf.strip(slot.type_id)
        dtype = self._scalar(core)
        if dtype is None or dtype.kind == "f" or slot.bits > 8 * core.size:
            raise DecodeError(f"{self._btf.c_type(core.id)} cannot be a bitfield of {slot.bits} bits.")
        rule = rules.bitfield(dtype, slot.shift, slot.bits, self._order == ">")
        if core.values:
            rule = rules.enum(rule, core, slot.bits)
        return Column("", f"{self._btf.c_type(slot.type_id)}:{slot.bits}", 0, slot.size, rule)

    def _rule(self, type_id: int) -> Rule | None:
        # The rule of a type that is one column; None if it is several.
        chain = self._btf.chain(type_id)
        core = chain[-1]
        plain = self._plain_rule(core)
        for t in chain:
            if t.kind not in (Kind.TYPEDEF, Kind.STRUCT):
                continue
            name = f"struct {t.name}" if t.kind is Kind.STRUCT else t.name
            if name in rules.MEANINGS and rules.BASES.get(name, name) in (name, *(t.name for t in chain)):
                meant = rules.MEANINGS[name](plain or rules.octets(self._btf.sizeof(core.id)))
                if meant is not None:
                    return meant
        return plain

    def _plain_rule(self, core: Type) -> Rule | None:
        if core.kind is Kind.ARRAY:
            return self._array_rule(core)
        if core.kind in (Kind.STRUCT, Kind.UNION) or (core.kind is Kind.INT and core.size == 16):
            return None
        dtype = self._scalar(core)
        if dtype is not None:
            rule = rules.number(dtype)
            return rules.enum(rule, core, 8 * core.size) if core.kind in (Kind.ENUM, Kind.ENUM64) else rule
        if core.kind is Kind.FLOAT:
            return rules.octets(core.size)
        raise DecodeError(f"{self._btf.c_type(core.id)} of {core.size} bytes cannot be in a record.")

    def _array_rule(self, core: Type) -> Rule | None:
        shape, element = [], core
        while element.kind is Kind.ARRAY:
            shape.append(element.length)
            element = self._btf.strip(element.type_id)
        if _is_char(element) or _is_octet(element):
            rule = rules.text if _is_char(element) else rules.octets
            return rule(core.length) if len(shape) == 1 else None
        if math.prod(shape) <= MAX_EXPANDED:
            return None
        dtype = self._scalar(element)
        return rules.octets(self._btf.sizeof(core.id)) if dtype is None else rules.numbers(dtype, tuple(shape))

    def _scalar(self, core: Type) -> np.dtype[Any] | None:
        if core.kind is Kind.PTR:
            return np.dtype(f"{self._order}u8")
        if core.kind is Kind.FLOAT:
            return np.dtype(f"{self._order}f{core.size}") if core.size in (2, 4, 8) else None
        if core.kind not in (Kind.INT, Kind.ENUM, Kind.ENUM64) or core.size not in (1, 2, 4, 8):
            return None
        if core.boolean and core.size == 1:
            return np.dtype(np.bool_)
        return np.dtype(f"{self._order}{'i' if core.signed else 'u'}{core.size}")

    def _make_dtype(self, type_id: int) -> np.dtype[Any]:
        core = self._btf.strip(type_id)
        scalar = self._scalar(core)
        if scalar is not None:
            return scalar
        if core.kind in (Kind.STRUCT, Kind.UNION):
            return self._struct_dtype(core)
        if core.kind is Kind.ARRAY and not _is_char(self._btf.strip(core.type_id)):
            return np.dtype((self.dtype(core.type_id), (core.length,)))
        return np.dtype(f"{'S' if core.kind is Kind.ARRAY else 'V'}{self._btf.sizeof(core.id)}")

    def _struct_dtype(self, core: Type) -> np.dtype[Any]:
        fields: list[tuple[str, Any, int]] = []
        for slot in self._slots(core):
            if slot.bits:
                fields.append((slot.name, np.dtype((np.uint8, (slot.size,))), slot.offset))
            elif slot.name:
                fields.append((slot.name, self.dtype(slot.type_id), slot.offset))
            else:
                inner = self.dtype(slot.type_id).fields
                assert inner is not None  # only structs and unions may lack a name
                fields += [(name, place[0], slot.offset + place[1]) for name, place in inner.items()]
        names, formats, offsets = zip(*fields, strict=True) if fields else ((), (), ())
        if len(set(names)) < len(names):
            raise DecodeError(f"{self._btf.c_type(core.id)} has two members of one name.")
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": core.size})


def _is_char(t: Type) -> bool:
    return t.kind is Kind.INT and t.size == 1 and t.name == "char"


def _is_octet(t: Type) -> bool:
    return t.kind is Kind.INT and t.size == 1 and not (t.signed or t.boolean or t.name == "char")


def joined(outer: str, inner: str) -> str:
    return f"{outer}.{inner}" if outer and inner and inner[0] != "[" else outer + inner
