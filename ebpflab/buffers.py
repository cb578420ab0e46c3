"""The event buffers of one loaded object: their sources, their stores, the drain between, and what was lost."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from .btf import Btf
from .engines.base import Handle
from .errors import DecodeError
from .events import Events
from .frame import remember
from .losses import LossCounters, Losses
from .perf_counters import counter_arrays
from .records import RecordTypes
from .rules import Lookup
from .sources import event_maps, open_source
from .store import Keep, RecordStore
from .stream import Drain, Source


def names(handle: Handle) -> list[str]:
    """Return the maps of an object that are event buffers."""
    counters = counter_arrays(handle)
    return [name for name in event_maps(handle.maps()) if name not in counters]


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
    lookup
        What stack ids and addresses stand for.
    name
        The session's name.
    prelude
        Whether the object was compiled with the prelude, which counts losses.
    """

    def __init__(
        self,
        handle: Handle,
        btf: Btf,
        types: Mapping[str, RecordTypes],
        keep: Keep,
        lookup: Lookup,
        *,
        name: str,
        prelude: bool,
    ) -> None:
        self.streams: dict[str, Events] = {}
        self._counters = LossCounters(handle, btf, list(types), prelude=prelude)
        self._sources = _open(handle, types)
        self._drain: Drain | None = None
        self._lookup = lookup
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            if self._sources:
                self._start({s: self._sink(s, RecordStore(keep), types[s.name]) for s in self._sources}, types, name)
            undo.pop_all()

    def _start(self, sinks: Mapping[Source, _Watched], types: Mapping[str, RecordTypes], name: str) -> None:
        self._drain = drain = Drain(sinks, name=name)
        for source, sink in sinks.items():
            feed, kinds = _Feed(source, drain), types[source.name]
            self.streams[source.name] = Events(source.name, sink.store, feed, kinds, sink.losses, self._lookup)
        drain.start()

    def _sink(self, source: Source, store: RecordStore, types: RecordTypes) -> _Watched:
        stacked = any(candidate.type.has_stacks for candidate in types.candidates)
        return _Watched(store, self._losses_of(source), types, self._lookup if stacked else None)

    def _losses_of(self, source: Source) -> Losses:
        def by_cpu() -> list[int] | None:
            counts = self._counters.per_cpu(source.name)
            if counts is None and (told := source.lost_by_kernel()):
                return [told.get(cpu, 0) for cpu in range(max(told) + 1)]
            return counts

        return Losses(by_cpu)

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
        for events in self.streams.values():
            events.end()
        with contextlib.ExitStack() as stack:
            # In reverse order of making, each one even if another fails.
            for events in self.streams.values():
                stack.callback(events.finish)
            for source in self._sources:
                stack.callback(source.close)
            stack.callback(self._counters.close)
            if self._drain is not None:
                stack.callback(self._drain.stop)
                for source in self._sources:
                    stack.callback(self._drain.resume, source)  # what lies in a paused buffer is taken, too


def _open(handle: Handle, types: Mapping[str, RecordTypes]) -> list[Source]:
    wanted = types.keys() & set(names(handle))
    with contextlib.ExitStack() as undo:
        sources = []
        for info in handle.maps():
            if info.name in wanted:
                sources.append(open_source(info, types[info.name]))
                undo.callback(sources[-1].close)
        undo.pop_all()
    return sources


class _Watched:
    # A store that has two things looked at with every batch: the losses, so that they get their time and place, and
    # stacks, whose processes may be gone when a frame is made.

    def __init__(self, store: RecordStore, losses: Losses, types: RecordTypes, lookup: Lookup | None) -> None:
        self.store, self.losses = store, losses
        self.reserve, self.close = store.reserve, store.close
        self._types, self._lookup, self._cursor = types, lookup, store.cursor()

    def commit(
        self,
        nrecords: int,
        nbytes: int,
        clock_offset_ns: int,
        now: float,
        *,
        discarded: int = 0,
        mixed: bool = True,
    ) -> None:
        self.store.commit(nrecords, nbytes, clock_offset_ns, now, discarded=discarded, mixed=mixed)
        self.losses.look(self.store.received)
        if self._lookup is not None:
            with contextlib.suppress(DecodeError), self._cursor.read() as arrived:  # df() tells what does not fit
                remember(arrived, self._types, self._lookup)


class _Feed:
    # One source and the drain that empties it, as a stream sees them.

    def __init__(self, source: Source, drain: Drain) -> None:
        self._source, self._drain = source, drain

    @property
    def size(self) -> int:
        return self._source.size

    @property
    def pending_bytes(self) -> int:
        return self._source.pending_bytes

    def pending_records(self) -> int:
        return self._source.pending_records()

    def flush(self, timeout: float) -> bool:
        return self._drain.flush(timeout)

    def pause(self) -> None:
        self._drain.pause(self._source)

    def resume(self) -> None:
        self._drain.resume(self._source)
