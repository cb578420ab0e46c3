"""The walker that drains a BPF ring buffer, as compiled C and as numpy: same rules, same results.

``ringwalk.c`` is compiled at its first use into a private cache (:mod:`ebpflab._native.build`). Where nothing
can compile it, x86-64 falls back to :mod:`ebpflab._native.vectorised`; other machines reorder plain loads, so
there numpy alone would read payloads that are not there yet.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..errors import ToolMissingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["auto", "c", "numpy"]


class Status(IntEnum):
    """Why a walk ended; the numbers are those of ``ringwalk.c``."""

    EMPTY = 0  # everything was consumed, and a later record will wake a sleeper
    MORE = 1  # everything that was there at the start was consumed; more arrived meanwhile
    BUSY = 2  # the next record is reserved but not yet committed
    LIMIT = 3  # `out` or `lens` is full
    TORN = 4  # a length that cannot be: nothing was consumed


class Walk(NamedTuple):
    """What one walk did: counts, and why it ended."""

    records: int
    nbytes: int
    discarded: int
    next_length: int  # with LIMIT: the payload for which `out` had no room, else 0
    mixed: bool  # whether their lengths differ
    status: Status


class Ring(NamedTuple):
    """The mapped words of one ring: both positions (one element each) and the data, mapped twice in a row."""

    consumer: NDArray[np.uint64]
    producer: NDArray[np.uint64]
    data: NDArray[np.uint8]

    @property
    def size(self) -> int:
        """The ring's size in bytes, half of what is mapped."""
        return len(self.data) // 2


# Moves at most len(lens) records and len(out) bytes, packed into out; their lengths go to lens.
Walker = Callable[["NDArray[np.uint8]", "NDArray[np.uint32]"], Walk]


def walker(ring: Ring, kind: Kind = "auto") -> Walker:
    """Return the function that drains `ring` in bounded batches.

    Parameters
    ----------
    ring
        The ring's mappings; the walker keeps them alive.
    kind
        ``"c"``, ``"numpy"``, or ``"auto"``: C where it can be compiled, else numpy where that is safe.

    Raises
    ------
    ToolMissingError
        If there is no compiler and this machine's memory order rules numpy out.

    Examples
    --------
    >>> walk = walker(Ring(consumer, producer, data))
    >>> walk(np.empty(1 << 20, np.uint8), np.empty(65536, np.uint32)).records
    """
    if kind != "numpy":
        from .build import load

        try:
            return _c_walker(ring, load())
        except ToolMissingError:
            if kind == "c" or not numpy_is_safe():
                raise
    if not numpy_is_safe():
        raise ToolMissingError(
            f"the numpy walker is only right on x86-64, this is {platform.machine()}",
            hint="apt install clang",
        )
    from .vectorised import numpy_walker

    return numpy_walker(ring)


def numpy_is_safe() -> bool:
    """Tell whether this machine keeps the order of plain loads and stores (x86-64 does)."""
    return platform.machine() in ("x86_64", "AMD64")


class _CRing(ctypes.Structure):
    _fields_ = (
        ("consumer", ctypes.c_void_p),
        ("producer", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
        ("mask", ctypes.c_uint64),
    )


class _CWalk(ctypes.Structure):
    _fields_ = (
        ("records", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("discarded", ctypes.c_uint64),
        ("next_length", ctypes.c_uint64),
        ("mixed", ctypes.c_uint64),
        ("status", ctypes.c_uint64),
    )


def _c_walker(ring: Ring, library: ctypes.PyDLL) -> Walker:
    function = library.ebpflab_ringwalk
    function.restype = None
    function.argtypes = (
        ctypes.POINTER(_CRing),
        ctypes.c_void_p,
        ctypes.c_uint64,
        ctypes.c_void_p,
        ctypes.c_uint64,
        ctypes.POINTER(_CWalk),
    )
    native = _CRing(ring.consumer.ctypes.data, ring.producer.ctypes.data, ring.data.ctypes.data, ring.size - 1)
    result = _CWalk()

    # The default argument keeps the mappings alive: `native` holds bare addresses.
    def walk(out: NDArray[np.uint8], lens: NDArray[np.uint32], _keep: Ring = ring) -> Walk:
        function(native, out.ctypes.data, len(out), lens.ctypes.data, len(lens), result)
        return Walk(
            result.records,
            result.bytes,
            result.discarded,
            result.next_length,
            bool(result.mixed),
            Status(result.status),
        )

    return walk
