# One class for each kind of C type that is no struct: `read` gives the Python value of the bytes at a place,
# `write` puts one there or says why it does not fit. `path` is what to call the value then: "value.stats[2]".

from __future__ import annotations

import operator
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from ..btf import Enumerator
from ..errors import MapError
from ..similar import did_you_mean, nearest
from .record import Named

Order = Literal["little", "big"]
_MOST_NAMES = 8  # names of an enum that a hint lists


class Node(Protocol):
    size: int

    def read(self, raw: bytes, at: int) -> Any: ...

    def write(self, into: bytearray, at: int, value: Any, path: str) -> None: ...


def misfit(path: str, value: Any, why: str, hint: str | None = None) -> MapError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:59]}…"
    return MapError(f"{path}: {shown} {why}", hint=hint)


def sequence_of(value: Any) -> Sequence[Any] | None:
    # Lists, tuples and arrays; text and bytes are single values here.
    if hasattr(value, "tolist"):
        value = value.tolist()
    return value if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)) else None


def nested(value: Mapping[Any, Any]) -> dict[Any, Any]:
    # The columns "a.b" and "a[1]" of frames are members of a: {"a": {"b": ...}}, {"a": {"[1]": ...}}.
    found: dict[Any, Any] = {}
    for name, item in value.items():
        head, rest = _split(name) if isinstance(name, str) else (name, "")
        if rest:
            found.setdefault(head, {})[rest] = item
        else:
            found[head] = item
    return found


def _split(name: str) -> tuple[str, str]:
    for at, letter in enumerate(name):
        if letter in ".[" and at:
            return name[:at], name[at:].removeprefix(".")
    return name, ""


class IntegerNode:
    def __init__(self, c_type: str, size: int, *, signed: bool, order: Order = sys.byteorder) -> None:
        self.c_type, self.size = c_type, size
        self.order, self._signed = order, signed

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"{'<' if self.order == 'little' else '>'}{'i' if self._signed else 'u'}{self.size}")

    def read(self, raw: bytes, at: int) -> int:
        return int.from_bytes(raw[at : at + self.size], self.order, signed=self._signed)

    def write(self, into: bytearray, at: int, value: Any, path: str) -> None:
        into[at : at + self.size] = self.bytes_of(value, path)

    def bytes_of(self, value: Any, path: str) -> bytes:
        number = as_integer(value, path, self.c_type)
        try:
            return number.to_bytes(self.size, self.order, signed=self._signed)
        except OverflowError:
            raise misfit(path, number, f"does not fit into {self.c_type}", self._range()) from None

    def _range(self) -> str:
        bits = 8 * self.size
        low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if self._signed else (0, (1 << bits) - 1)
        return f"give a number from {low:,} to {high:,}"


def as_integer(value: Any, path: str, c_type: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        hint = "in C only int() of it would be kept" if isinstance(value, float) else f"give a number: it is {c_type}"
        raise misfit(path, value, f"is no integer, as {c_type} wants", hint) from None


class BoolNode:
    size = 1

    def __init__(self, c_type: str) -> None:
        self.c_type = c_type

    def read(self, raw: bytes, at: int) -> bool:
        return raw[at] != 0

    def write(self, into: bytearray, at: int, value: Any, path: str) -> None:
        if isinstance(value, str) or value not in (0, 1):
            raise misfit(path, value, f"is no {self.c_type}", "give True or False")
        into[at] = bool(value)


class FloatNode:
    def __init__(self, c_type: str, size: int, order: Order) -> None:
        self.c_type, self.size = c_type, size
        self._struct = struct.Struct(("<" if order == "little" else ">") + {2: "e", 4: "f", 8: "d"}[size])

    def read(self, raw: bytes, at: int) -> float:
        return float(self._struct.unpack_from(raw, at)[0])

    def write(self, into: bytearray, at: int, value: Any, path: str) -> None:
        try:
            self._struct.pack_into(into, at, value)
        except (struct.error, OverflowError, TypeError):
            raise misfit(path, value, f"does not fit into {self.c_type}", "give a number") from None


class EnumNode:
    def __init__(self, number: IntegerNode, names: Sequence[Enumerator]) -> None:
        self.size, self._number = number.size, number
        # Old compilers write -1 as 4294967295: an enumerator's own bytes say what its value is here.
        mask = (1 << 8 * self.size) - 1
        order = number.order
        values = [(n.name, number.read((n.value & mask).to_bytes(self.size, order), 0)) for n in names]
        self._values = dict(values)
        self._names: dict[int, str] = {}
        for name, value in values:
            self._names.setdefault(value, name)  # of two names for a number, the first

    def read(self, raw: bytes, at: int) -> int:
        value = self._number.read(raw, at)
        return Named(value, self._names[value]) if value in self._names else value

    def write(self, into: bytearray, at: int, value: Any, path: str) -> None:
        if isinstance(value, str):
            if value not in self._values:
                listed = ", ".join(list(self._values)[:_MOST_NAMES])
                hint = did_you_mean(nearest(value, self._values)) or f"names are {listed}"
                raise misfit(path, value, f"is no name of {self._number.c_type}", hint)
            value = self._values[value]
        self._number.write(into, at, value, path)


class TextNode:
    def __init__(self, size: int) -> None:
        self.size = size

    def read(self, raw: bytes, at: int) -> str:
        return raw[at : at + self.size].split(b"\0")[0].decode("utf-8", "replace")

    def write(self, into: bytearray, at: int, value: Any, path: str) -> None:
        if not isinstance(value, (str, bytes)):  # bytes(3) would be three NULs
            raise misfit(path, value, f"is no text, as char[{self.size}] wants", f"give it in quotes: '{value}'")
        data = value.encode() if isinstance(value, str) else value
        if len(data) > self.size:
            raise misfit(path, value, f"has {len(data)} bytes and does not fit into char[{self.size}]", "shorten it")
        into[at : at + self.size] = data.ljust(self.size, b"\0")


class OctetsNode:
    def __init__(self, size: int) -> None:
        self.size = size

    def read(self, raw: bytes, at: int) -> bytes:
        return bytes(raw[at : at + self.size])

    def write(self, into: bytearray, at: int, value: Any, path: str) -> None:
        hint = f"give bytes of that length, as in bytes({self.size})"
        try:
            whole = isinstance(value, (bytes, bytearray, memoryview))
            data = bytes(value if whole else sequence_of(value) or ())
        except (TypeError, ValueError):
            raise misfit(path, value, f"is not {self.size} bytes", hint) from None
        if len(data) != self.size:
            raise misfit(path, value, f"is not {self.size} bytes", hint)
        into[at : at + self.size] = data


class ArrayNode:
    def __init__(self, c_type: str, element: Node, length: int) -> None:
        self.c_type, self.size = c_type, element.size * length
        self.element, self.length = element, length

    def read(self, raw: bytes, at: int) -> tuple[Any, ...]:
        read, step = self.element.read, self.element.size
        return tuple(read(raw, at + i * step) for i in range(self.length))

    def write(self, into: bytearray, at: int, value: Any, path: str) -> None:
        for i, item in self._elements(value, path):
            if not 0 <= i < self.length:
                raise misfit(path, i, f"is outside of {self.c_type}", f"indexes go from 0 to {self.length - 1}")
            self.element.write(into, at + i * self.element.size, item, f"{path}[{i}]")

    def _elements(self, value: Any, path: str) -> list[tuple[int, Any]]:
        if isinstance(value, Mapping):
            return [(as_integer(_index(i), path, "an index"), item) for i, item in nested(value).items()]
        given = sequence_of(value)
        if given is None or len(given) != self.length:
            raise misfit(path, value, f"is not {self.c_type}", f"give a sequence of {self.length}, or {{index: value}}")
        return list(enumerate(given))


def _index(name: Any) -> Any:
    # Columns of frames call an element "[3]".
    return int(name[1:-1]) if isinstance(name, str) and name[:1] == "[" and name[1:-1].isdigit() else name


class BitsNode:
    # A bitfield: `shift` counts from the lowest bit of its first byte, in big endian from the highest.
    def __init__(self, whole: Node, shift: int, bits: int, *, signed: bool, order: Order) -> None:
        self.size = (shift + bits + 7) // 8
        self._whole, self._bits, self._signed, self._order = whole, bits, signed, order
        self._shift = shift if order == "little" else 8 * self.size - shift - bits
        self._mask = ((1 << bits) - 1) << self._shift

    def read(self, raw: bytes, at: int) -> Any:
        word = int.from_bytes(raw[at : at + self.size], self._order)
        value = (word & self._mask) >> self._shift
        if self._signed and value >> (self._bits - 1):
            value -= 1 << self._bits
        mask = (1 << 8 * self._whole.size) - 1
        return self._whole.read((value & mask).to_bytes(self._whole.size, self._order), 0)

    def write(self, into: bytearray, at: int, value: Any, path: str) -> None:
        field = bytearray(self._whole.size)
        self._whole.write(field, 0, value, path)
        number = int.from_bytes(field, self._order, signed=self._signed)
        low = -(1 << (self._bits - 1)) if self._signed else 0
        high = low + (1 << self._bits) - 1
        if not low <= number <= high:
            raise misfit(path, value, f"does not fit into {self._bits} bits", f"give a number from {low} to {high}")
        word = int.from_bytes(into[at : at + self.size], self._order)
        word = word & ~self._mask | number << self._shift & self._mask
        into[at : at + self.size] = word.to_bytes(self.size, self._order)
