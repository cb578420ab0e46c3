# The event buffers among the maps of an object: what libbpf and the kernel have to be told of them before load, their
# sizes, and the rings of a map of ring buffers, one for each CPU.

from __future__ import annotations

import ctypes as ct
import errno
import mmap
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import _libbpf
from ..errors import CellError, LoadError
from ..similar import nearest

# BPF_MAP_TYPE_*, include/uapi/linux/bpf.h
_RINGBUF, _PERF_EVENT_ARRAY, _OF_MAPS = 27, 4, (12, 13)
_LARGEST = 1 << 31  # max_entries is a u32
_DEFAULT_SHARE = 256  # of the machine's memory
_DEFAULT_SMALLEST, _DEFAULT_LARGEST = 1 << 20, 64 << 20
_PER_CPU_SMALLEST = 256 << 10


class _CreateOpts(ct.Structure):
    # struct bpf_map_create_opts up to `map_flags`.
    _fields_ = [
        ("sz", ct.c_size_t),
        ("btf_fd", ct.c_uint32),
        ("btf_key_type_id", ct.c_uint32),
        ("btf_value_type_id", ct.c_uint32),
        ("btf_vmlinux_value_type_id", ct.c_uint32),
        ("inner_map_fd", ct.c_uint32),
        ("map_flags", ct.c_uint32),
    ]


class _Shard(NamedTuple):
    # The definition of the rings in a map of rings.
    max_entries: int
    flags: int


class _Slot(NamedTuple):
    # A ring in a map of rings: our descriptor of it, its size in bytes, the kernel's number of it.
    fd: int
    size: int
    id: int


class EventMaps:
    # The event buffers of one object, from open to close. `maps` are libbpf's, by name.

    def __init__(self, lib: ct.CDLL, maps: Mapping[str, int]) -> None:
        self._lib, self._maps = lib, maps
        self.sizes: dict[str, int] = {}  # bytes that were asked for: of the ring, or for each CPU
        self._per_cpu: dict[str, int] = {}
        self._slots: dict[str, list[_Slot]] = {}
        self._templates: list[int] = []  # descriptors that the kernel needs while it makes a map of maps
        # libbpf forgets the inner definition when it loads.
        self._inner = {name: inner for name, pointer in maps.items() if (inner := self._shard(pointer))}

    def _shard(self, pointer: int) -> _Shard | None:
        lib = self._lib
        if lib.bpf_map__type(pointer) not in _OF_MAPS or lib.bpf_map__key_size(pointer) != 4:
            return None
        inner = lib.bpf_map__inner_map(pointer)
        if not inner or lib.bpf_map__type(inner) != _RINGBUF:
            return None
        return _Shard(lib.bpf_map__max_entries(inner), lib.bpf_map__map_flags(inner))

    def resize(self, name: str, size: int) -> None:
        # Raises CellError when the map is no event buffer, or no buffer can have that size.
        buffers = [each for each, pointer in self._maps.items() if self._is_buffer(each, pointer)]
        if name not in buffers:
            what = f"{name} is no event buffer" if name in self._maps else f"the cell has no buffer {name}"
            near = ", ".join(nearest(name, buffers) or buffers)
            raise CellError(what, hint=f"event buffers of this cell: {near or 'none'}")
        if not 0 < size <= _LARGEST:
            raise CellError(f"{name} cannot have {size:,} bytes", hint=f"a buffer has 1 to {_LARGEST:,} bytes")
        self.sizes[name] = _rounded(size)

    def _is_buffer(self, name: str, pointer: int) -> bool:
        return name in self._inner or self._lib.bpf_map__type(pointer) in (_RINGBUF, _PERF_EVENT_ARRAY)

    def prepare(self) -> None:
        # Before load. What `__type(value, ...)` names is the record type, for us; the kernel wants sizes of its own.
        lib, cpus = self._lib, self._lib.libbpf_num_possible_cpus()
        for name, pointer in self._maps.items():
            if lib.bpf_map__type(pointer) == _RINGBUF:
                self._prepare_ring(pointer, self.sizes.get(name), _default_size())
            elif lib.bpf_map__type(pointer) == _PERF_EVENT_ARRAY:
                lib.bpf_map__set_key_size(pointer, 4)
                lib.bpf_map__set_value_size(pointer, 4)
                self._prepare_slots(pointer, cpus)
                self._per_cpu[name] = self.sizes.get(name) or _default_size(cpus)
            elif name in self._inner:
                self._prepare_slots(pointer, cpus)
                share = _default_size(min(cpus, lib.bpf_map__max_entries(pointer)))
                self._per_cpu[name] = self.sizes.get(name) or self._inner[name].max_entries or share
                self._prepare_shards(name, pointer)

    def _prepare_ring(self, pointer: int, wanted: int | None, default: int) -> None:
        self._lib.bpf_map__set_value_size(pointer, 0)
        if wanted or not self._lib.bpf_map__max_entries(pointer):
            self._lib.bpf_map__set_max_entries(pointer, wanted or default)

    def _prepare_shards(self, name: str, pointer: int) -> None:
        # libbpf's inner map cannot be changed (its functions crash on one in 1.1): a ring of ours takes its place.
        fd = self._create(name)
        if fd == -errno.EPERM:
            return  # libbpf meets the same refusal, and what it says is explained
        if fd < 0:
            raise _refused(name, self._per_cpu[name], -fd)
        self._templates.append(fd)
        self._lib.bpf_map__set_inner_map_fd(pointer, fd)

    def _create(self, name: str) -> int:
        options = _CreateOpts(sz=ct.sizeof(_CreateOpts), map_flags=self._inner[name].flags)
        fd: int = self._lib.bpf_map_create(_RINGBUF, name[:15].encode(), 0, 0, self._per_cpu[name], ct.byref(options))
        return fd

    def _prepare_slots(self, pointer: int, cpus: int) -> None:
        if not self._lib.bpf_map__max_entries(pointer):
            self._lib.bpf_map__set_max_entries(pointer, cpus)

    def fill(self) -> None:
        # After load: a ring for every CPU whose slot the program left empty. Raises LoadError.
        self._drop_templates()
        for name in self._inner:
            slots = self._slots.setdefault(name, [])
            fd = self._lib.bpf_map__fd(self._maps[name])
            cpus = self._lib.libbpf_num_possible_cpus()
            for number in range(self._lib.bpf_map__max_entries(self._maps[name])):
                held = self._held(fd, number)
                if held is not None:
                    slots.append(held)
                elif number < cpus:
                    slots.append(self._new_ring(name, fd, number))

    def _held(self, outer: int, number: int) -> _Slot | None:
        key, found = ct.c_uint32(number), ct.c_uint32()
        if self._lib.bpf_map_lookup_elem_flags(outer, ct.byref(key), ct.byref(found), 0):
            return None
        fd = self._lib.bpf_map_get_fd_by_id(found)
        if fd < 0:
            raise LoadError(f"a ring buffer cannot be opened: {os.strerror(-fd)}", errno=-fd)
        return _Slot(fd, self._info(fd).max_entries, found.value)

    def _new_ring(self, name: str, outer: int, number: int) -> _Slot:
        size, fd = self._per_cpu[name], self._create(name)
        if fd < 0:
            raise _refused(name, size, -fd)
        key, value = ct.c_uint32(number), ct.c_uint32(fd)
        status = self._lib.bpf_map_update_elem(outer, ct.byref(key), ct.byref(value), 0)
        if status:
            os.close(fd)
            raise _refused(name, size, -status)
        return _Slot(fd, size, self._info(fd).id)

    def _info(self, fd: int) -> _libbpf.MapInfo:
        info, size = _libbpf.MapInfo(), ct.c_uint32(ct.sizeof(_libbpf.MapInfo))
        status = self._lib.bpf_obj_get_info_by_fd(fd, ct.byref(info), ct.byref(size))
        if status:
            raise LoadError(f"a ring buffer cannot be looked at: {os.strerror(-status)}", errno=-status)
        return info

    def facts(self, name: str) -> dict[str, Any]:
        # What MapInfo says of event buffers besides.
        known: dict[str, Any] = {"per_cpu_bytes": self._per_cpu.get(name, 0)}
        if name in self._inner:
            slots = self._slots.get(name, [])
            known |= {"inner_type": _RINGBUF}
            known |= {"inner_fds": tuple(s.fd for s in slots), "inner_sizes": tuple(s.size for s in slots)}
        elif self._slots and self._lib.bpf_map__type(self._maps[name]) == _RINGBUF:
            own = self._info(self._lib.bpf_map__fd(self._maps[name])).id
            known["held_by"] = next((n for n, slots in self._slots.items() if own in [s.id for s in slots]), "")
        return known

    def _drop_templates(self) -> None:
        while self._templates:
            os.close(self._templates.pop())

    def close(self) -> None:
        self._drop_templates()
        for slots in self._slots.values():
            while slots:
                os.close(slots.pop().fd)


def _rounded(size: int) -> int:
    return max(1 << (size - 1).bit_length(), mmap.PAGESIZE)


def _default_size(parts: int = 0) -> int:
    # By memory, in a power of two; for each part, if there are several.
    memory = os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE // _DEFAULT_SHARE
    size = min(max(1 << (memory.bit_length() - 1), _DEFAULT_SMALLEST), _DEFAULT_LARGEST)
    return max(1 << ((size // parts).bit_length() - 1), _PER_CPU_SMALLEST) if parts else size


def _refused(name: str, size: int, number: int) -> LoadError:
    hint = f"ask for less: {size:,} bytes for each CPU" if number in (errno.ENOMEM, errno.E2BIG) else None
    return LoadError(f"{name}: the kernel refuses a ring buffer: {os.strerror(number)}", errno=number, hint=hint)
