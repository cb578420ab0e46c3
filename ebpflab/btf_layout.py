"""What has to be written in C so that the compiler puts every member where BTF says it is.

BTF records offsets and sizes, and neither ``packed`` nor ``aligned`` nor unnamed bitfields. But a C compiler
leaves a gap only for the sake of alignment, so the smallest power of two that explains a gap is one that the
type really has. What no alignment explains is filled: with unnamed bitfields, or with a member where it is long.
The rules are those of the System V and AAPCS64 ABIs, which clang's BPF target shares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .btf import POINTER_SIZE, Kind
from .errors import DecodeError

if TYPE_CHECKING:
    from .btf import Btf, Member, Type

RECORDS = (Kind.STRUCT, Kind.UNION)

_SCALARS = (Kind.INT, Kind.FLOAT, Kind.ENUM, Kind.ENUM64)
_SCALAR_SIZES = (1, 2, 4, 8, 16)
_LARGEST = 1 << 16  # bytes: no kernel aligns a type to more than a page of 64 KiB
_LONGEST = 64 * 8  # bits that unnamed bitfields fill, a line for each long
_MAX_NESTED = 64


class Row(NamedTuple):
    """One line of a record, all in bits: a member, or what fills a gap (then ``member`` is None).

    ``bits`` is the width of a bitfield and 0 for any other member; ``hole`` is what lies unused before the
    member; ``aligned`` is the alignment in bytes to be written behind it, or 0.
    """

    member: Member | None
    offset: int
    bits: int
    hole: int = 0
    aligned: int = 0


class Layout(NamedTuple):
    """A record as it has to be written: ``aligned`` (bytes, or 0) and ``packed`` stand behind its brace.

    ``align`` is the alignment in bytes that comes out, ``tail`` the unused bits at the end.
    """

    rows: tuple[Row, ...]
    packed: bool
    aligned: int
    align: int
    tail: int


class _Placed(NamedTuple):
    # A member with what decides its place, in bits. A bitfield may not cross a border of its unit.
    member: Member
    offset: int
    bits: int
    width: int
    unit: int

    @property
    def misplaced(self) -> bool:
        if not self.bits:
            return self.offset % self.unit != 0
        return self.offset // self.unit != (self.offset + self.bits - 1) // self.unit

    def natural(self, position: int, packed: bool) -> int:
        # Where the compiler puts it when the member before ends at `position`.
        if packed:
            return position if self.bits else _up(position, 8)
        if not self.bits or position // self.unit != (position + self.bits - 1) // self.unit:
            return _up(position, self.unit)
        return position


class Layouts:
    """The layouts of the records of one BTF, each worked out once.

    Examples
    --------
    >>> Layouts(btf).of(btf.find("ethhdr", Kind.STRUCT)).packed
    False
    """

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._known: dict[int, Layout] = {}
        self._open: list[int] = []

    def align(self, type_id: int) -> int:
        """Return the alignment in bytes that a value of the type has, once written as :meth:`of` says.

        Raises
        ------
        DecodeError
            Such a type has no values, or C has none of its size.
        """
        core = self._btf.strip(type_id)
        for _ in range(_MAX_NESTED):
            if core.kind is not Kind.ARRAY:
                break
            core = self._btf.strip(core.type_id)
        if core.kind in RECORDS:
            return self.of(core).align
        if core.kind is Kind.PTR:
            return POINTER_SIZE
        if core.kind in _SCALARS and core.size in _SCALAR_SIZES:
            return core.size
        raise DecodeError(f"C has no member of the type {self._btf.c_type(core.id)} (type id {core.id}).")

    def of(self, record: Type) -> Layout:
        """Return how a struct or union has to be written.

        Raises
        ------
        DecodeError
            Its members overlap, reach over its end, or contain the record itself.
        """
        if record.id not in self._known:
            if record.id in self._open or len(self._open) >= _MAX_NESTED:
                raise DecodeError(f"{self._btf.c_type(record.id)} (type id {record.id}) contains itself.")
            self._open.append(record.id)
            try:
                places = [self._place(member) for member in record.members]
            finally:
                self._open.pop()
            build = _union if record.kind is Kind.UNION else _struct
            layout = build(record.size * 8, places)
            if layout is None:
                what = f"The members of {self._btf.c_type(record.id)} (type id {record.id})"
                raise DecodeError(f"{what} do not fit its {record.size} bytes.")
            self._known[record.id] = layout
        return self._known[record.id]

    def _place(self, member: Member) -> _Placed:
        offset, bits = self._btf.bit_range(member)
        size = 8 * self._btf.sizeof(member.type_id)
        unit = 8 * self.align(member.type_id)
        if bits > size or (bits and unit != size):
            raise DecodeError(f"The bitfield {member.name!r} has {bits} bits, and its type {size}.")
        return _Placed(member, offset, bits, bits or size, unit)


def _struct(size: int, places: list[_Placed]) -> Layout | None:
    # All in bits but alignments. None if the members overlap or do not fit.
    natural = max((place.unit // 8 for place in places), default=1)
    packed = any(place.misplaced for place in places) or size % (8 * natural) != 0
    align = 1 if packed else natural
    widest = POINTER_SIZE if packed else min(align, POINTER_SIZE)
    rows: list[Row] = []
    position = 0
    for place in places:
        hole, aligned = place.offset - position, 0
        if hole < 0:
            return None
        if place.natural(position, packed) != place.offset:
            aligned = 0 if packed or place.bits else _explains(position, place, size)
            if not aligned:
                rows += _fill(position, place.offset, widest)
        rows.append(Row(place.member, place.offset, place.bits, hole, aligned))
        align = max(align, aligned)
        position = place.offset + place.width
    return _closed(rows, position, size, align, packed, widest)


def _closed(rows: list[Row], position: int, size: int, align: int, packed: bool, widest: int) -> Layout | None:
    aligned = 0
    if position > size:
        return None
    if _up(position, 8 * align) != size:
        aligned = _smallest(position, size, align)
        if not aligned:
            rows += _fill(position, size, widest)
    return Layout(tuple(rows), packed, aligned, max(align, aligned), size - position)


def _union(size: int, places: list[_Placed]) -> Layout | None:
    natural = max((place.unit // 8 for place in places), default=1)
    widest = max((place.width for place in places), default=0)
    if widest > size or any(place.offset for place in places):
        return None
    packed = size % (8 * natural) != 0
    align = 1 if packed else natural
    rows = [Row(place.member, 0, place.bits) for place in places]
    aligned = 0
    if _up(widest, 8 * align) != size:
        aligned = _smallest(widest, size, align)
        if not aligned:
            rows.append(Row(None, 0, size))
    return Layout(tuple(rows), packed, aligned, max(align, aligned), size - widest)


def _explains(position: int, place: _Placed, size: int) -> int:
    # The smallest alignment, in bytes, that moves a member on to its offset; 0 if none does. The record's size is a
    # multiple of it; so is that of a record without a name, since the attribute then belongs to its type.
    own = 0 if place.member.name else place.width
    aligned = _smallest(position, place.offset, place.unit // 8)
    return aligned if aligned and not size % (8 * aligned) and not own % (8 * aligned) else 0


def _smallest(position: int, wanted: int, align: int) -> int:
    # The smallest alignment, in bytes and above `align`, that moves `position` to the place wanted; 0 if none does.
    while align < _LARGEST:
        align *= 2
        if _up(position, 8 * align) >= wanted:
            return align if _up(position, 8 * align) == wanted else 0
    return 0


def _fill(position: int, end: int, widest: int) -> list[Row]:
    # Rows for the bits from `position` to `end`. A longer one than a long is an array of whole bytes.
    rows: list[Row] = []
    while position < end:
        long = end - position > _LONGEST and position % 8 == 0
        stop = end - end % 8 if long else _piece(position, end, widest)
        rows.append(Row(None, position, stop - position))
        position = stop
    return rows


def _piece(position: int, end: int, widest: int) -> int:
    # Where an unnamed bitfield that starts at `position` ends: the end, or the border of the widest unit.
    stop = position
    for unit in (8, 16, 32, 64):
        if unit <= 8 * widest:
            stop = min(end, _up(position + 1, unit))
            if stop == end:
                break
    return stop


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
