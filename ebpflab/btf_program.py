"""What the BTF of a program says of the program: its maps, the variables in its sections, its structs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .btf import Kind, Variable

if TYPE_CHECKING:
    from .btf import Btf, Type


class MapDefinition(NamedTuple):
    """A map as its C definition in ``.maps`` has it; what the definition leaves out is None.

    ``type`` is the kernel's ``BPF_MAP_TYPE_*`` number; ``inner`` is the definition of the maps that a map holds.
    """

    name: str
    type: int | None
    max_entries: int | None
    key_type_id: int | None
    value_type_id: int | None
    inner: MapDefinition | None = None


def map_definitions(btf: Btf) -> dict[str, MapDefinition]:
    """Return the maps that a program defines in libbpf's way, by name, in the order of the definition.

    ``__uint(max_entries, 64)`` is a member that points to an array of 64, ``__type(value, T)`` one that
    points to a T (libbpf's ``bpf_helpers.h``).

    >>> map_definitions(btf)["events"].value_type_id
    12
    """
    return {name: _map_definition(btf, name, type_id) for name, type_id, _, _ in variables(btf, ".maps")}


def _map_definition(btf: Btf, name: str, type_id: int) -> MapDefinition:
    members = [(m.name, btf.strip(m.type_id)) for m in btf.strip(type_id).members]
    targets = {key: t.type_id for key, t in members if t.kind is Kind.PTR}
    arrays = {key: btf.strip(target) for key, target in targets.items()}
    numbers = {key: array.length for key, array in arrays.items() if array.kind is Kind.ARRAY}
    # `__array(values, struct inner)` is an array of pointers: to maps, or in a prog array to functions.
    held = next((btf.strip(t.type_id) for key, t in members if key == "values" and t.kind is Kind.ARRAY), None)
    inner = btf.strip(held.type_id) if held is not None and held.kind is Kind.PTR else None
    return MapDefinition(
        name,
        numbers.get("type"),
        numbers.get("max_entries"),
        targets.get("key"),
        targets.get("value"),
        _map_definition(btf, name, inner.id) if inner is not None and inner.kind is Kind.STRUCT else None,
    )


def structs(btf: Btf) -> list[Type]:
    """Return every struct that has a name, in the order of the BTF."""
    return [t for t in btf.of_kind(Kind.STRUCT) if t.name]


def variables(btf: Btf, section: str) -> list[Variable]:
    """Return the variables of a section such as ``.data``; empty if the BTF does not have the section.

    In an object file as clang writes it the offsets are still 0, for the loader to fill in; the BTF that
    libbpf hands out after opening the object has them.
    """
    found = btf.find(section, Kind.DATASEC)
    if found is None:
        return []
    return [Variable(v.name, btf[v.type_id].type_id, v.offset, v.size) for v in found.variables]
