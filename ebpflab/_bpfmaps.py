# Operations on the entries of a BPF map, by its file descriptor, in bytes. Each raises OSError, and none knows
# what the bytes mean. The commands are those of bpf(2), through libbpf.

from __future__ import annotations

import ctypes as ct
import errno
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _libbpf

ANY, NOEXIST, EXIST, LOCK = 0, 1, 2, 4  # BPF_ANY, BPF_NOEXIST, BPF_EXIST, BPF_F_LOCK
NOT_SUPPORTED = 524  # ENOTSUPP, which only the kernel knows
_TOKEN = 16  # bytes at least for the place where a batch ended: a bucket's number, or a key


class Info(NamedTuple):
    # What the kernel tells about a map.
    type: int
    id: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    name: str


def _check(status: int) -> None:
    if status < 0:
        raise OSError(-status, os.strerror(-status))


@functools.cache
def possible_cpus() -> tuple[int, ...]:
    # A per-CPU entry has a value for each, in this order; offline ones count (admin-guide/cputopology.rst).
    text = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii").strip()
    ranges = [(part.partition("-")[0], part.rpartition("-")[2]) for part in text.split(",")]
    return tuple(cpu for first, last in ranges for cpu in range(int(first), int(last) + 1))


def lookup(fd: int, key: bytes | None, size: int, flags: int = ANY) -> bytes:
    value = ct.create_string_buffer(size)
    _check(_libbpf.library().bpf_map_lookup_elem_flags(fd, key, value, flags))
    return value.raw


def holds(fd: int, value: bytes) -> bool:
    # A bloom filter's question: the value is the input.
    status = _libbpf.library().bpf_map_lookup_elem_flags(fd, None, ct.create_string_buffer(value, len(value)), ANY)
    if status != -errno.ENOENT:
        _check(status)
    return not status


def take(fd: int, key: bytes | None, size: int) -> bytes:
    # Look up and delete in one step.
    value = ct.create_string_buffer(size)
    _check(_libbpf.library().bpf_map_lookup_and_delete_elem(fd, key, value))
    return value.raw


def update(fd: int, key: bytes | None, value: bytes, flags: int = ANY) -> None:
    _check(_libbpf.library().bpf_map_update_elem(fd, key, value, flags))


def delete(fd: int, key: bytes) -> None:
    _check(_libbpf.library().bpf_map_delete_elem(fd, key))


def next_key(fd: int, key: bytes | None, size: int) -> bytes | None:
    # None after the last one. A key that is not there (any more) is followed by the first.
    following = ct.create_string_buffer(size)
    status = _libbpf.library().bpf_map_get_next_key(fd, key, following)
    if status == -errno.ENOENT:
        return None
    _check(status)
    return following.raw


def batches(
    fd: int, key_size: int, value_size: int, room: int, flags: int = ANY
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    # Every entry by BPF_MAP_LOOKUP_BATCH (Linux 5.6), `room` at a time: keys (n, key_size) and values (n, value_size).
    lookup_batch = _libbpf.library().bpf_map_lookup_batch
    options = _libbpf.BatchOpts(sz=ct.sizeof(_libbpf.BatchOpts), elem_flags=flags)
    begin, end = (ct.create_string_buffer(max(key_size, _TOKEN)) for _ in range(2))
    first = True
    while True:
        keys, values = np.empty((room, key_size), np.uint8), np.empty((room, value_size), np.uint8)
        count = ct.c_uint32(room)
        status = lookup_batch(
            fd, None if first else begin, end, keys.ctypes.data, values.ctypes.data, ct.byref(count), ct.byref(options)
        )
        if status == -errno.ENOSPC:  # one bucket of the hash table holds more than there is room for
            room *= 2
            continue
        if status != -errno.ENOENT:  # which says that this was the last batch
            _check(status)
        yield keys[: count.value], values[: count.value]
        if status:
            return
        first, begin, end = False, end, begin


def by_id(number: int) -> int:
    # A new file descriptor.
    fd: int = _libbpf.library().bpf_map_get_fd_by_id(number)
    _check(fd)
    return fd


def info(fd: int) -> Info:
    told, size = _libbpf.MapInfo(), ct.c_uint32(ct.sizeof(_libbpf.MapInfo))
    _check(_libbpf.library().bpf_obj_get_info_by_fd(fd, ct.byref(told), ct.byref(size)))
    sizes = told.key_size, told.value_size, told.max_entries
    return Info(told.type, told.id, *sizes, told.map_flags, told.name.decode("utf-8", "replace"))


def program_name(number: int) -> str:
    # The kernel's name of a program, cut to 15 letters.
    lib = _libbpf.library()
    fd = lib.bpf_prog_get_fd_by_id(number)
    _check(fd)
    try:
        told, size = _libbpf.ProgInfo(), ct.c_uint32(ct.sizeof(_libbpf.ProgInfo))
        _check(lib.bpf_obj_get_info_by_fd(fd, ct.byref(told), ct.byref(size)))
    finally:
        os.close(fd)
    return str(told.name.decode("utf-8", "replace"))


def is_frozen(fd: int) -> bool:
    # Only the text of its descriptor says whether BPF_MAP_FREEZE was called (kernel/bpf/syscall.c).
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii", errors="replace").splitlines()
    return any(line.split() == ["frozen:", "1"] for line in lines)
