"""What each type of map can do, and why it cannot do the rest: one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Refusals = Mapping[str, tuple[str, str]]  # operation (read, write, delete, list) -> why not, what to do instead

_ALL = ("read", "write", "delete", "list")


@dataclass(frozen=True)
class MapType:
    """A type of map (``BPF_MAP_TYPE_*``, include/uapi/linux/bpf.h).

    Attributes
    ----------
    name
        The kernel's, in lower case.
    cannot
        The operations that it does not have.
    index
        Its keys are the numbers from 0 to ``max_entries`` - 1.
    full
        All these entries are always there: they cannot be deleted, and are zero at first.
    per_cpu
        An entry has a value for each possible CPU.
    batched
        Only read in batches where deleting an entry meanwhile does not lead a batch back to the start.
    """

    name: str
    cannot: Refusals = field(default_factory=dict)
    index: bool = False
    full: bool = False
    per_cpu: bool = False
    batched: bool = False


def _nothing(why: str, hint: str) -> Refusals:
    return dict.fromkeys(_ALL, (why, hint))


_STREAM = _nothing("it is a buffer of events", 'its events are in s.streams["{name}"]')
_KEPT = {"delete": ("its entries are always there", "set it to zero: m[k] = 0, or all of them: m.clear()")}
_QUEUE: Refusals = {
    "read": ("it has no keys", "look at the next value with peek(), or take it with pop()"),
    "write": ("it has no keys", "add a value with push(value)"),
    "delete": ("it has no keys", "take the next value with pop()"),
    "list": ("the kernel shows only its next value and does not count them", "take values with pop() until IndexError"),
}
_BLOOM: Refusals = {
    "read": ("it has no keys, and keeps no values", "ask with: value in m"),
    "write": ("it has no keys", "add a value with add(value)"),
    "delete": ("a bloom filter never forgets", "load the cell again for an empty one"),
    "list": ("it keeps no values, only traces of them", "ask with: value in m"),
}
_STORAGE: Refusals = {
    "list": ("the kernel lists no keys of a storage", "ask for one, m[{key}]; an iterator program can visit them all")
}
_UNREADABLE: Refusals = {
    "read": ("the kernel does not tell what is in it", "keep what you assigned in Python"),
    "list": ("the kernel does not tell what is in it", "keep what you assigned in Python"),
}


def _storage(name: str, key: str) -> MapType:
    why, hint = _STORAGE["list"]
    return MapType(name, {"list": (why, hint.format(key=key, name="{name}"))})


TYPES: dict[int, MapType] = {
    1: MapType("hash", batched=True),
    2: MapType("array", _KEPT, index=True, full=True, batched=True),
    3: MapType("prog_array", index=True),
    4: MapType("perf_event_array", _STREAM),
    5: MapType("percpu_hash", per_cpu=True, batched=True),
    6: MapType("percpu_array", _KEPT, index=True, full=True, per_cpu=True, batched=True),
    7: MapType("stack_trace", {"write": ("only bpf_get_stackid() fills it", "call it in a program")}, index=True),
    8: MapType("cgroup_array", _UNREADABLE, index=True),
    9: MapType("lru_hash", batched=True),
    10: MapType("lru_percpu_hash", per_cpu=True, batched=True),
    11: MapType("lpm_trie"),
    12: MapType("array_of_maps", index=True),
    13: MapType("hash_of_maps"),
    14: MapType("devmap", index=True),
    15: MapType("sockmap", index=True),
    16: MapType("cpumap", index=True),
    17: MapType("xskmap", _UNREADABLE, index=True),
    18: MapType("sockhash"),
    19: MapType("cgroup_storage", {"delete": ("an entry goes with its cgroup", "set it to zero: m[k] = 0")}),
    20: MapType("reuseport_sockarray", index=True),
    21: MapType(
        "percpu_cgroup_storage",
        {"delete": ("an entry goes with its cgroup", "set it to zero")},
        per_cpu=True,
    ),
    22: MapType("queue", _QUEUE),
    23: MapType("stack", _QUEUE),
    24: _storage("sk_storage", "socket"),
    25: MapType("devmap_hash"),
    26: MapType("struct_ops", _nothing("it holds functions for the kernel", 's.attach("{name}") puts it to work')),
    27: MapType("ringbuf", _STREAM),
    28: _storage("inode_storage", "path"),
    29: _storage("task_storage", "pid"),
    30: MapType("bloom_filter", _BLOOM),
    31: MapType(
        "user_ringbuf", _nothing("it carries records to programs", "use a hash or array map to tell them things")
    ),
    32: _storage("cgrp_storage", "path"),
    33: MapType("arena", _nothing("it is memory without entries", "use global variables (s.vars) or an array map")),
    34: MapType("insn_array", _nothing("it holds places in a program's code", "only the kernel uses it")),
}

# A perf event array that programs read and do not write to: the events are put into it by Python.
COUNTERS = MapType(
    "perf_event_array",
    {
        "write": ("it holds perf events", 'put one of each CPU into it: open("cpu-clock")'),
        "delete": ("its events go with the session", 'count another event: open("page-faults")'),
    },
    index=True,
)


def map_type(number: int) -> MapType:
    """Return the row of a type; one that is newer than this table is taken for a mapping of no special kind."""
    return TYPES.get(number, MapType(f"type {number}"))
