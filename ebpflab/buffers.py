"""The event buffers of one loaded object: their sources, their stores, the drain between, and what was lost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from .btf import Btf
from .engines.base import Handle
from .events import Events
from .losses import LossCounters
from .records import RecordTypes
from .store import Keep, RecordStore
from .stream import Drain, RingBuffer

RINGBUF, PERF_EVENT_ARRAY = 27, 4  # BPF_MAP_TYPE_*, include/uapi/linux/bpf.h


def names(handle: Handle) -> list[str]:
    """Return the maps of an object that are event buffers."""
    return [info.name for info in handle.maps() if info.type == RINGBUF]


class Buffers:
    """Drains every buffer of a loaded object from now on, until :meth:`close`.

    Parameters
    ----------
    handle
        The loaded object.
    btf
        Its types.
    types
        The record types of each buffer by map name.
    keep
        The history that each stream keeps.
    name
        The session's name.
    prelude
        Whether the object was compiled with the prelude, which counts losses.
    """

    def __init__(
        self, handle: Handle, btf: Btf, types: Mapping[str, RecordTypes], keep: Keep, *, name: str, prelude: bool
    ) -> None:
        self.streams: dict[str, Events] = {}
        self._losses = LossCounters(handle, btf, list(types), prelude=prelude)
        self._sources = [
            RingBuffer(info.fd, info.max_entries, info.name)
            for info in handle.maps()
            if info.name in types and info.fd is not None
        ]
        self._drain: Drain | None = None
        if not self._sources:
            return
        stores = {source: RecordStore(keep) for source in self._sources}
        self._drain = Drain(stores, name=name)
        for source, store in stores.items():
            lost = self._lost(source.name)
            self.streams[source.name] = Events(source.name, source, store, self._drain, types[source.name], lost)
        self._drain.start()

    def _lost(self, buffer: str) -> Callable[[], int | None]:
        return lambda: self._losses.of(buffer)

    def begin(self) -> None:
        """Note that programs were attached."""
        for events in self.streams.values():
            events.begin()

    def end(self) -> None:
        """Take what the buffers hold, and note that programs were detached."""
        if self._drain is not None:
            self._drain.flush(timeout=2.0)
        for events in self.streams.values():
            events.end()

    def close(self) -> None:
        """Take what is left, stop draining and give the buffers back; the streams stay readable."""
        with contextlib.ExitStack() as stack:
            # In reverse order of making, each one even if another fails.
            for source in self._sources:
                stack.callback(source.close)
            stack.callback(self._losses.close)
            if self._drain is not None:
                stack.callback(self._drain.stop)
