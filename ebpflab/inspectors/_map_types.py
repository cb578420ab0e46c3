# What a map of each type takes: the smallest one that the kernel creates (include/uapi/linux/bpf.h and the
# map_alloc_check functions of kernel/bpf and net).

from __future__ import annotations

import errno
import mmap
from typing import TYPE_CHECKING

from .. import _probes
from ..btf import Kind
from ._ways import STRUCT_OPS, struct_ops

if TYPE_CHECKING:
    from ..btf import Btf

_NO_PREALLOC, _MMAPABLE = 1 << 0, 1 << 10  # BPF_F_*
_NOT_SUPPORTED = 524  # ENOTSUPP, which only the kernel knows
_NO_STRUCT = 1  # a type id that is no struct of functions

_PLAIN = """
    hash array prog_array perf_event_array percpu_hash percpu_array cgroup_array lru_hash lru_percpu_hash
    devmap sockmap cpumap xskmap sockhash reuseport_sockarray devmap_hash
"""
_USUAL = _probes.Map(0)  # a key and a value of 4 bytes
_QUEUE = _USUAL._replace(key_size=0)
_RING = _QUEUE._replace(value_size=0, max_entries=mmap.PAGESIZE)
_UNALLOCATED = _USUAL._replace(flags=_NO_PREALLOC)
_STORAGE = _UNALLOCATED._replace(max_entries=0, needs="btf")
_CGROUP_STORAGE = _USUAL._replace(key_size=16, max_entries=0)  # struct bpf_cgroup_storage_key
_OF_MAPS = _USUAL._replace(needs="inner")

SHAPES: dict[str, _probes.Map] = {
    **dict.fromkeys(_PLAIN.split(), _USUAL),
    "stack_trace": _USUAL._replace(value_size=8),
    "lpm_trie": _UNALLOCATED._replace(key_size=8),
    "array_of_maps": _OF_MAPS,
    "hash_of_maps": _OF_MAPS,
    "cgroup_storage": _CGROUP_STORAGE,
    "percpu_cgroup_storage": _CGROUP_STORAGE,
    "queue": _QUEUE,
    "stack": _QUEUE,
    "sk_storage": _STORAGE,
    "struct_ops": _USUAL._replace(needs="btf"),
    "ringbuf": _RING,
    "inode_storage": _STORAGE,
    "task_storage": _STORAGE,
    "bloom_filter": _QUEUE,
    "user_ringbuf": _RING,
    "cgrp_storage": _STORAGE,
    "arena": _QUEUE._replace(value_size=0, flags=_MMAPABLE),
    "insn_array": _USUAL._replace(value_size=16),  # struct bpf_insn_array_value
    "rhash": _UNALLOCATED,
}


def ask(btf: Btf, name: str, number: int) -> tuple[_probes.Answer, str]:
    # Creates a map of a type. The kernel's answer, and what speaks against it though the type exists.
    if name == "struct_ops":
        return _ask_struct_ops(btf, number)
    return _probes.create(SHAPES.get(name, _USUAL)._replace(type=number)), ""


def _ask_struct_ops(btf: Btf, number: int) -> tuple[_probes.Answer, str]:
    # The value is a type of the kernel's own: the struct of functions that the map's programs implement.
    shape = SHAPES["struct_ops"]._replace(type=number)
    refused = _probes.Answer(errno.EINVAL)
    for implemented in struct_ops(btf):
        value = btf.find(STRUCT_OPS + implemented.name, Kind.STRUCT)
        assert value is not None
        refused = _probes.create(shape._replace(value_size=value.size, kernel_type=value.id))
        if not refused.errno:
            return refused, ""
    known = _probes.create(shape._replace(kernel_type=_NO_STRUCT)).errno == _NOT_SUPPORTED
    return refused, "the kernel knows the type, and refuses a map for every struct of functions" if known else ""
