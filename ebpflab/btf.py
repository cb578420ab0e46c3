"""Read BTF, the type information that clang and the kernel attach to BPF programs and to the kernel itself.

A pure parser of bytes: it knows no kernel, no libbpf and no numpy. The format is described in the kernel's
``Documentation/bpf/btf.rst`` and ``include/uapi/linux/btf.h``.

Only the places of the types are found at first; a :class:`Type` is built when it is asked for, because a
kernel has more than 100,000 of them and a question needs a few. So damage inside one type shows when that
type is used, always as :class:`~ebpflab.errors.DecodeError`.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

POINTER_SIZE = 8  # BTF does not say; BPF and every kernel that has BTF are 64 bits wide

_MAGIC = 0xEB9F
_HEADER = "HBBIIIII"  # magic, version, flags, hdr_len, type_off, type_len, str_off, str_len
_HEADER_SIZE = 24
_HEAD_SIZE = 12  # struct btf_type
# Of struct btf_type's info. In 2026 vlen grew to 24 bits and the kind to 7; older BTF has zeros there.
_VLEN_MASK = 0xFFFFFF
_KIND_MASK = 0x7F
_MAX_CHAIN = 64  # twice the depth that the kernel resolves (MAX_RESOLVE_DEPTH)
_MAX_NESTED = 16  # functions that take functions that take functions
_MAX_SPELLED = 1000  # types that the C spelling of one type may run through


class Kind(enum.IntEnum):
    """What a type is: the kernel's ``BTF_KIND_*`` numbers; ``VOID`` is type id 0."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


# Bytes after struct btf_type: a fixed part, and a part for each of the vlen entries.
TAILS = dict.fromkeys(Kind, (0, 0)) | {
    Kind.INT: (4, 0),
    Kind.ARRAY: (12, 0),
    Kind.STRUCT: (0, 12),
    Kind.UNION: (0, 12),
    Kind.ENUM: (0, 8),
    Kind.FUNC_PROTO: (0, 8),
    Kind.VAR: (4, 0),
    Kind.DATASEC: (0, 12),
    Kind.DECL_TAG: (4, 0),
    Kind.ENUM64: (0, 12),
}
_SIZED = {Kind.INT, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.DATASEC, Kind.FLOAT, Kind.ENUM64}
_QUALIFIERS = {Kind.CONST: "const", Kind.VOLATILE: "volatile", Kind.RESTRICT: "restrict"}
_TRANSPARENT = {Kind.TYPEDEF, Kind.TYPE_TAG, *_QUALIFIERS}
_INT_SIGNED, _INT_BOOL = 1, 4


class Member(NamedTuple):
    """A member of a struct or union: ``bits`` is 0 unless it is a bitfield (see :meth:`Btf.bit_range`)."""

    name: str
    type_id: int
    bit_offset: int
    bits: int


class Enumerator(NamedTuple):
    """A name of an enum and its number."""

    name: str
    value: int


class Param(NamedTuple):
    """A parameter of a function; a last one without name and with type id 0 stands for ``...``."""

    name: str
    type_id: int


class Variable(NamedTuple):
    """A variable in a section: offset and size in bytes."""

    name: str
    type_id: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Type:
    """One type; which fields mean something depends on its kind, the others are empty.

    Attributes
    ----------
    id, kind, name
        Number, :class:`Kind` and name; the name is empty for an anonymous type.
    size
        Bytes: of an int, float, enum, struct, union or section.
    type_id
        The type that this one refers to: target, element, underlying or return type.
    flag
        The format's ``kind_flag``: a forward declaration is of a union, an enum is signed.
    members, values, params, variables
        Of a struct or union, an enum, a function prototype, a section. The ``type_id`` of a section's
        variables is that of their ``VAR``; :func:`.btf_program.variables` resolves it.
    length, index_type_id
        Of an array.
    encoding, bits, bit_offset
        Of an int: ``BTF_INT_*`` flags, its width and its place within its bytes.
    linkage, component
        Linkage of a variable or function; member or parameter that a declaration tag is about, or -1.
    """

    id: int
    kind: Kind
    name: str = ""
    size: int = 0
    type_id: int = 0
    flag: bool = False
    members: tuple[Member, ...] = ()
    values: tuple[Enumerator, ...] = ()
    params: tuple[Param, ...] = ()
    variables: tuple[Variable, ...] = ()
    length: int = 0
    index_type_id: int = 0
    encoding: int = 0
    bits: int = 0
    bit_offset: int = 0
    linkage: int = 0
    component: int = -1

    @property
    def signed(self) -> bool:
        """Whether an int or enum has negative values."""
        return bool(self.encoding & _INT_SIGNED) if self.kind is Kind.INT else self.flag

    @property
    def boolean(self) -> bool:
        """Whether an int is C's ``bool``."""
        return bool(self.encoding & _INT_BOOL)


class Btf:
    """The types of one object file, program or kernel; ``byteorder`` is that of the machine it describes.

    >>> btf = Btf.parse(Path("/sys/kernel/btf/vmlinux").read_bytes())
    >>> btf.sizeof(btf.find("list_head", Kind.STRUCT).id)
    16
    """

    def __init__(self, types: bytes, starts: list[int], strings: bytes, byteorder: Literal["little", "big"]) -> None:
        self.byteorder = byteorder
        self._order = "<" if byteorder == "little" else ">"
        self._types = types
        self._starts = starts  # of type id i + 1
        self._strings = strings
        self._built: dict[int, Type] = {0: Type(0, Kind.VOID, "void")}
        self._ids_by_name: dict[str, list[int]] | None = None

    @classmethod
    def parse(cls, data: bytes, base: Btf | None = None) -> Btf:
        """Read a ``.BTF`` section or a file under ``/sys/kernel/btf``, of either byte order.

        Parameters
        ----------
        data
            The bytes.
        base
            For the BTF of a module: that of its kernel, from which type ids and strings are numbered on. The
            result holds the types of both.

        Raises
        ------
        DecodeError
            The bytes are not BTF, are cut off, or go on from a base that is not given.
        """
        byteorder: Literal["little", "big"] = "big" if data[:2] == b"\xeb\x9f" else "little"
        order = "<" if byteorder == "little" else ">"
        types, strings = _sections(data, order)
        if base is not None and byteorder != base.byteorder:
            raise DecodeError("This BTF and that of its base have different byte orders.")
        if strings[-1:] != b"\0" or (base is None and strings[:1] != b"\0"):
            split = " (as that of a module does not, which goes on from its kernel's)" if strings[-1:] == b"\0" else ""
            raise DecodeError(f"The BTF string section does not start and end with a NUL{split}.")
        starts = _find_types(types, order)
        if base is None:
            return cls(types, starts, strings, byteorder)
        starts = [*base._starts, *(len(base._types) + start for start in starts)]
        return cls(base._types + types, starts, base._strings + strings, byteorder)

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Type]:
        return (self[i] for i in range(1, len(self) + 1))

    def __getitem__(self, type_id: int) -> Type:
        found = self._built.get(type_id)
        if found is None:
            found = self._built[type_id] = self._build(type_id)
        return found

    def find(self, name: str, *kinds: Kind) -> Type | None:
        """Return the first type of that name and of one of the kinds (of any kind, if none is given)."""
        return next(self.find_all(name, *kinds), None)

    def find_all(self, name: str, *kinds: Kind) -> Iterator[Type]:
        """Return the types of that name; a kernel has a few names with several, each of another source file."""
        if self._ids_by_name is None:
            self._ids_by_name = {}
            for number in range(1, len(self) + 1):
                if known := self._name_of(number):
                    self._ids_by_name.setdefault(known, []).append(number)
        found = (self[i] for i in self._ids_by_name.get(name, ()))
        return (t for t in found if not kinds or t.kind in kinds)

    def of_kind(self, *kinds: Kind) -> Iterator[Type]:
        """Return the types of these kinds, in order, without building the others."""
        unpack = struct.Struct(self._order + "I").unpack_from
        for number, start in enumerate(self._starts, 1):
            if unpack(self._types, start + 4)[0] >> 24 & _KIND_MASK in kinds:
                yield self[number]

    def chain(self, type_id: int) -> tuple[Type, ...]:
        """Return the type, then what each typedef, qualifier and type tag stands for, down to a real type."""
        links = [self[type_id]]
        while links[-1].kind in _TRANSPARENT:
            if len(links) > _MAX_CHAIN:
                raise DecodeError(f"Type id {type_id} is a chain of more than {_MAX_CHAIN} typedefs.")
            links.append(self[links[-1].type_id])
        return tuple(links)

    def strip(self, type_id: int) -> Type:
        """Return the type below its typedefs, ``const``, ``volatile``, ``restrict`` and type tags."""
        return self.chain(type_id)[-1]

    def sizeof(self, type_id: int) -> int:
        """Return the size in bytes of a value of the type, as C's ``sizeof`` (0 for a flexible array).

        Raises
        ------
        DecodeError
            The type has no size: void, a function, a struct that is only declared.
        """
        count = 1
        for _ in range(_MAX_CHAIN):
            core = self.strip(type_id)
            if core.kind in _SIZED:
                return count * core.size
            if core.kind is Kind.PTR:
                return count * POINTER_SIZE
            if core.kind not in (Kind.ARRAY, Kind.VAR):
                raise DecodeError(f"{self.c_type(core.id)} (type id {core.id}) has no size.")
            count *= core.length if core.kind is Kind.ARRAY else 1
            type_id = core.type_id
        raise DecodeError(f"Type id {type_id} is an array of more than {_MAX_CHAIN} dimensions.")

    def bit_range(self, member: Member) -> tuple[int, int]:
        """Return a member's bit offset in its struct and its width in bits, 0 if it is no bitfield.

        In BTF without ``kind_flag`` (before Linux 5.0) a bitfield is a member whose *int type* is narrow.
        Bits are counted as the byte order has them: from the lowest of the first byte in little endian, from
        the highest in big endian.
        """
        core = self.strip(member.type_id)
        if member.bits or core.kind is not Kind.INT or (core.bits == core.size * 8 and not core.bit_offset):
            return member.bit_offset, member.bits
        return member.bit_offset + core.bit_offset, core.bits

    def c_type(self, type_id: int, name: str = "") -> str:
        """Return how C spells the type, or the declaration of something called *name*.

        >>> btf.c_type(member.type_id), btf.c_type(member.type_id, member.name)
        ('char[16]', 'char comm[16]')
        """
        return Speller(self).declare(type_id, name)

    def _string(self, offset: int) -> str:
        if offset >= len(self._strings):
            raise DecodeError(f"A BTF name at {offset} lies outside the {len(self._strings)} bytes of strings.")
        return self._strings[offset : self._strings.index(0, offset)].decode("utf-8", "replace")

    def _name_of(self, type_id: int) -> str:
        # A type's name without building the type.
        if not 0 < type_id <= len(self):
            raise DecodeError(f"Type id {type_id} is not among the {len(self)} types of this BTF.")
        (offset,) = struct.unpack_from(self._order + "I", self._types, self._starts[type_id - 1])
        return self._string(offset)

    def _build(self, type_id: int) -> Type:
        name = self._name_of(type_id)
        start = self._starts[type_id - 1]
        _, info, third = struct.unpack_from(self._order + "III", self._types, start)
        kind, vlen, flag = _split(info)
        fixed, each = TAILS[kind]
        tail = f"{self._order}{(fixed + each * vlen) // 4}I"
        words = struct.unpack_from(tail, self._types, start + _HEAD_SIZE)
        size, target = (third, 0) if kind in _SIZED else (0, third)
        details = {"type_id": target, **self._details(kind, vlen, flag, words)}
        return Type(type_id, kind, name, size, flag=flag, **details)

    def _details(self, kind: Kind, vlen: int, flag: bool, words: tuple[int, ...]) -> dict[str, Any]:
        name = self._string
        if kind in (Kind.STRUCT, Kind.UNION):
            mask, shift = (0xFFFFFF, 24) if flag else (0xFFFFFFFF, 32)
            return {"members": tuple(Member(name(n), t, o & mask, o >> shift) for n, t, o in _rows(words, 3))}
        if kind is Kind.ENUM:
            return {"values": tuple(Enumerator(name(n), _signed(v, 32, flag)) for n, v in _rows(words, 2))}
        if kind is Kind.ENUM64:
            rows = ((n, low | high << 32) for n, low, high in _rows(words, 3))
            return {"values": tuple(Enumerator(name(n), _signed(v, 64, flag)) for n, v in rows)}
        if kind is Kind.FUNC_PROTO:
            return {"params": tuple(Param(name(n), t) for n, t in _rows(words, 2))}
        if kind is Kind.DATASEC:
            return {"variables": tuple(Variable(self._name_of(t), t, o, s) for t, o, s in _rows(words, 3))}
        if kind is Kind.INT:
            (word,) = words
            return {"encoding": word >> 24 & 0xF, "bit_offset": word >> 16 & 0xFF, "bits": word & 0xFF}
        if kind is Kind.ARRAY:
            return dict(zip(("type_id", "index_type_id", "length"), words, strict=True))
        if kind is Kind.DECL_TAG:
            return {"component": _signed(words[0], 32, True)}
        return {"linkage": words[0] if kind is Kind.VAR else vlen if kind is Kind.FUNC else 0}


class Speller:
    # Spells one type in C. A declaration grows from its name outwards: "name" -> "*name" -> "(*name)[4]".

    def __init__(self, btf: Btf, most: int = _MAX_SPELLED) -> None:
        self._btf = btf
        self._left = most

    def declare(self, type_id: int, inner: str, depth: int = 0) -> str:
        # Damaged BTF can run in circles, or fan out through parameters: both length and depth are bounded.
        words: list[str] = []
        while True:
            self._left -= 1
            if self._left < 0 or depth > _MAX_NESTED:
                raise DecodeError(f"Type id {type_id} cannot be spelled in C: it refers back to itself.")
            t = self._btf[type_id]
            if t.kind in _QUALIFIERS:
                words += [_QUALIFIERS[t.kind]] if _QUALIFIERS[t.kind] not in words else []
            elif t.kind is Kind.PTR:
                # Qualifiers met so far are the pointer's own: "char *const name".
                inner = "*" + " ".join([*words, inner] if inner else words)
                words = []
            elif t.kind is Kind.ARRAY:
                inner = f"{_grouped(inner)}[{self.dimension(t)}]"
            elif t.kind is Kind.FUNC_PROTO:
                inner = f"{_grouped(inner)}({self._params(t, depth + 1)})"
            elif t.kind not in (Kind.TYPE_TAG, Kind.VAR, Kind.FUNC):
                break
            type_id = t.type_id
        base = " ".join([*words, self.base(t)])
        return f"{base}{'' if inner[:1] in ('', '[') else ' '}{inner}"

    def base(self, t: Type) -> str:
        # A type's own name with the keyword that C wants before it.
        keywords = {Kind.STRUCT: "struct", Kind.UNION: "union", Kind.ENUM: "enum", Kind.ENUM64: "enum"}
        keyword = ("union" if t.flag else "struct") if t.kind is Kind.FWD else keywords.get(t.kind, "")
        return f"{keyword} {t.name or '{...}'}".strip()

    def dimension(self, array: Type) -> str:
        # BTF does not tell a flexible array from one of no elements.
        return str(array.length or "")

    def _params(self, proto: Type, depth: int) -> str:
        spelled = (self.declare(p.type_id, "", depth) if p.type_id else "..." for p in proto.params)
        return ", ".join(spelled) or "void"


def _grouped(inner: str) -> str:
    return f"({inner})" if inner.startswith("*") else inner


def _split(info: int) -> tuple[Kind, int, bool]:
    return Kind(info >> 24 & _KIND_MASK), info & _VLEN_MASK, bool(info >> 31)


def _sections(data: bytes, order: str) -> tuple[bytes, bytes]:
    # The type section and the string section.
    if len(data) < _HEADER_SIZE:
        raise DecodeError(f"BTF of {len(data)} bytes is shorter than its header of {_HEADER_SIZE}.")
    magic, version, _, header, *places = struct.unpack_from(order + _HEADER, data)
    if magic != _MAGIC or version != 1:
        raise DecodeError(f"These bytes are not BTF version 1: magic {magic:#x}, version {version}.")
    type_off, type_len, str_off, str_len = places
    if max(header + type_off + type_len, header + str_off + str_len) > len(data) or header < _HEADER_SIZE:
        raise DecodeError("The sections that the BTF header names are not inside its bytes.")
    return data[header + type_off :][:type_len], data[header + str_off :][:str_len]


def _find_types(types: bytes, order: str) -> list[int]:
    # Walks the type section from head to head: a type's length follows from its kind and vlen alone.
    tails = {int(kind): tail for kind, tail in TAILS.items() if kind is not Kind.VOID}
    unpack = struct.Struct(order + "I").unpack_from
    starts: list[int] = []
    position, end = 0, len(types)
    while position < end:
        if position + _HEAD_SIZE > end:
            raise DecodeError("The BTF type section ends inside a type.")
        (info,) = unpack(types, position + 4)
        tail = tails.get(info >> 24 & _KIND_MASK)
        if tail is None:
            raise DecodeError(f"BTF type {len(starts) + 1} is of the unknown kind {info >> 24 & _KIND_MASK}.")
        starts.append(position)
        position += _HEAD_SIZE + tail[0] + tail[1] * (info & _VLEN_MASK)
    if position > end:
        raise DecodeError("The BTF type section ends inside a type.")
    return starts


def _rows(words: tuple[int, ...], width: int) -> Iterator[tuple[int, ...]]:
    return zip(*[iter(words)] * width, strict=True)


def _signed(value: int, bits: int, signed: bool) -> int:
    return value - (1 << bits) if signed and value >> (bits - 1) else value
