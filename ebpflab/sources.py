"""Which maps of an object are event buffers, and how each is read: the one place that knows all kinds of them."""

from __future__ import annotations

from collections.abc import Iterable

from .engines.base import MapInfo
from .errors import DecodeError, EbpflabError
from .merge import MergedSource
from .perfbuf import open_perf_buffer
from .records import RecordTypes
from .ringbuf import RingBuffer
from .stream import Source

RINGBUF, PERF_EVENT_ARRAY = 27, 4  # BPF_MAP_TYPE_*, include/uapi/linux/bpf.h
_RB_OVERWRITE = 1 << 19  # BPF_F_RB_OVERWRITE, Linux 6.19


def event_maps(infos: Iterable[MapInfo]) -> list[str]:
    """Return the names of the maps that are event buffers: ring buffers, maps of them, perf event arrays.

    A ring buffer that the program put into a map of ring buffers is read with that, and not on its own; which ones
    are is known once the object is loaded.

    Examples
    --------
    >>> event_maps(handle.maps())
    ['events']
    """
    return [
        info.name
        for info in infos
        if (info.type in (RINGBUF, PERF_EVENT_ARRAY) or info.inner_type == RINGBUF) and not info.held_by
    ]


def open_source(info: MapInfo, types: RecordTypes) -> Source:
    """Map an event buffer of a loaded object, to drain it.

    Parameters
    ----------
    info
        The map, one of :func:`event_maps`; its descriptors stay the engine's.
    types
        Its record types. The shards of a map of ring buffers are merged by the first ``ktime_t`` that a record has
        at top level; the records of a perf buffer lose the padding that the kernel gives them.

    Raises
    ------
    PrivilegeError, KernelSupportError
        If a perf buffer cannot have its events.
    EbpflabError
        If the map is not loaded, or its memory cannot be mapped.

    Examples
    --------
    >>> open_source(info, types).drain(RecordStore()).records
    """
    if info.fd is None or (info.inner_type and not info.inner_fds):
        raise EbpflabError(f"{info.name} has no memory to read from: it is not loaded", stage="stream")
    if info.type == RINGBUF and info.flags & _RB_OVERWRITE:
        what = f"{info.name} overwrites its oldest records, which cannot be followed"
        raise EbpflabError(what, stage="stream", hint="leave BPF_F_RB_OVERWRITE out of its flags")
    if info.type == PERF_EVENT_ARRAY:
        return open_perf_buffer(info.fd, info.max_entries, info.per_cpu_bytes, info.name, types.padded_sizes())
    if info.type == RINGBUF:
        return RingBuffer(info.fd, info.max_entries, info.name)
    times = _times(types)
    shards = zip(info.inner_fds, info.inner_sizes, strict=True)
    return MergedSource(info.name, [RingBuffer(fd, size, info.name, times=times) for fd, size in shards])


def _times(types: RecordTypes) -> dict[int, int]:
    # Where records hold their time, by length; not where types of one length disagree.
    found = {}
    for length in {candidate.type.size for candidate in types.candidates}:
        try:
            fitting = types.of_length(length)
        except DecodeError:  # several fit, and nothing tells them apart: reading them will say so
            continue
        offsets = {
            next((c.offset for c in f.type.columns if c.c_type == "ktime_t" and "." not in c.name), None)
            for f in fitting
        }
        offset = offsets.pop() if len(offsets) == 1 else None
        if offset is not None:
            found[length] = offset
    return found
