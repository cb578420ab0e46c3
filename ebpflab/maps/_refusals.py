# Why the kernel refused an operation on a map, and what to do: one sentence for each errno that it gives
# (kernel/bpf/syscall.c, hashtab.c, arraymap.c, lpm_trie.c, queue_stack_maps.c).

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from .. import _bpfmaps
from ..errors import EbpflabError, MapError, PrivilegeError

if TYPE_CHECKING:
    from .facts import Facts

_RDONLY, _WRONLY = 1 << 3, 1 << 4  # BPF_F_RDONLY, BPF_F_WRONLY: what user space may do
_FULL = (errno.E2BIG, errno.ENOSPC)
_MAKE_ROOM = {
    "hash": "delete some, or raise __uint(max_entries, ...) in the cell; an LRU hash makes room by itself",
    **dict.fromkeys(("queue", "stack"), "pop() some, or push(value, force=True) drops the oldest"),
}
_INNER = "inner maps must have the type, the sizes and the flags of the definition in __array(values, ...)"
_SOCKETS = "it takes connected or listening TCP sockets, UDP sockets and connected unix sockets"
_TAKES = {
    "prog_array": "all its programs must be of one type, that of the programs that use it",
    "array_of_maps": _INNER,
    "hash_of_maps": _INNER,
    "sockmap": _SOCKETS,
    "sockhash": _SOCKETS,
    "reuseport_sockarray": "it takes bound sockets with SO_REUSEPORT",
    "xskmap": "it takes bound AF_XDP sockets",
    **dict.fromkeys(("devmap", "devmap_hash"), "it takes indexes of network devices of this network namespace"),
    "cpumap": "it takes a queue size from 1 to 16,384, for a CPU that there is",
    "cgroup_array": "it takes cgroups of version 2",
    "cgrp_storage": "it takes cgroups of version 2",
    "sk_storage": "it takes sockets",
}


def refused(facts: Facts, operation: str, number: int, fd: int) -> EbpflabError:
    # `operation` is one of read, write, delete, list.
    name = facts.name
    if number == errno.EPERM:
        return _not_permitted(facts, operation, fd)
    if operation == "write" and number in _FULL:
        return _full(facts, number)
    wrong = number == errno.EBADF or (operation == "write" and number in (errno.EINVAL, errno.EOPNOTSUPP))
    if wrong and facts.type.name in _TAKES:
        what = f"{name}: the kernel refuses what it was given to {operation}: {_strerror(number)}"
        return MapError(what, errno=number, hint=_TAKES[facts.type.name])
    if number in (_bpfmaps.NOT_SUPPORTED, errno.EOPNOTSUPP, errno.EINVAL):
        what = f"{name}: this kernel does not {operation} entries of a {facts.type.name} map from user space"
        return MapError(what, errno=number, hint="let a program do it, or use another type of map")
    if number == errno.EBUSY:
        return MapError(
            f"{name}: the map is busy, a program was changing the same entries", errno=number, hint="try again"
        )
    if number == errno.ENOMEM:
        return MapError(f"{name}: no memory for the entry", errno=number, hint="make max_entries or the value smaller")
    told = _strerror(number)
    return MapError(f"{name}: the kernel refuses to {operation} this entry: {told}", errno=number)


def _strerror(number: int) -> str:
    return "ENOTSUPP" if number == _bpfmaps.NOT_SUPPORTED else os.strerror(number)


def _full(facts: Facts, number: int) -> MapError:
    if facts.type.index:
        last = facts.max_entries - 1
        return MapError(
            f"{facts.name} has {facts.max_entries:,} entries: the key is outside of them",
            errno=number,
            hint=f"keys go from 0 to {last:,}; __uint(max_entries, ...) in the cell sets how many",
        )
    return MapError(
        f"{facts.name} is full: it takes {facts.max_entries:,} entries",
        errno=number,
        hint=_MAKE_ROOM.get(facts.type.name, "delete some, or raise __uint(max_entries, ...) in the cell"),
    )


def _not_permitted(facts: Facts, operation: str, fd: int) -> EbpflabError:
    reading = operation in ("read", "list")
    if reading and facts.flags & _WRONLY:
        return MapError(f"{facts.name} was made with BPF_F_WRONLY: only programs read it", errno=errno.EPERM)
    if not reading and facts.flags & _RDONLY:
        return MapError(
            f"{facts.name} was made with BPF_F_RDONLY: only programs write it",
            errno=errno.EPERM,
            hint="leave BPF_F_RDONLY out of __uint(map_flags, ...) in the cell",
        )
    if not reading and _bpfmaps.is_frozen(fd):
        return MapError(
            f"{facts.name} is frozen: nobody can change it from user space any more",
            errno=errno.EPERM,
            hint="load the cell again, and write before the map is frozen",
        )
    return PrivilegeError(
        f"{facts.name}: the kernel does not let this process {operation} entries",
        cause="CAP_BPF",
        hint="run as root, or with CAP_BPF (and CAP_NET_ADMIN for maps of sockets and devices)",
        stage="map",
    )


def cannot(facts: Facts, operation: str) -> MapError:
    why, hint = facts.type.cannot[operation]
    return MapError(
        f"the {facts.type.name} map {facts.name} cannot {operation} entries: {why}",
        hint=hint.replace("{name}", facts.name),
    )
