"""One BPF ring buffer, mapped: the protocol is that of ``kernel/bpf/ringbuf.c`` (Linux 5.8)."""

from __future__ import annotations

import mmap
import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from . import _native
from ._native import Status, Walk
from ._native.merging import time_reader
from .errors import EbpflabError
from .stream import monotonic_to_utc_offset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from .stream import Sink


class RingBuffer:
    """One BPF ring buffer, mapped; it starts where the ring's own consumer position stands.

    Parameters
    ----------
    fd
        The map's file descriptor; it stays the caller's.
    max_entries
        The map's size in bytes: a power of two and a multiple of the page size.
    name
        The map's name, for messages.
    walker
        ``"c"``, ``"numpy"`` or ``"auto"``, see :func:`ebpflab._native.walker`.
    times
        Where records of some lengths hold their time, a u64 of nanoseconds: offset by length. For :meth:`take`.

    Raises
    ------
    EbpflabError
        If the size is not one that a ring buffer can have, or the kernel refuses the mapping.

    Examples
    --------
    >>> ring = RingBuffer(map_fd, 1 << 23, "events")
    >>> ring.drain(RecordStore()).records
    """

    def __init__(
        self,
        fd: int,
        max_entries: int,
        name: str,
        *,
        walker: _native.Kind = "auto",
        times: Mapping[int, int] | None = None,
    ) -> None:
        page = mmap.PAGESIZE
        if max_entries < page or max_entries & (max_entries - 1):
            raise EbpflabError(
                f"ring buffer {name!r}: {max_entries} bytes is not a size that one can have",
                stage="stream",
                hint=f"max_entries has to be a power of two of at least {page} (one page)",
            )
        self.name, self.size = name, max_entries
        self._fd = fd
        self._read_times = time_reader(times or {}, walker)
        try:
            ours = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            kernels = mmap.mmap(fd, page + 2 * max_entries, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        except (OSError, ValueError) as error:
            raise EbpflabError(
                f"ring buffer {name!r} of {max_entries} bytes cannot be mapped: {error}", stage="stream"
            ) from error
        # The arrays own the mappings, which go when the last of them does.
        self._ring: _native.Ring | None = _native.Ring(
            np.frombuffer(ours, np.uint64, 1),
            np.frombuffer(kernels, np.uint64, 1),
            np.frombuffer(kernels, np.uint8, 2 * max_entries, offset=page),
        )
        self._walk: _native.Walker | None = _native.walker(self._ring, walker)
        self._left = 0  # records that nobody took, once it is closed
        self._count: Callable[[], int] | None = _native.counter(self._ring, walker)
        self._lock = threading.Lock()  # a ring has one consumer
        self._minimum = 1
        self._delivered = int(self._ring.consumer[0])

    def filenos(self) -> tuple[int, ...]:
        """Return the map's file descriptor, which epoll finds readable while records wait."""
        return (self._fd,)

    def parts(self) -> tuple[RingBuffer]:
        """Return this ring: there is nothing else in it that could fill up."""
        return (self,)

    def drain(self, sink: Sink) -> Walk:
        """Move one batch, as large as the sink's arrays, and say what was moved and why it ended.

        Raises
        ------
        EbpflabError
            If the ring is closed, or holds a record length that cannot be; then nothing is consumed.
        """
        with self._lock:
            out, lens = sink.reserve(self._minimum)
            walk = self._move(out, lens)
            if walk.records or walk.discarded:
                sink.commit(
                    walk.records,
                    walk.nbytes,
                    monotonic_to_utc_offset(),
                    time.monotonic(),
                    discarded=walk.discarded,
                    mixed=walk.mixed,
                )
            self._minimum = max(walk.next_length, 1)
            self._delivered = self._consumed()
            return walk

    def take(self, out: NDArray[np.uint8], lens: NDArray[np.uint32], times: NDArray[np.uint64]) -> Walk:
        """Move one batch into these arrays, for somebody who merges it with others; see :mod:`ebpflab.merge`.

        ``times`` gets the time of each record as it stands in it, and 0 where it holds none.

        Raises
        ------
        EbpflabError
            As :meth:`drain`.
        """
        with self._lock:
            walk = self._move(out, lens)
            self._delivered = self._consumed()
        self._read_times(out[: walk.nbytes], lens[: walk.records], times[: walk.records])
        return walk

    def finish(self, sink: Sink) -> None:
        """Do nothing: a ring holds nothing back."""

    def _move(self, out: NDArray[np.uint8], lens: NDArray[np.uint32]) -> Walk:
        if self._ring is None or self._walk is None:
            raise EbpflabError(f"ring buffer {self.name!r} is closed", stage="stream")
        walk = self._walk(out, lens)
        if walk.status is Status.TORN:
            raise EbpflabError(
                f"ring buffer {self.name!r} is torn: past position {self._ring.consumer[0]} a record is "
                "longer than what was written",
                stage="stream",
                hint="another process may be consuming the same ring; load the program again",
            )
        return walk

    def _consumed(self) -> int:
        return self._delivered if self._ring is None else int(self._ring.consumer[0])

    @property
    def produced(self) -> int:
        """The kernel's position: bytes reserved since the ring was made, headers and padding included."""
        ring = self._ring
        return self._delivered if ring is None else int(ring.producer[0])

    @property
    def delivered(self) -> int:
        """The position up to which sinks have everything."""
        return self._delivered

    @property
    def pending_bytes(self) -> int:
        """Bytes in the ring that no sink has yet, headers and padding included."""
        return self.produced - self._delivered

    def pending_records(self) -> int:
        """Count the records in the ring that no sink has yet, those that are still being written included.

        While a walk or a count is under way, others wait: a header means something only up to the producer's
        position and from the consumer's on.
        """
        with self._lock:
            return self._left if self._count is None else self._count()

    def lost_by_kernel(self) -> None:
        """Return None: the kernel does not count what a full ring buffer refuses."""

    def close(self) -> None:
        """Unmap the ring; what it still holds stays in the kernel's map. Stop its :class:`Drain` first."""
        with self._lock:
            if self._count is not None:
                self._left = self._count()
            self._walk = self._count = self._ring = None
