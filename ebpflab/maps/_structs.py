# A struct or union: its fields by name and place, read into a Record and written from whatever has them.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..similar import did_you_mean, nearest
from ._values import BitsNode, Node, misfit, nested, sequence_of
from .record import record_class


class Field(NamedTuple):
    name: str
    at: int
    node: Node


class StructNode:
    def __init__(self, c_type: str, size: int, fields: tuple[Field, ...]) -> None:
        self.c_type, self.size, self.fields = c_type, size, fields
        self._by_name = {field.name: field for field in fields}
        self._class = record_class(_bare(c_type), tuple(self._by_name))
        self._overlaps = _overlap([f for f in fields if not isinstance(f.node, BitsNode)])

    def read(self, raw: bytes, at: int) -> Any:
        return self._class(field.node.read(raw, at + field.at) for field in self._by_name.values())

    def write(self, into: bytearray, at: int, value: Any, path: str) -> None:
        if isinstance(value, (bytes, bytearray)) and len(value) == self.size:
            into[at : at + self.size] = value
            return
        given = [(field, item) for field, item in self._given(value, path)]
        for field, item in given:
            field.node.write(into, at + field.at, item, f"{path}.{field.name}")
        if self._overlaps:
            self._check_members(bytes(into[at : at + self.size]), given, value, path)

    def _given(self, value: Any, path: str) -> list[tuple[Field, Any]]:
        named = _named(value)
        if named is None:
            items = sequence_of(value)
            if items is None and len(self._by_name) == 1:
                items = [value]  # a struct of one field is as good as the field
            if items is None or len(items) != len(self._by_name):
                wanted = f"give {', '.join(self._by_name)} as a dict or a tuple; what a dict leaves out is 0"
                raise misfit(path, value, f"is not {self.c_type}", wanted)
            return list(zip(self._by_name.values(), items, strict=True))
        unknown = [name for name in named if name not in self._by_name]
        if unknown:
            hint = did_you_mean(nearest(str(unknown[0]), self._by_name)) or f"fields are {', '.join(self._by_name)}"
            raise misfit(path, unknown[0], f"is no field of {self.c_type}", hint)
        return [(self._by_name[name], item) for name, item in named.items()]

    def _check_members(self, raw: bytes, given: list[tuple[Field, Any]], value: Any, path: str) -> None:
        # Members of a union share their bytes: what was written last must not have changed what came before.
        for field, item in given:
            if isinstance(field.node, BitsNode):
                continue
            alone = bytearray(field.node.size)
            field.node.write(alone, 0, item, path)
            if raw[field.at : field.at + field.node.size] != alone:
                raise misfit(path, value, "gives members of a union that contradict each other", "give one of them")


def _overlap(fields: list[Field]) -> bool:
    ends = 0
    for field in sorted(fields, key=lambda f: f.at):
        if field.at < ends:
            return True
        ends = field.at + field.node.size
    return False


def _named(value: Any) -> dict[Any, Any] | None:
    # Fields by name, from a dict, a Record, a row of a frame or a structured array; None if it has no names.
    if hasattr(value, "_asdict"):
        value = value._asdict()
    elif getattr(getattr(value, "dtype", None), "names", None):
        value = {name: value[name] for name in value.dtype.names}
    return nested(value) if isinstance(value, Mapping) else None


def _bare(c_type: str) -> str:
    bare = c_type.removeprefix("struct ").removeprefix("union ")
    return bare if bare.isidentifier() else "record"
