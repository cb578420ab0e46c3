"""Entries of a map as a DataFrame: key columns, then value columns, typed as those of streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _bpfmaps
from ..decode import Column, RecordType, to_frame
from ..errors import MapError
from ..shown import to_pandas
from ._entries import Entries
from .addresses import PrefixNode
from .codec import Codec
from .facts import Facts
from .record import Named

if TYPE_CHECKING:
    import pandas as pd

    from ..rules import Lookup

Bytes = NDArray[np.uint8]
_SUMMED = ("number", "list", "duration")  # kinds of columns that add up over CPUs


def frame(facts: Facts, entries: Entries, *, per_cpu: bool = False, lookup: Lookup | None = None) -> pd.DataFrame:
    """Return the entries of a map as a frame.

    Parameters
    ----------
    facts
        The map.
    entries
        What was read from it.
    per_cpu
        For a per-CPU map: a row for each CPU instead of sums.
    lookup
        What numbers stand for: stacks and symbols.
    """
    import pandas as pd

    assert facts.key is not None
    assert facts.value is not None
    keys, values = entries.keys, entries.values
    cpus: dict[str, Any] = {}
    if facts.type.per_cpu and per_cpu:
        cpus = {"cpu": np.tile(np.array(_bpfmaps.possible_cpus(), np.uint16), len(keys))}
        keys = np.repeat(keys, facts.cpus, axis=0)
        shown = _columns(facts.value.record, spread(facts, values), entries.clock_offset_ns, lookup)
    elif facts.type.per_cpu:
        shown = _summed(facts, values, entries.clock_offset_ns)
    else:
        shown = _columns(facts.value.record, values, entries.clock_offset_ns, lookup)
    hidden = tuple(f"{name}." for name in facts.hidden)
    shown = {name: column for name, column in shown.items() if not name.startswith(hidden)} if hidden else shown
    columns = named(key_columns(facts.key, keys, entries.clock_offset_ns, lookup), cpus, shown)
    return pd.DataFrame(columns, index=pd.RangeIndex(len(keys)), copy=False)


def named(keys: dict[str, Any], cpus: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Put columns side by side; a name that a key and a value both have becomes ``key.x`` and ``value.x``."""
    both = (keys.keys() | cpus.keys()) & values.keys()
    found = {f"key.{name}" if name in both else name: column for name, column in keys.items()} | cpus
    return found | {f"value.{name}" if name in both else name: column for name, column in values.items()}


def key_columns(key: Codec, raw: Bytes, clock_offset_ns: int = 0, lookup: Lookup | None = None) -> dict[str, Any]:
    """Return the columns of keys; a key that is no struct is called ``key``."""
    if isinstance(key.node, PrefixNode):
        import pandas as pd

        return {"key": pd.array([key.decode(row.tobytes()) for row in raw], dtype="str")}
    columns = _columns(key.record, raw, clock_offset_ns, lookup)
    return {key_name(key, name): column for name, column in columns.items()}


def key_width(key: Codec) -> int:
    """Return how many columns a key has."""
    return 1 if isinstance(key.node, PrefixNode) else len(key.record.columns)


def key_name(key: Codec, name: str) -> str:
    """Return what a column of the key's record type is called in frames of the map."""
    is_struct = key.record.dtype.names is not None
    return name if is_struct else f"key{name.removeprefix('value')}"


def rows(facts: Facts, frame: pd.DataFrame) -> Iterator[tuple[Any, Any]]:
    """Return the entries that the rows of a frame are; raises MapError if it lacks columns of the key."""
    assert facts.key is not None
    assert facts.value is not None
    is_prefix = isinstance(facts.key.node, PrefixNode)
    keys = ["key"] if is_prefix else [key_name(facts.key, c.name) for c in facts.key.record.columns]
    values = [c.name for c in facts.value.record.columns]
    both = set(keys) & set(values)
    key_columns = {column: f"key.{column}" if column in both else column for column in keys}
    value_columns = {column: f"value.{column}" if column in both else column for column in values}
    known = {*key_columns.values(), *value_columns.values()}
    missing = [c for c in key_columns.values() if c not in frame.columns]
    missing += [str(c) for c in frame.columns if c not in known]
    if missing or not known & set(frame.columns) - set(key_columns.values()):
        raise MapError(
            f"{facts.name}: the columns {', '.join(map(str, frame.columns))} are no entries of this map",
            hint=f"its columns are {', '.join([*key_columns.values(), *value_columns.values()])}",
        )
    plain = {str(column): frame[column].astype(object).tolist() for column in frame.columns}
    for row in range(len(frame)):
        parts = (
            {own: plain[column][row] for own, column in names.items() if column in plain}
            for names in (key_columns, value_columns)
        )
        key, value = (_single(part) for part in parts)
        yield key, value


def _single(named: dict[str, Any]) -> Any:
    # What is no struct has one column, or one for each element of an array.
    if len(named) == 1 and next(iter(named)) in ("key", "value"):
        return next(iter(named.values()))
    if all(name.startswith(("key[", "value[")) for name in named):
        return {name.removeprefix("key").removeprefix("value"): item for name, item in named.items()}
    return named


def spread(facts: Facts, values: Bytes) -> Bytes:
    """Return the values of all CPUs one after another: (entries * CPUs, bytes of one value)."""
    assert facts.value is not None
    each = values.reshape(len(values) * facts.cpus, facts.stride // facts.cpus)
    return np.ascontiguousarray(each[:, : facts.value.size])


def _columns(record: RecordType, raw: Bytes, clock_offset_ns: int, lookup: Lookup | None) -> dict[str, Any]:
    shown = to_frame(record, [(raw, clock_offset_ns)], lookup)
    return {name: shown[name].array for name in shown.columns}


def _summed(facts: Facts, values: Bytes, clock_offset_ns: int) -> dict[str, Any]:
    # Numbers are added; of anything else the first CPU's that is not all zero is taken.
    assert facts.value is not None
    record = facts.value.record
    raw = spread(facts, values)
    decoded = record.decode(raw, clock_offset_ns)
    by_cpu = raw.reshape(len(values), facts.cpus, record.size)
    return {c.name: to_pandas(c.rule.present(_over_cpus(c, decoded[c.name], by_cpu))) for c in record.columns}


def _over_cpus(column: Column, decoded: NDArray[Any], by_cpu: Bytes) -> NDArray[Any]:
    rows, cpus = by_cpu.shape[:2]
    each = decoded.reshape(rows, cpus, *decoded.shape[1:])
    if column.kind in _SUMMED and each.dtype.kind != "b":
        total: NDArray[Any] = each.sum(axis=1)  # narrow integers become 64 bits wide
        return total
    used = by_cpu[:, :, column.offset : column.offset + column.size].any(axis=2)
    return np.ascontiguousarray(each[np.arange(rows), used.argmax(axis=1)])


def total(values: Iterable[Any]) -> Any:
    """Add up Python values of several CPUs as frames do: numbers by number, fields by field."""
    listed = list(values)
    first = listed[0]
    if isinstance(first, tuple):
        parts = (total(parts) for parts in zip(*listed, strict=True))
        return type(first)(parts)
    if type(first) in (int, float) and not any(isinstance(value, Named) for value in listed):
        return sum(listed)
    return next((value for value in listed if value), first)
