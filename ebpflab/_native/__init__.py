"""The walkers that drain the kernel's event buffers, as compiled C and as numpy: same rules, same results.

``ringwalk.c`` (BPF ring buffers, here), ``perfwalk.c`` (:mod:`ebpflab._native.perf`) and ``merge.c``
(:mod:`ebpflab._native.merging`) are compiled at their first use into a private cache
(:mod:`ebpflab._native.build`). Where nothing can compile them, x86-64 falls back to numpy; other machines
reorder plain loads, so there numpy alone would read payloads that are not there yet.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from ..errors import ToolMissingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["auto", "c", "numpy"]
T = TypeVar("T")


class Status(IntEnum):
    """Why a walk ended; the numbers are those of ``ringwalk.c`` and ``perfwalk.c``."""

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
    lost: int = 0  # records that the kernel says it refused; only perf buffers tell


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
    from .vectorised import numpy_walker

    return choose(kind, lambda library: _c_walker(ring, library), lambda: numpy_walker(ring))


def counter(ring: Ring, kind: Kind = "auto") -> Callable[[], int]:
    """Return the function that counts the records in `ring`, committed or still being written.

    Parameters and errors are those of :func:`walker`.

    Examples
    --------
    >>> counter(Ring(consumer, producer, data))()
    23
    """
    from .vectorised import count

    def c_counter(library: ctypes.PyDLL) -> Callable[[], int]:
        function, native = library.ebpflab_ringcount, _c_ring(ring)
        function.restype, function.argtypes = ctypes.c_uint64, (ctypes.POINTER(_CRing),)
        return lambda _keep=ring: int(function(native))  # type: ignore[misc]

    return choose(kind, c_counter, lambda: lambda: count(ring))


def choose(kind: Kind, compiled: Callable[[ctypes.PyDLL], T], plain: Callable[[], T]) -> T:
    """Return `compiled` applied to the library, or `plain` where that is asked for, or has to do and is safe.

    Raises
    ------
    ToolMissingError
        If there is no compiler and this machine's memory order rules numpy out.
    """
    if kind != "numpy":
        from .build import load

        try:
            return compiled(load())
        except ToolMissingError:
            if kind == "c" or not numpy_is_safe():
                raise
    if not numpy_is_safe():
        raise ToolMissingError(
            f"the numpy walker is only right on x86-64, this is {platform.machine()}",
            hint="apt install clang",
        )
    return plain()


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


def _c_ring(ring: Ring) -> _CRing:
    return _CRing(ring.consumer.ctypes.data, ring.producer.ctypes.data, ring.data.ctypes.data, ring.size - 1)


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
    native, result = _c_ring(ring), _CWalk()

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
