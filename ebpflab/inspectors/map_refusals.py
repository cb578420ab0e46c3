# Why the kernel does not make a map: it is asked again with one property after another as it would take it.

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from .. import _probes
from ..errors import KernelSupportError
from . import memory
from ._map_types import SHAPES
from ._ways import enumerators
from .layout import vmlinux

_FLAGS = {  # include/uapi/linux/bpf.h
    1 << 0: "BPF_F_NO_PREALLOC",
    1 << 1: "BPF_F_NO_COMMON_LRU",
    1 << 2: "BPF_F_NUMA_NODE",
    1 << 3: "BPF_F_RDONLY",
    1 << 4: "BPF_F_WRONLY",
    1 << 7: "BPF_F_RDONLY_PROG",
    1 << 8: "BPF_F_WRONLY_PROG",
    1 << 10: "BPF_F_MMAPABLE",
    1 << 12: "BPF_F_INNER_MAP",
}
# The types by number (enum bpf_map_type), for kernels without BTF: a number that is given out never changes.
_NAMES = """
    unspec hash array prog_array perf_event_array percpu_hash percpu_array stack_trace cgroup_array lru_hash
    lru_percpu_hash lpm_trie array_of_maps hash_of_maps devmap sockmap cpumap xskmap sockhash cgroup_storage
    reuseport_sockarray percpu_cgroup_storage queue stack sk_storage devmap_hash struct_ops ringbuf inode_storage
    task_storage bloom_filter user_ringbuf cgrp_storage arena
"""
_TYPES = _NAMES.split()
_OF_THE_NETWORK = ("devmap", "sockmap", "xskmap", "sockhash", "devmap_hash")  # map_create() in kernel/bpf/syscall.c
_HARMLESS = 64 << 20  # bytes that a map may take for a moment, to see whether the kernel makes it
_FULL = (errno.E2BIG, errno.ENOMEM)


def explain(name: str, number: int, shape: tuple[int, int, int, int, int]) -> tuple[str, str]:
    # What is wrong with a map that the kernel refused with this error number, and what to do: a sentence each.
    # `shape` is its definition: type, size of key and value, max_entries, flags.
    refused = f"the kernel cannot make the map {name!r}"
    asked = _probes.Map(*shape)
    type_name = _type_name(asked.type)
    taken = SHAPES.get(type_name, _probes.Map(0))._replace(type=asked.type)
    asked = asked._replace(needs=taken.needs)
    kind = f"BPF_MAP_TYPE_{type_name.upper()}" if type_name else f"type {asked.type}"
    if _refuses(taken):
        return f"{refused}: it knows no maps of {kind}", "features() lists the types of maps that this kernel has"
    # Few entries while other properties are tried: none of these maps is to use memory that matters.
    small = asked._replace(max_entries=taken.max_entries)
    if not _refuses(small):
        return _entries(refused, kind, asked, taken, number)
    # Each property alone, and all others as the kernel takes them: several can be wrong at once.
    tried = {which: taken._replace(**{which: getattr(asked, which)}) for which in _WORDS}
    wrong = [_WORDS[which](kind, shape, taken) for which, shape in tried.items() if _refuses(shape)]
    if not wrong:
        return f"{refused}: its sizes and flags do not go together", _example(kind, taken)
    return f"{refused}: {'; '.join(what for what, _ in wrong)}", "; ".join(hint for _, hint in wrong)


def kind(number: int) -> str:
    # What making a map of a type takes, as kernel.privilege_cause() names kinds of programs.
    return "map of the network" if _type_name(number) in _OF_THE_NETWORK else "map"


def _type_name(number: int) -> str:
    if number < len(_TYPES):
        return _TYPES[number]
    try:
        types = enumerators(vmlinux(), "bpf_map_type", "BPF_MAP_TYPE_")
    except KernelSupportError:  # a kernel without BTF does not tell the names of newer types
        return ""
    return next((name for name, value in types.items() if value == number), "")


def _refuses(shape: _probes.Map) -> int:
    return _probes.create(shape).errno


def _entries(refused: str, kind: str, asked: _probes.Map, taken: _probes.Map, number: int) -> tuple[str, str]:
    if not asked.max_entries:
        return f"{refused}: max_entries is 0 or missing", f"say how many: __uint(max_entries, 1024); ({kind})"
    if not taken.max_entries:
        return f"{refused}: max_entries is {asked.max_entries}", f"{kind} grows by itself: leave max_entries out"
    if number in _FULL:
        size = _bytes(asked)
        what = f"{refused}: {asked.max_entries:,} entries need {memory.readable(size)}"
        if number == errno.E2BIG:
            return f"{what}, more than the kernel makes one map of", "lower max_entries, or the size of the value"
        free, limit = memory.left(), memory.limit()
        more = f", and {free} are available" if free else ""
        return f"{what}{more}", "; ".join(filter(None, ["lower max_entries, or the size of the value", limit]))
    if _bytes(asked) < _HARMLESS and not _refuses(asked):
        return f"{refused}: {os.strerror(number)}; it took one when asked again", "run the cell again"
    if "RINGBUF" in kind:
        page = os.sysconf("SC_PAGE_SIZE")
        hint = f"give a power of two of at least {page}: __uint(max_entries, 256 * 1024);"
        return f"{refused}: {asked.max_entries:,} bytes are no size of a ring buffer", hint
    return f"{refused}: max_entries is {asked.max_entries:,}", _example(kind, taken)


def _key(kind: str, asked: _probes.Map, taken: _probes.Map) -> tuple[str, str]:
    what = f"its key has {asked.key_size} bytes"
    if not asked.key_size:
        return "its key has no size", f"give it a type: __type(key, __u32); ({kind})"
    if not taken.key_size:
        return f"{what}, and {kind} has no keys", "leave the key out of its definition"
    if asked.key_size > taken.key_size and (most := _largest(asked, "key_size", taken.key_size)) > taken.key_size:
        return f"{what}, and {kind} takes at most {most}", "use a smaller key, such as a hash of it"
    return what, f"{kind} takes {taken.key_size}: " + (
        "a prefix length in front, struct { __u32 prefixlen; __u32 address; }"
        if "LPM" in kind
        else "__type(key, __u32);"
        if taken.key_size == 4
        else f"__uint(key_size, {taken.key_size});"
    )


def _value(kind: str, asked: _probes.Map, taken: _probes.Map) -> tuple[str, str]:
    what = f"its value has {asked.value_size:,} bytes"
    if not asked.value_size:
        return "its value has no size", f"give it a type: __type(value, __u64); ({kind})"
    if not taken.value_size:
        return f"{what}, and {kind} has no values", "leave the value's size out of its definition"
    if asked.value_size > taken.value_size:
        most = _largest(asked, "value_size", taken.value_size)
        if most > taken.value_size:
            return f"{what}, and here {kind} takes at most {most:,}", "split it, or give the map more, smaller entries"
    return what, f"{kind} takes {taken.value_size}: __uint(value_size, {taken.value_size});"


def _flags(kind: str, asked: _probes.Map, taken: _probes.Map) -> tuple[str, str]:
    if taken.flags and not _refuses(asked._replace(flags=asked.flags | taken.flags)):
        return f"{kind} needs the flag {_named(taken.flags)}", f"__uint(map_flags, {_named(taken.flags)});"
    bits = [1 << bit for bit in range(32) if asked.flags >> bit & 1]
    wrong = [bit for bit in bits if _refuses(taken._replace(flags=taken.flags | bit))] or bits
    named = _named(sum(wrong))
    return f"{kind} does not take the flag {named} on this kernel", f"leave {named} out of map_flags"


_WORDS: dict[str, Callable[[str, _probes.Map, _probes.Map], tuple[str, str]]] = {
    "key_size": _key,
    "value_size": _value,
    "flags": _flags,
}


def _largest(asked: _probes.Map, which: str, works: int) -> int:
    # The most that the kernel takes of a size, by halving: it differs with the machine's page size and allocator.
    fails = getattr(asked, which)
    while fails - works > 1:
        middle = (works + fails) // 2
        if _refuses(asked._replace(**{which: middle})):
            fails = middle
        else:
            works = middle
    return works


def _bytes(asked: _probes.Map) -> int:
    # Keys and values alone, each rounded up to 8 bytes (kernel/bpf/hashtab.c, arraymap.c).
    return asked.max_entries * (-(-asked.key_size // 8) * 8 + -(-asked.value_size // 8) * 8)


def _named(flags: int) -> str:
    known = [name for bit, name in _FLAGS.items() if flags & bit]
    rest = flags & ~sum(_FLAGS)
    return " | ".join([*known, *([hex(rest)] if rest else [])])


def _example(kind: str, taken: _probes.Map) -> str:
    flags = f" __uint(map_flags, {_named(taken.flags)});" if taken.flags else ""
    sizes = f"__uint(key_size, {taken.key_size}); __uint(value_size, {taken.value_size});"
    return f"it takes: __uint(type, {kind}); __uint(max_entries, {taken.max_entries}); {sizes}{flags}"
