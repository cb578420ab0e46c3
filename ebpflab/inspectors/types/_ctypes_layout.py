"""How ctypes has to be told about a struct so that it lays it out as BTF says; worked out without ctypes itself.

ctypes places members as a C compiler would, bitfields aside, whose place has changed between its versions. So what
follows from alignment is left to it. Any other struct is packed, with its holes as members; members that share bytes
are put in a union; and bitfields lie in a struct of their own, of one integer, where every version agrees.
"""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ...btf import Kind
from ...errors import DecodeError
from .members import STRUCTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ...btf import Btf, Type

_MAX_NESTED = 64
_UNITS = (1, 2, 4, 8)  # bytes of an integer that holds bitfields


def identifier(name: str) -> str:
    """Return the name that Python can have for something of C: words of Python get an underscore at their end.

    >>> identifier("class")
    'class_'
    """
    word = re.sub(r"\W", "_", name, flags=re.ASCII)
    word = f"_{word}" if word[:1].isdigit() else word
    return f"{word}_" if keyword.iskeyword(word) else word


def other_order(word: str) -> tuple[str, str]:
    """Return ctypes' type for the other byte order: its name, and the attribute of that type to take, if any.

    >>> other_order("c_uint32")
    ('c_uint32', '__ctype_be__')
    """
    if word in ("c_bool", "c_char", "c_int8", "c_uint8"):
        return word, ""
    # A c_void_p has no other byte order.
    attribute = "__ctype_be__" if sys.byteorder == "little" else "__ctype_le__"
    return "c_uint64" if word == "c_void_p" else word, attribute


class Expression(NamedTuple):
    """A ctypes type: one of its own by name, or a class of ours; an array has its lengths, the outermost first."""

    word: str
    own: bool = True
    lengths: tuple[int, ...] = ()


class Field(NamedTuple):
    """An entry of ``_fields_``: ``bits`` is 0 unless it is a bitfield, ``comment`` how C spells its type."""

    name: str
    type: Expression
    bits: int = 0
    comment: str = ""


@dataclass(frozen=True)
class Plan:
    """A ctypes class: ``base`` is "Structure", "Union", or "Bits" for the one integer of some bitfields."""

    name: str
    base: str
    fields: tuple[Field, ...]
    size: int
    align: int
    packed: bool = False
    anonymous: tuple[str, ...] = ()
    type_id: int = 0
    comment: str = ""


class _Slot(NamedTuple):
    # A member, or several that lie in one class of ours, and its bytes.
    offset: int
    size: int
    align: int
    field: Field
    anonymous: bool = False


class _Bits(NamedTuple):
    # A bitfield: first bit in its struct, width.
    name: str
    first: int
    width: int
    signed: bool
    comment: str

    @property
    def bytes(self) -> tuple[int, int]:
        return self.first // 8, (self.first + self.width + 7) // 8


class Planner:
    """Plans classes; ``plans`` has all that were needed so far, each after those that it is made of.

    >>> planner = Planner(btf)
    >>> planner.expression(btf.find("list_head").id)[0].word
    'list_head'
    """

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self.plans: dict[str, Plan] = {}
        self.inlined: set[int] = set()  # anonymous structs and unions whose members stand in another's place
        self._words: set[str] = {"ctypes", "np", "sys"}
        self._by_id: dict[int, Plan] = {}
        self._open: set[int] = set()

    def expression(self, type_id: int, name: str = "") -> tuple[Expression, int]:
        """Return how to write a type, and its alignment in bytes.

        Parameters
        ----------
        name
            What to call its class if the type has no name, nor a typedef.

        Raises
        ------
        DecodeError
            The type has no size, or BTF contradicts itself about it.
        """
        lengths: list[int] = []
        *names, core = self._btf.chain(type_id)
        while core.kind is Kind.ARRAY and len(lengths) < _MAX_NESTED:
            lengths.append(core.length)
            *names, core = self._btf.chain(core.type_id)
        if core.kind in STRUCTS:
            named = [t.name for t in (*names, core) if t.name]
            plan = self.plan(core, named[-1] if named else name)
            return Expression(plan.name, False, tuple(lengths)), plan.align
        word, size = _simple(core), self._btf.sizeof(core.id)
        if word is None:
            return Expression("c_uint8", True, (*lengths, size)), 1
        return Expression(word, True, tuple(lengths)), size

    def plan(self, core: Type, name: str = "") -> Plan:
        """Return the class of a struct or union, called like this if the type has no name.

        Raises
        ------
        DecodeError
            BTF contradicts itself about it, or no integer inside the struct covers one of its bitfields.
        """
        if core.id in self._by_id:
            return self._by_id[core.id]
        if core.id in self._open or len(self._open) > _MAX_NESTED:
            raise DecodeError(
                f"{self._btf.c_type(core.id)} (type id {core.id}) contains itself, or is nested too deeply."
            )
        self._open.add(core.id)
        name = self.word(core.name or name or f"anonymous_{core.id}")
        slots = self._slots(core, name)
        layout = self._union if core.kind is Kind.UNION else self._struct
        plan = layout(name, slots, core.size, core.id)
        self._open.discard(core.id)
        self._by_id[core.id] = plan
        return plan

    def word(self, name: str) -> str:
        """Return a name for something of the module, like this one, that nothing else has."""
        word = identifier(name)
        while word in self._words:
            word += "_"
        self._words.add(word)
        return word

    def _add(self, plan: Plan) -> Plan:
        self.plans[plan.name] = plan
        return plan

    def _slots(self, core: Type, name: str) -> list[_Slot]:
        slots: list[_Slot] = []
        bits: list[_Bits] = []
        for member in core.members:
            first, width = self._btf.bit_range(member)
            inner = self._btf.strip(member.type_id)
            comment = self._btf.c_type(member.type_id)
            if width and member.name:
                bits.append(_Bits(member.name, first, width, inner.signed, comment))
            elif not width and (member.name or inner.kind in STRUCTS):
                inside = f"{name}_{member.name or f'anonymous_{len(slots)}'}"
                expression, align = self.expression(member.type_id, inside)
                if not member.name:
                    self.inlined.add(inner.id)
                size = self._btf.sizeof(member.type_id)
                if first % 8 or first // 8 + size > core.size:
                    raise DecodeError(f"Member {member.name!r} of {self._btf.c_type(core.id)} is misplaced.")
                field = Field(member.name or f"_anonymous_{len(slots)}", expression, 0, comment)
                slots.append(_Slot(first // 8, size, align, field, not member.name))
        for unit in _units(bits, core.kind is Kind.UNION, core.size):
            slots.append(self._bit_slot(name, len(slots), *unit))
        return slots

    def _bit_slot(self, name: str, number: int, offset: int, size: int, bits: Sequence[_Bits]) -> _Slot:
        fields: list[Field] = []
        at = offset * 8
        for each in sorted(bits, key=lambda each: each.first):
            if each.first > at:
                fields.append(Field(f"_unused_{at}", Expression(f"c_uint{8 * size}"), each.first - at))
            word = f"c_{'' if each.signed else 'u'}int{8 * size}"
            fields.append(Field(each.name, Expression(word), each.width, each.comment))
            at = each.first + each.width
        plan = self._add(
            Plan(
                self.word(f"{name}_bits_{offset}"),
                "Bits",
                tuple(fields),
                size,
                size,
                comment=f"bitfields of {size} bytes",
            )
        )
        return _Slot(offset, size, size, Field(f"_bits_{number}", Expression(plan.name, False)), True)

    def _union(self, name: str, slots: Sequence[_Slot], size: int, type_id: int = 0) -> Plan:
        # Members behind the start, and a union that is longer than its members, take structs with padding.
        slots = [self._padded(name, slot, 0) for slot in slots]
        longest = max((slot.size for slot in slots), default=0)
        align = max((slot.align for slot in slots), default=1)
        packed = _up(longest, align) != size
        if packed and longest < size:
            slots = [*slots, _padding(0, size)]
        return self._make(name, "Union", slots, size, 1 if packed else align, packed, type_id)

    def _struct(self, name: str, slots: Sequence[_Slot], size: int, type_id: int = 0) -> Plan:
        placed = [self._region(name, region) for region in _regions(slots)]
        end, align = 0, max((slot.align for slot in placed), default=1)
        natural = True
        for slot in placed:
            natural = natural and _up(end, slot.align) == slot.offset
            end = slot.offset + slot.size
        if natural and _up(end, align) == size:
            return self._make(name, "Structure", placed, size, align, False, type_id)
        return self._make(name, "Structure", list(_filled(placed, size)), size, 1, True, type_id)

    def _make(
        self, name: str, base: str, slots: Sequence[_Slot], size: int, align: int, packed: bool, type_id: int
    ) -> Plan:
        fields = tuple(slot.field for slot in slots)
        anonymous = tuple(slot.field.name for slot in slots if slot.anonymous)
        comment = f"{self._btf.c_type(type_id)}, " if type_id else ""
        comment = f"{comment}{size} byte{'' if size == 1 else 's'}"
        return self._add(Plan(name, base, fields, size, align, packed, anonymous, type_id, comment))

    def _region(self, name: str, slots: Sequence[_Slot]) -> _Slot:
        # Members that share bytes, as a bitfield and the member behind it may, become one union.
        if len(slots) == 1:
            return slots[0]
        start = slots[0].offset
        size = max(slot.offset + slot.size for slot in slots) - start
        inner = [self._padded(name, slot, start) for slot in slots]
        plan = self._union(self.word(f"{name}_shared_{start}"), inner, size)
        return _Slot(start, size, plan.align, Field(f"_shared_{start}", Expression(plan.name, False)), True)

    def _padded(self, name: str, slot: _Slot, start: int) -> _Slot:
        # The same member, in a union that starts there.
        lead = slot.offset - start
        if not lead:
            return slot._replace(offset=0)
        plan = self._struct(self.word(f"{name}_from_{start}"), [slot._replace(offset=lead)], lead + slot.size)
        field = Field(f"_from_{slot.field.name}", Expression(plan.name, False))
        return _Slot(0, plan.size, plan.align, field, True)


def _simple(core: Type) -> str | None:
    # The name that ctypes has for a type, if it has one.
    if core.kind is Kind.PTR:
        return "c_void_p"
    if core.kind is Kind.FLOAT:
        return {4: "c_float", 8: "c_double"}.get(core.size)
    if core.kind not in (Kind.INT, Kind.ENUM, Kind.ENUM64) or core.size not in _UNITS:
        return None
    if core.kind is Kind.INT and core.size == 1 and (core.boolean or core.name == "char"):
        return "c_bool" if core.boolean else "c_char"
    return f"c_{'' if core.signed else 'u'}int{8 * core.size}"


def _units(bits: list[_Bits], apart: bool, size: int) -> Iterator[tuple[int, int, list[_Bits]]]:
    # The integers that hold bitfields: offset and size in bytes, and what is in them.
    for run in _runs(bits, apart):
        start, end = run[0].bytes[0], run[-1].bytes[1]
        if _unit(start, end, size) == (start, end - start):
            yield start, end - start, run
        else:
            yield from _split(run, size)


def _runs(bits: list[_Bits], apart: bool) -> Iterator[list[_Bits]]:
    # Neighbours whose bytes touch. In a union there are none: they lie upon each other.
    run: list[_Bits] = []
    for each in bits:
        if run and (apart or each.first < run[-1].first + run[-1].width or each.bytes[0] > run[-1].bytes[1]):
            yield run
            run = []
        run.append(each)
    if run:
        yield run


def _split(run: list[_Bits], size: int) -> Iterator[tuple[int, int, list[_Bits]]]:
    # As few bytes as may be: what follows the run may start in the same integer.
    place, held = (0, 0), list[_Bits]()
    for each in run:
        first, last = each.bytes
        wider = _unit(place[0], last, size) if held and first < sum(place) else None
        if held and wider is None:
            yield (*place, held)
            held = []
        place = wider or _unit(first, last, size) or (0, 0)
        if not place[1]:
            what = f"Bitfield {each.name!r} of {each.width} bits lies in no integer inside its {size} bytes"
            raise DecodeError(f"{what}, so ctypes cannot have it.", hint="numpy's dtype has its bytes")
        held.append(each)
    yield (*place, held)


def _unit(first: int, last: int, size: int) -> tuple[int, int] | None:
    # The smallest integer inside a struct that covers these bytes, in its natural place if that covers them.
    for length in _UNITS:
        for offset in (first // length * length, min(first, size - length)):
            if 0 <= offset <= first and last <= offset + length <= size:
                return offset, length
    return None


def _regions(slots: Sequence[_Slot]) -> Iterator[list[_Slot]]:
    # Slots in the order of their offsets, those together that overlap.
    region: list[_Slot] = []
    end = 0
    for slot in sorted(slots, key=lambda slot: (slot.offset, slot.size)):
        if region and slot.offset >= end:
            yield region
            region = []
        region.append(slot)
        end = max(end, slot.offset + slot.size)
    if region:
        yield region


def _filled(slots: Sequence[_Slot], size: int) -> Iterator[_Slot]:
    end = 0
    for slot in slots:
        if slot.offset > end:
            yield _padding(end, slot.offset - end)
        yield slot
        end = slot.offset + slot.size
    if size > end:
        yield _padding(end, size - end)


def _padding(offset: int, size: int) -> _Slot:
    return _Slot(offset, size, 1, Field(f"_padding_{offset}", Expression("c_uint8", True, (size,))))


def _up(offset: int, align: int) -> int:
    return -(-offset // max(align, 1)) * max(align, 1)
