"""Keys, values and variables between C's bytes and Python's values, by their BTF type.

=====================  ==================================  ==========================================
C                      read                                also accepted when written
=====================  ==================================  ==========================================
integer, pointer       int                                 whatever is an integer to Python (numpy)
``bool``, float        bool, float                         0 and 1; any number
enum                   int that knows its name             the name
``char[N]``            str, up to the first NUL            bytes
``unsigned char[N]``   bytes                               a sequence of N numbers
``ipv4_t`` and such    str: "10.0.0.1"                     the bytes
``port_t``             int, of network byte order          whatever is an integer to Python
array                  tuple                               any sequence, or some elements: ``{0: 7}``
struct, union          :class:`Record`                     dict, tuple; left out fields are 0, as in C
=====================  ==================================  ==========================================

``ktime_t`` and ``duration_t`` are the numbers of nanoseconds that they are in C; frames make times of them.
Bytes of the exact size are taken for anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import rules
from ..btf import Btf, Kind, Type
from ..decode import Column, RecordType
from ..errors import DecodeError
from ._structs import Field, StructNode
from ._values import ArrayNode, BitsNode, BoolNode, EnumNode, FloatNode, IntegerNode, Node, OctetsNode, TextNode
from .addresses import AddressNode

_MAX_DEPTH = 64  # structs within structs


@dataclass(frozen=True)
class Codec:
    """How the bytes of one C type become a Python value, and back.

    Attributes
    ----------
    c_type
        As C has it: ``struct event``.
    size
        In bytes.
    record
        The same type as columns of a frame.
    node
        What converts.
    """

    c_type: str
    size: int
    record: RecordType
    node: Node

    @property
    def padding(self) -> int:
        """Bytes that belong to no field, which the compiler put in or the cell left unnamed."""
        used = np.zeros(self.size, np.bool_)
        for column in self.record.columns:
            used[column.offset : column.offset + column.size] = True
        return self.size - int(used.sum())

    def decode(self, raw: bytes) -> Any:
        """Return the value of `size` bytes."""
        return self.node.read(raw, 0)

    def encode(self, value: Any, what: str) -> bytes:
        """Return the bytes of a value; padding is zero.

        Parameters
        ----------
        value
            Anything that the table of this module names.
        what
            What to call it in an error: ``key``.

        Raises
        ------
        MapError
            The value does not fit the type.
        """
        if isinstance(value, bytes) and len(value) == self.size:
            return value
        raw = bytearray(self.size)
        self.node.write(raw, 0, value, what)
        return bytes(raw)


def typed(btf: Btf, type_id: int) -> Codec:
    """Return the codec of a type.

    Raises
    ------
    DecodeError
        No value can have this type, or BTF contradicts itself about it.
    """
    record = RecordType.from_btf(btf, type_id)
    return Codec(record.name, record.size, record, _node(btf, type_id, 0))


def sized(size: int) -> Codec:
    """Return the codec of `size` bytes of unknown type."""
    column = Column("value", f"unsigned char[{size}]", 0, size, rules.octets(size))
    record = RecordType(f"{size} bytes", size, np.dtype((np.uint8, (size,))), (column,))
    return Codec(record.name, size, record, OctetsNode(size))


def integer(size: int) -> Codec:
    """Return the codec of an unsigned integer in the machine's byte order."""
    dtype = np.dtype(f"u{size}")
    name = f"__u{8 * size}"
    record = RecordType(name, size, dtype, (Column("value", name, 0, size, rules.number(dtype)),))
    return Codec(name, size, record, IntegerNode(name, size, signed=False))


def _node(btf: Btf, type_id: int, depth: int) -> Node:
    if depth > _MAX_DEPTH:
        raise DecodeError(f"Type id {type_id} contains itself, or is nested too deeply.")
    core = btf.strip(type_id)
    meant = _meant(btf, type_id)
    if meant is not None:
        return meant
    if core.kind in (Kind.STRUCT, Kind.UNION):
        return StructNode(btf.c_type(core.id), core.size, _fields(btf, core, 0, depth))
    if core.kind is Kind.ARRAY:
        return _array(btf, core, depth)
    return _scalar(btf, core, btf.c_type(type_id))


def _meant(btf: Btf, type_id: int) -> Node | None:
    # What the name of a type says about its bytes: addresses are text, ports are in network byte order. Other
    # meanings (times, names of errors) are for frames; a number stays a number here.
    chain = btf.chain(type_id)
    if not any(t.name in rules.MEANINGS or f"struct {t.name}" in rules.MEANINGS for t in chain if t.name):
        return None
    columns = RecordType.from_btf(btf, type_id).columns
    if len(columns) != 1 or columns[0].rule.reference is not None:
        return None
    if columns[0].kind == "address":
        return AddressNode(btf.c_type(type_id), columns[0].size)
    if columns[0].kind == "port":
        return IntegerNode(btf.c_type(type_id), columns[0].size, signed=False, order="big")
    return None


def _scalar(btf: Btf, core: Type, c_type: str) -> Node:
    size, order = btf.sizeof(core.id), btf.byteorder
    if core.kind in (Kind.ENUM, Kind.ENUM64):
        return EnumNode(IntegerNode(c_type, size, signed=core.signed, order=order), core.values)
    if core.kind is Kind.FLOAT:
        return FloatNode(c_type, size, order) if size in (2, 4, 8) else OctetsNode(size)
    if core.boolean and size == 1:
        return BoolNode(c_type)
    return IntegerNode(c_type, size, signed=core.signed, order=order)


def _array(btf: Btf, core: Type, depth: int) -> Node:
    element = btf.strip(core.type_id)
    if element.kind is Kind.INT and element.size == 1 and not element.boolean:
        if element.name == "char":
            return TextNode(core.length)
        if not element.signed:
            return OctetsNode(core.length)
    return ArrayNode(btf.c_type(core.id), _node(btf, core.type_id, depth + 1), core.length)


def _fields(btf: Btf, core: Type, base: int, depth: int) -> tuple[Field, ...]:
    # The members of a struct at byte `base`; those of anonymous structs and unions count as its own.
    found: list[Field] = []
    for member in core.members:
        bit, bits = btf.bit_range(member)
        at = base + bit // 8
        inner = btf.strip(member.type_id)
        if bits:
            if member.name:
                found.append(Field(member.name, at, _bits(btf, member.type_id, bit % 8, bits)))
        elif not member.name and inner.kind in (Kind.STRUCT, Kind.UNION):
            found += _fields(btf, inner, at, depth + 1)
        elif member.name and btf.sizeof(member.type_id):  # not a flexible array
            found.append(Field(member.name, at, _node(btf, member.type_id, depth + 1)))
    return tuple(found)


def _bits(btf: Btf, type_id: int, shift: int, bits: int) -> Node:
    core = btf.strip(type_id)
    whole = _scalar(btf, core, f"{btf.c_type(type_id)}:{bits}")
    return BitsNode(whole, shift, bits, signed=core.signed, order=btf.byteorder)
