"""Merging records of several lanes by time, and reading the times: ``merge.c``, or numpy where nothing compiles it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import ToolMissingError
from . import Kind, T
from .build import load

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Held(NamedTuple):
    """What a lane holds: packed records with their lengths and their times, which never decrease."""

    data: NDArray[np.uint8]
    lens: NDArray[np.uint32]
    times: NDArray[np.uint64]


class Merged(NamedTuple):
    """What one merge did, in all and for each lane."""

    records: int
    nbytes: int
    next_length: int  # the record for which `out` had no room, else 0
    mixed: bool  # whether their lengths differ
    full: bool  # whether `out` or `lens` ended it
    taken: Sequence[tuple[int, int]]  # records and bytes that left each lane


# Moves the records whose time is at most `until`, in the order of time; at a tie the earlier lane goes first.
Merger = Callable[[Sequence[Held], int, "NDArray[np.uint8]", "NDArray[np.uint32]"], Merged]


# Fills the third array with the times of packed records, which the first two hold with their lengths.
TimeReader = Callable[["NDArray[np.uint8]", "NDArray[np.uint32]", "NDArray[np.uint64]"], None]


def merger(kind: Kind = "auto") -> Merger:
    """Return the function that merges lanes in bounded batches.

    Parameters
    ----------
    kind
        ``"c"``, ``"numpy"``, or ``"auto"``: C where it can be compiled, else numpy. Nobody else writes to this
        memory, so both are right on every machine.

    Raises
    ------
    ToolMissingError
        If `kind` is ``"c"`` and there is no compiler.

    Examples
    --------
    >>> merger()([Held(data, lens, times)], 1_000_000, out, out_lens).records
    """
    return _choose(kind, _c_merger, lambda: merge_with_numpy)


def time_reader(offsets: Mapping[int, int], kind: Kind = "auto") -> TimeReader:
    """Return the function that reads the time of each record, a u64; 0 for records of other lengths.

    Parameters
    ----------
    offsets
        Where a record holds its time, in bytes from its start, by its length.
    kind
        As for :func:`merger`.

    Raises
    ------
    ToolMissingError
        If `kind` is ``"c"`` and there is no compiler.

    Examples
    --------
    >>> read = time_reader({24: 0})
    >>> read(data, lens, times)
    """
    fitting = {length: offset for length, offset in offsets.items() if offset + 8 <= length}
    return _choose(kind, lambda library: _c_time_reader(library, fitting), lambda: _numpy_time_reader(fitting))


def _choose(kind: Kind, compiled: Callable[[ctypes.PyDLL], T], plain: Callable[[], T]) -> T:
    if kind == "numpy":
        return plain()
    try:
        return compiled(load())
    except ToolMissingError:
        if kind == "c":
            raise
        return plain()


class _CLane(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("lengths", ctypes.c_void_p),
        ("times", ctypes.c_void_p),
        ("records", ctypes.c_uint64),
        ("taken", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
    )


class _CMerged(ctypes.Structure):
    _fields_ = (
        ("records", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("next_length", ctypes.c_uint64),
        ("mixed", ctypes.c_uint64),
        ("full", ctypes.c_uint64),
    )


def _c_merger(library: ctypes.PyDLL) -> Merger:
    function = library.ebpflab_merge
    function.restype = None
    function.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint64,
        ctypes.c_void_p,
        ctypes.c_uint64,
        ctypes.c_void_p,
        ctypes.c_uint64,
        ctypes.c_void_p,
        ctypes.c_uint64,
        ctypes.POINTER(_CMerged),
    )

    def merge(held: Sequence[Held], until: int, out: NDArray[np.uint8], lens: NDArray[np.uint32]) -> Merged:
        lanes, heap, result = (_CLane * len(held))(), (ctypes.c_void_p * len(held))(), _CMerged()
        for lane, (data, lengths, times) in zip(lanes, held, strict=True):
            lane.data, lane.lengths, lane.times = data.ctypes.data, lengths.ctypes.data, times.ctypes.data
            lane.records = len(lengths)
        function(lanes, len(held), heap, max(until, 0), out.ctypes.data, len(out), lens.ctypes.data, len(lens), result)
        taken = [(lane.taken, lane.bytes) for lane in lanes]
        return Merged(result.records, result.bytes, result.next_length, bool(result.mixed), bool(result.full), taken)

    return merge


def merge_with_numpy(held: Sequence[Held], until: int, out: NDArray[np.uint8], lens: NDArray[np.uint32]) -> Merged:
    """Merge as ``merge.c`` does; see :func:`merger`."""
    due = [int(np.searchsorted(lane.times, np.uint64(max(until, 0)), "right")) for lane in held]
    lengths = np.concatenate([lane.lens[:n] for lane, n in zip(held, due, strict=True)])
    # Stable: ties keep the order of the lanes, and of the records in each.
    order = np.concatenate([lane.times[:n] for lane, n in zip(held, due, strict=True)]).argsort(kind="stable")
    sizes = lengths[order][: len(lens)].astype(np.int64)
    ends = sizes.cumsum()
    records = int(np.searchsorted(ends, len(out), "right"))
    nbytes = int(ends[records - 1]) if records else 0
    next_length = int(sizes[records]) if records < len(sizes) else 0
    sizes, chosen = sizes[:records], order[:records]
    lens[:records] = sizes
    mixed = bool(records) and bool((sizes != sizes[0]).any())
    used = [int(lane.lens[:n].sum()) for lane, n in zip(held, due, strict=True)]
    _gather(np.concatenate([lane.data[:n] for lane, n in zip(held, used, strict=True)]), lengths, chosen, out[:nbytes])
    lane_of = np.repeat(np.arange(len(held)), due)[chosen]
    counts = np.bincount(lane_of, minlength=len(held)).tolist()
    taken = [(n, int(lane.lens[:n].sum())) for lane, n in zip(held, counts, strict=True)]
    return Merged(records, nbytes, next_length, mixed, records < len(order), taken)


def _gather(
    data: NDArray[np.uint8], lengths: NDArray[np.uint32], chosen: NDArray[np.intp], out: NDArray[np.uint8]
) -> None:
    # Copy the chosen records, in that order. Records of one length are rows; others go by an index for each byte.
    if not len(out):
        return
    sizes = lengths[chosen].astype(np.int64)
    if (lengths == lengths[0]).all():
        np.take(data.reshape(-1, int(lengths[0])), chosen, axis=0, out=out.reshape(-1, int(lengths[0])))
        return
    starts = lengths.astype(np.int64).cumsum() - lengths
    shift = (starts[chosen] - (sizes.cumsum() - sizes)).astype(np.int64)
    np.take(data, np.repeat(shift, sizes) + np.arange(len(out)), out=out)


class _CPlace(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint64), ("offset", ctypes.c_uint64))


def _c_time_reader(library: ctypes.PyDLL, offsets: Mapping[int, int]) -> TimeReader:
    function = library.ebpflab_times
    function.restype = None
    function.argtypes = (
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_uint64,
        ctypes.c_void_p,
        ctypes.c_uint64,
        ctypes.c_void_p,
    )
    places = (_CPlace * len(offsets))(*(_CPlace(length, offset) for length, offset in offsets.items()))

    def read(data: NDArray[np.uint8], lens: NDArray[np.uint32], times: NDArray[np.uint64]) -> None:
        function(data.ctypes.data, lens.ctypes.data, len(lens), places, len(places), times.ctypes.data)

    return read


def _numpy_time_reader(offsets: Mapping[int, int]) -> TimeReader:
    def read(data: NDArray[np.uint8], lens: NDArray[np.uint32], times: NDArray[np.uint64]) -> None:
        times[:] = 0
        starts = lens.cumsum(dtype=np.int64) - lens
        for length, offset in offsets.items():
            where = np.flatnonzero(lens == length)
            if len(where):
                times[where] = data[(starts[where] + offset)[:, None] + np.arange(8)].view(np.uint64)[:, 0]

    return read
