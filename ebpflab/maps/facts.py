"""What is known about one map before anybody reads it: its type, sizes, and what keys and values are."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .. import _bpfmaps
from ..btf import Btf, Kind
from ..btf_program import MapDefinition
from ..engines.base import MapInfo
from ..errors import DecodeError
from .addresses import PrefixNode
from .codec import Codec, integer, sized, typed
from .types import MapType, map_type

_LPM_HEAD = 4  # bytes of prefixlen
_ADDRESS_SIZES = (4, 16)
# Members of a value that belong to the kernel: it never shows what is in them.
_KERNELS_OWN = ("bpf_spin_lock", "bpf_res_spin_lock", "bpf_timer", "bpf_wq", "bpf_list_head", "bpf_rb_root")


@dataclass(frozen=True)
class Facts:
    """One map.

    Attributes
    ----------
    key, value
        How to read them; None where the type has none.
    stride
        Bytes of a value as the kernel copies it: for per-CPU maps, those of all CPUs.
    lookup_flags
        What reads and writes need: BPF_F_LOCK where the value has a spin lock.
    hidden
        Members of the value that are the kernel's own.
    """

    name: str
    type: MapType
    key: Codec | None
    value: Codec | None
    max_entries: int
    flags: int
    stride: int
    cpus: int = 1
    lookup_flags: int = 0
    hidden: tuple[str, ...] = ()


def facts_of(info: MapInfo, btf: Btf, definition: MapDefinition | None) -> Facts:
    """Put together what the kernel and the definition in C say about a map."""
    type = map_type(info.type)
    key = _codec(btf, definition.key_type_id if definition else None, info.key_size, type.index)
    value = _codec(btf, definition.value_type_id if definition else None, info.value_size, False)
    if type.name == "lpm_trie" and key is not None:
        key = _prefix(key)
    cpus = len(_bpfmaps.possible_cpus()) if type.per_cpu else 1
    stride = -(-info.value_size // 8) * 8 * cpus if type.per_cpu else info.value_size
    members = _own_members(btf, definition) if value is not None and definition else {}
    # BPF_F_LOCK is for bpf_spin_lock alone: the kernel refuses it for bpf_res_spin_lock.
    lock = _bpfmaps.LOCK if "bpf_spin_lock" in members.values() else 0
    return Facts(
        info.name, type, key, value, info.max_entries, info.flags, stride, cpus, lock, tuple(n for n in members)
    )


def _codec(btf: Btf, type_id: int | None, size: int, index: bool) -> Codec | None:
    if not size:
        return None
    if type_id is not None:
        try:
            found = typed(btf, type_id)
        except DecodeError:  # a type that no column can show; its bytes can still be read
            return sized(size)
        if found.size == size:
            return found
    return integer(size) if index and size == 4 else sized(size)


def _prefix(key: Codec) -> Codec:
    # A trie of addresses has {prefixlen, one field}; others keep their struct, or are (length, bytes).
    fields = getattr(key.node, "fields", ())
    if key.size - _LPM_HEAD not in _ADDRESS_SIZES or (fields and len(fields) != 2):
        return key
    return replace(key, node=PrefixNode(key.c_type, key.size))


def _own_members(btf: Btf, definition: MapDefinition) -> dict[str, str]:
    if definition.value_type_id is None:
        return {}
    core = btf.strip(definition.value_type_id)
    if core.kind is not Kind.STRUCT:
        return {}
    kinds = {m.name: btf.strip(m.type_id).name for m in core.members}
    return {name: kind for name, kind in kinds.items() if kind in _KERNELS_OWN}
