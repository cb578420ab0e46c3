"""Maps of log2 slots: found, read, printed and drawn.

Slot i counts values from 2^i to 2^(i+1) - 1, and slot 0 also those that are 0: the convention of libbpf-tools
(``print_log2_hist()`` in trace_helpers.c there). BCC's ``bpf_log2l()`` counts from 1 on, and a BCC histogram can count
plain numbers; where several histograms are in one hash, the slot is the last member of the key (``print_log2_hist()``
and ``print_linear_hist()`` in bcc's table.py). The definition of such a map says so by the type of its values
(ebpflab/bcc/headers/prelude.h).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MapError
from ..plots import style
from . import table
from ._entries import Entries
from ._structs import StructNode
from ._values import ArrayNode, IntegerNode, Node
from .facts import Facts

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MOST_SLOTS = 64  # a 64-bit value has no more
_NAMED = re.compile(r"(^|_)(slots?|hists?|histograms?|dist|buckets)(_|$)", re.IGNORECASE)
MOST_NUMBERS = 1025  # of a histogram of plain numbers, as in BCC's linear_index_max
# BCC's types of values, and the slot of the values 0 and 1.
_BCC = {"bcc_log2_t": 1, "bcc_log2_floor_t": 0, "bcc_linear_t": 0}
_LINEAR = "bcc_linear_t"
_NUMBERED = 24  # bars that have room for their number
_WIDEST = 40  # characters of a bar of text
_UNITS = ("", "K", "M", "G", "T", "P", "E")


@dataclass(frozen=True)
class Slots:
    """Where the counts are: from `offset` in a value `count` integers of dtype; `keyed` if each entry has its own.

    `first` is the slot of the values 0 and 1, and `in_key` the bytes of the key that hold the slot, as a slice with the
    type of the number, where each entry is one count. In a `linear` histogram slot i counts the number i.
    """

    offset: int
    count: int
    dtype: np.dtype[Any]
    keyed: bool
    first: int = 0
    in_key: tuple[slice, np.dtype[Any]] | None = None
    linear: bool = False


def find(facts: Facts) -> Slots | None:
    """Return where a map has log2 slots, or None if it does not look like a histogram."""
    if facts.value is None or facts.key is None:
        return None
    node = facts.value.node
    if facts.value.c_type in _BCC and isinstance(node, IntegerNode):
        return _of_bcc(facts, node, facts.value.c_type)
    named = bool(_NAMED.search(facts.name))
    if isinstance(node, StructNode):
        found = [f for f in node.fields if _NAMED.search(f.name) and _is_slots(f.node)]
        return _slots(found[0].node, found[0].at) if len(found) == 1 else None
    if isinstance(node, ArrayNode):
        return _slots(node, 0) if named and _is_slots(node) else None
    if isinstance(node, IntegerNode) and named and facts.type.full and 2 <= facts.max_entries <= MOST_SLOTS:
        return Slots(0, facts.max_entries, facts.value.record.dtype, keyed=False)
    return None


def _of_bcc(facts: Facts, value: IntegerNode, kind: str) -> Slots | None:
    first, linear = _BCC[kind], kind == _LINEAR
    most = MOST_NUMBERS if linear else MOST_SLOTS + first
    if facts.type.full:
        if linear and facts.max_entries > most:
            return None
        return Slots(0, min(facts.max_entries, most), value.dtype, keyed=False, first=first, linear=linear)
    assert facts.key is not None
    key, at = facts.key.node, 0
    if isinstance(key, StructNode):
        last = [field for field in key.fields if not field.name.startswith("__pad")][-1]
        key, at = last.node, last.at
    if not isinstance(key, IntegerNode):
        return None
    in_key = (slice(at, at + key.size), key.dtype)
    keyed = isinstance(facts.key.node, StructNode)
    return Slots(0, most, value.dtype, keyed=keyed, first=first, in_key=in_key, linear=linear)


def _is_slots(node: Node) -> bool:
    if not (isinstance(node, ArrayNode) and isinstance(node.element, IntegerNode)):
        return False
    return node.element.size <= 8 and 2 <= node.length <= MOST_SLOTS


def _slots(node: Node, offset: int) -> Slots:
    assert isinstance(node, ArrayNode)
    assert isinstance(node.element, IntegerNode)
    return Slots(offset, node.length, node.element.dtype, keyed=True)


def counts(facts: Facts, entries: Entries) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
    """Return raw keys and counts, (histograms, slots), of all CPUs together; raises MapError if it is no histogram."""
    slots = find(facts)
    if slots is None:
        raise _no_histogram(facts)
    values = table.spread(facts, entries.values) if facts.type.per_cpu else entries.values
    if slots.in_key is not None:
        return _by_slot(facts, entries.keys, values, slots)
    width = slots.count if slots.keyed else 1
    part = np.ascontiguousarray(values[:, slots.offset : slots.offset + width * slots.dtype.itemsize])
    each = part.view(slots.dtype).reshape(len(entries.keys), facts.cpus, width).sum(axis=1, dtype=np.uint64)
    if not slots.keyed:
        return entries.keys[:1], each.reshape(1, -1)[:, slots.first : slots.count]
    return entries.keys, each[:, slots.first :]


def _by_slot(
    facts: Facts, keys: NDArray[np.uint8], values: NDArray[np.uint8], slots: Slots
) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
    # Each entry is one count: entries whose keys are alike but for the slot are one histogram.
    assert slots.in_key is not None
    where, dtype = slots.in_key
    numbers = np.ascontiguousarray(keys[:, where]).view(dtype).reshape(-1).astype(np.int64)
    width = slots.dtype.itemsize
    each = np.ascontiguousarray(values[:, : width * facts.cpus]).view(slots.dtype).reshape(-1, facts.cpus).sum(axis=1)
    rest = keys.copy()
    rest[:, where] = 0
    own, group = np.unique(rest, axis=0, return_inverse=True) if len(rest) else (rest, np.zeros(0, np.int64))
    found = np.zeros((len(own), slots.count), np.uint64)
    fits = (numbers >= 0) & (numbers < slots.count)
    if slots.linear and not fits.all():
        what = f"{facts.name} counts {int(numbers[~fits][0])}: a histogram of numbers has slots 0 to {slots.count - 1}"
        raise MapError(what, hint="count x / 10, or powers of two: bpf_log2l(x); df() has the plain entries")
    np.add.at(found, (group.reshape(-1)[fits], numbers[fits]), each[fits].astype(np.uint64))
    return own, found[:, slots.first :]


def _no_histogram(facts: Facts) -> MapError:
    what = f"{facts.name} is no histogram of log2 slots: its values are {facts.value.c_type if facts.value else 'none'}"
    hint = (
        "give the value a member such as __u32 slots[27], or call an array map of integers hist; "
        "df() has the plain entries"
    )
    return MapError(what, hint=hint)


def bounds(slots: Slots) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the lowest and the highest value of each slot."""
    numbers = np.arange(slots.count - slots.first, dtype=np.uint64)
    if slots.linear:
        return numbers, numbers
    low = np.uint64(1) << numbers
    high = low + (low - np.uint64(1))
    low[0] = 0
    return low, high


def frame(facts: Facts, entries: Entries) -> pd.DataFrame:
    """Return a row for each slot up to the last that is used: the key's columns, low, high, count."""
    import pandas as pd

    keys, found = counts(facts, entries)
    slots = find(facts)
    assert slots is not None
    assert facts.key is not None
    used = [_last_used(row) + 1 for row in found]
    low, high = bounds(slots)
    own = {
        "low": np.concatenate([low[:n] for n in used] or [low[:0]]),
        "high": np.concatenate([high[:n] for n in used] or [high[:0]]),
        "count": np.concatenate([row[:n] for row, n in zip(found, used, strict=True)] or [low[:0]]),
    }
    by_key = table.key_columns(facts.key, np.repeat(keys, used, axis=0)) if slots.keyed and not _single(facts) else {}
    if slots.in_key is not None:
        by_key = dict(list(by_key.items())[:-1])
    return pd.DataFrame(table.named(by_key, {}, own))


def _single(facts: Facts) -> bool:
    return facts.type.full and facts.max_entries == 1


def _last_used(row: NDArray[np.uint64]) -> int:
    (used,) = np.nonzero(row)
    return int(used[-1]) if len(used) else -1


def lines(facts: Facts, entries: Entries, most: int) -> list[str]:
    """Return the histograms as text, at most that many of them, each under its key."""
    keys, found = counts(facts, entries)
    slots = find(facts)
    assert slots is not None
    shown: list[str] = []
    for key, row in list(zip(keys, found, strict=True))[:most]:
        if slots.keyed and not _single(facts) and facts.key is not None:
            shown.append(f"{_label(facts, slots, key)}:")
        shown += _bars(row, linear=slots.linear)
    if len(found) > most:
        shown.append(f"... and {len(found) - most} more")
    return shown


def _label(facts: Facts, slots: Slots, key: NDArray[np.uint8]) -> str:
    assert facts.key is not None
    value = facts.key.decode(key.tobytes())
    if slots.in_key is None:
        return repr(value)
    *others, _ = (getattr(value, field.name) for field in facts.key.node.fields)  # type: ignore[attr-defined]
    return ", ".join(map(repr, others))


def _bars(row: NDArray[np.uint64], *, linear: bool) -> list[str]:
    (used,) = np.nonzero(row)
    if not len(used):
        return ["(empty)"]
    most, shown = int(row.max()), []
    for i in range(int(used[0]), int(used[-1]) + 1):
        count = int(row[i])
        bar = "@" * (count * _WIDEST // most)
        shown.append(f"{str(i) if linear else label(i):<14} {count:>10} |{bar:<{_WIDEST}}|")
    return shown


def label(slot: int) -> str:
    """Return a slot as bpftrace shows it: ``[1K, 2K)``; the first is ``[0, 1]``."""
    return f"[{short(1 << slot)}, {short(2 << slot)})" if slot else "[0, 1]"


def short(power: int) -> str:
    """Return a power of two as people read it: 512, 1K, 2M."""
    step = (power.bit_length() - 1) // 10
    return f"{power >> 10 * step}{_UNITS[step]}" if step < len(_UNITS) else f"{power:.3g}"


def whole_key(facts: Facts, key: Any) -> Any:
    """Return the key of an entry for what the user says of a histogram, who need not give the slot in the key.

    Where the key has one field besides the slot, that field alone is enough: ``"bash"`` or ``{"comm": "bash"}``.
    """
    slots = find(facts)
    if slots is None or slots.in_key is None or facts.key is None or not isinstance(facts.key.node, StructNode):
        return key
    *others, slot = [f.name for f in facts.key.node.fields if not f.name.startswith("__pad")]
    if isinstance(key, Mapping):
        return {**key, slot: 0}
    given = tuple(key) if isinstance(key, tuple) else (key,)
    fits = len(given) in (len(others), len(others) + 1) and not isinstance(key, bytes)
    return {**dict(zip(others, given, strict=False)), slot: 0} if fits else key


def plot(facts: Facts, entries: Entries, *, units: str, key: bytes | None, ax: Axes | None) -> Axes:
    """Draw the sum of all histograms of a map, or the one of a key."""
    keys, found = counts(facts, entries)
    if key is not None:
        chosen = (keys == np.frombuffer(key, np.uint8)).all(axis=1)
        if not chosen.any():
            raise KeyError(f"{facts.name} has no entry of this key")
        found = found[chosen]
    row = found.sum(axis=0)
    (used,) = np.nonzero(row)
    first, last = (int(used[0]), int(used[-1])) if len(used) else (0, 0)
    places = np.arange(first, last + 1)
    slots = find(facts)
    assert slots is not None
    ax = style.axes(ax)
    name = f"{facts.name} ({units})" if units else facts.name
    if not row.any():
        return style.empty(ax, name, "nothing counted yet")
    bars = ax.bar(places, row[first : last + 1], width=0.96, color=style.colours(1)[0])
    if len(places) <= _NUMBERED:  # a bar of 3 among thousands cannot be seen, its number can
        ax.bar_label(bars, fmt="{:,.0f}", fontsize="small", alpha=0.75)
    if not slots.linear:
        names = [short(1 << int(i)) if i else "0" for i in places]
        ax.set_xticks(places, names, rotation=45 if len(places) > _NUMBERED else 0)
    ax.set_xlabel(", ".join(filter(None, ["value" if slots.linear else "at least", units])))
    ax.set_ylabel("count")
    ax.set_ylim(0, float(row.max()) * 1.12)
    style.thousands(ax.yaxis)
    style.title(ax, name, f"{int(row.sum()):,} values")
    return ax
