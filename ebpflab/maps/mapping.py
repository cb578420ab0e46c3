"""The maps of a session, by name."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from .. import _bpfmaps
from ..btf import Btf
from ..btf_program import MapDefinition, map_definitions
from ..engines.base import Handle, MapInfo
from ..errors import MapError
from ..perf_counters import counter_arrays
from ..similar import nearest
from ._descriptor import Descriptor, closed
from .bpfmap import BpfMap
from .counters import PerfCounters
from .facts import facts_of
from .percpu import PerCpuMap
from .queues import BloomFilter, QueueMap
from .references import CgroupArray, DeviceMap, MapOfMaps, ProgArray, SocketMap
from .stacks import StackTraces
from .storage import StorageMap
from .types import map_type

if TYPE_CHECKING:
    from ..rules import Lookup
    from .watch import Watch

_OURS = ("ebpflab_", "__bpf_usdt_")  # maps of the prelude, and of libbpf's usdt.bpf.h
_CLASSES: dict[str, type[BpfMap]] = {
    "prog_array": ProgArray,
    "stack_trace": StackTraces,
    "cgroup_array": CgroupArray,
    "array_of_maps": MapOfMaps,
    "hash_of_maps": MapOfMaps,
    "devmap": DeviceMap,
    "devmap_hash": DeviceMap,
    "queue": QueueMap,
    "stack": QueueMap,
    "bloom_filter": BloomFilter,
    **dict.fromkeys(("percpu_hash", "percpu_array", "lru_percpu_hash", "percpu_cgroup_storage"), PerCpuMap),
    **dict.fromkeys(("sockmap", "sockhash", "reuseport_sockarray", "xskmap"), SocketMap),
    **dict.fromkeys(("sk_storage", "inode_storage", "task_storage", "cgrp_storage"), StorageMap),
}


class Maps(Mapping[str, BpfMap]):
    """The maps of a session: ``s.maps["counts"]``.

    The sections of global variables are not among them: they are ``s.vars``.

    Attributes
    ----------
    lookup : Lookup or None
        What stack ids and addresses in keys and values stand for, when frames are made; None leaves numbers.

    Raises
    ------
    KeyError
        For a name that the cell does not define; names the nearest.

    Examples
    --------
    >>> s.maps["counts"]["bash"]
    17
    """

    def __init__(self, handle: Handle, btf: Btf) -> None:
        self._handle, self._btf = handle, btf
        self._definitions = map_definitions(btf)
        self._counters = counter_arrays(handle)
        self._names = [info.name for info in handle.maps() if not info.internal and not info.name.startswith(_OURS)]
        self._maps: dict[str, BpfMap] = {}
        self._watches: weakref.WeakSet[Watch] = weakref.WeakSet()
        self._inner_maps: weakref.WeakSet[BpfMap] = weakref.WeakSet()
        self._closed = False
        self.lookup: Lookup | None = None

    def loaded(self, handle: Handle) -> None:
        """Open the maps, which the kernel has from now on."""
        for info in handle.maps():
            if info.name in self._names and info.fd is not None:
                # A descriptor of our own: the engine closes its one while another thread may be reading.
                descriptor = Descriptor(os.dup(info.fd), info.name)
                self._maps[info.name] = self._make(info, descriptor, self._definitions.get(info.name))

    def close(self) -> None:
        """Stop watching and close every map; a reader in another thread ends with SessionError."""
        self._closed = True
        for watch in list(self._watches):
            watch.stop()
        for made in [*self._maps.values(), *self._inner_maps]:
            made._close()

    def __getitem__(self, name: str) -> BpfMap:
        if name in self._maps:
            return self._maps[name]
        near = nearest(str(name), self._names) or self._names
        raise KeyError(f"the cell has no map {name!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))

    def __iter__(self) -> Iterator[str]:
        return iter(self._maps)

    def __len__(self) -> int:
        return len(self._maps)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._maps)

    def __repr__(self) -> str:
        from ..formatting import text
        from .summary import maps_document

        return text(maps_document(self))

    def _repr_html_(self) -> str:
        from ..formatting import html
        from .summary import maps_document

        return html(maps_document(self))

    def _make(self, info: MapInfo, descriptor: Descriptor, definition: MapDefinition | None) -> BpfMap:
        kind = _CLASSES.get(map_type(info.type).name, BpfMap)
        if info.name in self._counters:
            kind = PerfCounters
        return kind(facts_of(info, self._btf, definition), descriptor, self)

    def _watching(self, watch: Watch) -> Watch:
        self._watches.add(watch)
        return watch

    def _inner(self, outer: str, number: int) -> BpfMap:
        # An inner map by its id. If it is one of the cell's, its definition is known; else the outer map's says
        # what the inner ones are.
        if self._closed:
            raise closed(outer)
        try:
            fd = _bpfmaps.by_id(number)
        except OSError as error:
            what = f"{outer}: the inner map {number} cannot be opened: {error.strerror}"
            raise MapError(what, errno=error.errno, hint="it may be gone by now") from None
        descriptor = Descriptor(fd, outer)
        told = _bpfmaps.info(fd)
        name = self._by_id().get(number, told.name)
        definition = self._definitions.get(name) or self._definitions[outer].inner
        sizes = told.key_size, told.value_size, told.max_entries
        inner = self._make(MapInfo(name, told.type, *sizes, told.flags, internal=False), descriptor, definition)
        self._inner_maps.add(inner)
        return inner

    def _by_id(self) -> dict[int, str]:
        found = {}
        for name, made in self._maps.items():
            with made._fd as fd:
                found[_bpfmaps.info(fd).id] = name
        return found

    def _program_fd(self, name: str) -> int:
        programs = {p.name: p.fd for p in self._handle.programs()}
        fd = programs.get(name)
        if fd is None:
            near = nearest(name, programs) or tuple(programs)
            raise MapError(f"the cell has no program {name}", hint=f"did you mean {', '.join(near)}?")
        return fd

    def _program_name(self, number: int) -> str:
        found = next((p.name for p in self._handle.programs() if p.id == number), None)
        return found or _bpfmaps.program_name(number)
