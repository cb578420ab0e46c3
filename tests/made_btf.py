"""BTF written by hand, for tests that need a type and no compiler; the format is that of the kernel's btf.rst."""

from __future__ import annotations

import struct

from ebpflab.btf import Btf
from ebpflab.decode import RecordType

INT, ARRAY, STRUCT, TYPEDEF = 1, 3, 4, 8


class Types:
    """Collects types; each method returns the id of the one that it adds."""

    def __init__(self, order="<"):
        self._order, self._strings, self._types = order, b"\0", []

    def integer(self, name, size, signed=False):
        return self._add(name, INT << 24, size, int(signed) << 24 | size * 8)

    def array(self, element, length):
        return self._add("", ARRAY << 24, 0, element, element, length)

    def typedef(self, name, target):
        return self._add(name, TYPEDEF << 24, target)

    def struct(self, name, size, *members):
        words = [w for member, type_id, offset in members for w in (self._name(member), type_id, offset * 8)]
        return self._add(name, STRUCT << 24 | len(members), size, *words)

    def btf(self):
        """All types so far."""
        body = b"".join(self._types)
        header = struct.pack(f"{self._order}HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(self._strings))
        return Btf.parse(header + body + self._strings)

    def record(self, type_id):
        """The record type of the type with this id."""
        return RecordType.from_btf(self.btf(), type_id)

    def _name(self, text):
        if not text:
            return 0
        self._strings += text.encode() + b"\0"
        return len(self._strings) - len(text) - 1

    def _add(self, name, *words):
        self._types.append(struct.pack(f"{self._order}{len(words) + 1}I", self._name(name), *words))
        return len(self._types)


def meant(*names, base="u32", order="<"):
    """A record of one value, whose type is the first of these typedefs; the last one stands for *base*."""
    types = Types(order)
    element, _, length = base.partition("[")
    type_id = types.integer("unsigned int" if element[0] == "u" else "int", int(element[1:]) // 8, element[0] == "s")
    if length:
        type_id = types.array(type_id, int(length.rstrip("]")))
    for name in reversed(names):
        type_id = types.typedef(name, type_id)
    return types.record(type_id)
