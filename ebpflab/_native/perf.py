"""The walker of one perf event's ring: ``perfwalk.c``, or numpy on x86-64 without a compiler."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import Kind, Status, Walk, choose

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEPT = 1 << 13  # payloads have less than 64 KiB and are told apart in steps of eight bytes


class PerfMemory(NamedTuple):
    """The mapped words of one perf event: both positions (one element each) and the data, mapped once.

    ``kept[(n + 4) // 8]`` says how many bytes of a payload of n are the record; 0 says all. It has ``KEPT`` elements.
    """

    tail: NDArray[np.uint64]
    head: NDArray[np.uint64]
    data: NDArray[np.uint8]
    kept: NDArray[np.uint32]


# Moves at most len(lens) records and len(out) bytes, packed into out; lengths go to lens, sample times to times.
PerfWalker = Callable[["NDArray[np.uint8]", "NDArray[np.uint32]", "NDArray[np.uint64]"], Walk]


def perf_walker(ring: PerfMemory, kind: Kind = "auto") -> PerfWalker:
    """Return the function that drains `ring` in bounded batches.

    Parameters and errors are those of :func:`ebpflab._native.walker`.

    Examples
    --------
    >>> walk = perf_walker(PerfMemory(tail, head, data, np.zeros(KEPT, np.uint32)))
    >>> walk(np.empty(1 << 20, np.uint8), np.empty(65536, np.uint32), np.empty(65536, np.uint64)).records
    """
    from .vectorised_perf import numpy_perf_walker

    return choose(kind, lambda library: _c_walker(ring, library), lambda: numpy_perf_walker(ring))


def perf_counter(ring: PerfMemory, kind: Kind = "auto") -> Callable[[], int]:
    """Return the function that counts the samples in `ring`; parameters and errors as for :func:`perf_walker`.

    Examples
    --------
    >>> perf_counter(PerfMemory(tail, head, data, np.zeros(KEPT, np.uint32)))()
    23
    """
    from .vectorised_perf import count

    def c_counter(library: ctypes.PyDLL) -> Callable[[], int]:
        function, native = library.ebpflab_perfcount, _c_ring(ring)
        function.restype, function.argtypes = ctypes.c_uint64, (ctypes.POINTER(_CRing),)
        return lambda _keep=ring: int(function(native))  # type: ignore[misc]

    return choose(kind, c_counter, lambda: lambda: count(ring))


class _CRing(ctypes.Structure):
    _fields_ = (
        ("tail", ctypes.c_void_p),
        ("head", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
        ("mask", ctypes.c_uint64),
        ("kept", ctypes.c_void_p),
    )


class _CWalk(ctypes.Structure):
    _fields_ = (
        ("records", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("lost", ctypes.c_uint64),
        ("next_length", ctypes.c_uint64),
        ("mixed", ctypes.c_uint64),
        ("status", ctypes.c_uint64),
    )


def _c_ring(ring: PerfMemory) -> _CRing:
    data = ring.data
    return _CRing(ring.tail.ctypes.data, ring.head.ctypes.data, data.ctypes.data, len(data) - 1, ring.kept.ctypes.data)


def _c_walker(ring: PerfMemory, library: ctypes.PyDLL) -> PerfWalker:
    function = library.ebpflab_perfwalk
    function.restype = None
    function.argtypes = (
        ctypes.POINTER(_CRing),
        ctypes.c_void_p,
        ctypes.c_uint64,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_uint64,
        ctypes.POINTER(_CWalk),
    )
    native, result = _c_ring(ring), _CWalk()

    # The default argument keeps the mappings alive: `native` holds bare addresses.
    def walk(
        out: NDArray[np.uint8], lens: NDArray[np.uint32], times: NDArray[np.uint64], _keep: PerfMemory = ring
    ) -> Walk:
        function(native, out.ctypes.data, len(out), lens.ctypes.data, times.ctypes.data, len(lens), result)
        return Walk(
            result.records,
            result.bytes,
            0,
            result.next_length,
            bool(result.mixed),
            Status(result.status),
            result.lost,
        )

    return walk
