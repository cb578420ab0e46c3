"""A bounded store of raw records: what a drain thread writes into and every reader reads from.

Records lie packed in slabs of at most 4 MiB. The drain writes into the newest slab in place
(:meth:`RecordStore.reserve`, :meth:`RecordStore.commit`). The oldest rows leave as soon as a cap is passed,
and a slab whose rows have all left is used again, because fresh memory costs a page fault per 4 KiB. Readers
take a :class:`~ebpflab.snapshot.Snapshot` or follow with a :class:`Cursor`. Nothing here knows what the bytes
mean.
"""

from __future__ import annotations

import contextlib
import mmap
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from .keep import Keep
from .snapshot import Chunk, Counters, Lengths, Piece, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Chunk", "Counters", "Cursor", "Keep", "RecordStore", "Snapshot"]

_LARGEST_SLAB = 4 << 20
_HUGE_PAGE = 2 << 20  # slabs of this size and more ask for huge pages: a fault per 2 MiB, not per 4 KiB
_SMALLEST_SLAB = 1 << 12
# One slab is part filled, one part evicted, two wait for reuse: together at most a fifth of the cap.
_SLABS_PER_CAP = 20
_POOLED = 2
_BATCH = 1 << 16  # records in one commit, at most
_CLOCK_STEP_NS = 1_000_000


class RecordStore:
    """Holds the newest records within a cap, for one writer and any number of readers.

    Parameters
    ----------
    keep
        The cap; None is a million rows.
    clock
        The clock, in seconds, that the writer's `now` is on; used to expire rows when nothing arrives.

    Examples
    --------
    >>> store = RecordStore(Keep.parse("200MB"))
    >>> with store.snapshot(last=1000) as newest: newest.lengths()
    """

    def __init__(self, keep: Keep | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.keep = Keep.parse(keep)
        # A record has a byte at least, unless a program sends empty ones: they must not pile up without end.
        caps = [cap for cap in (self.keep.rows, self.keep.bytes) if cap is not None]
        self._row_cap = min(caps, default=None)
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())
        self._pieces: deque[Piece] = deque()
        self._marks: deque[tuple[int, float]] = deque()  # rows received by then, arrival of the first
        self._slab = np.empty(0, np.uint8)
        self._fill = 0
        self._pool: list[NDArray[np.uint8]] = []
        self._lens = np.empty(_BATCH, np.uint32)
        self._offset_ns: int | None = None
        self._received = self._received_bytes = self._discarded = 0
        self._evicted = self._cleared = self._held_bytes = 0
        self._closed = False
        self._listeners: list[Callable[[], None]] = []

    def reserve(self, minimum: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
        """Return where the writer may put the next records: their bytes, packed, and their lengths.

        Parameters
        ----------
        minimum
            Bytes that there has to be room for; a new slab is begun if the current one has less.
        """
        if len(self._slab) - self._fill < max(minimum, 1):
            with self._changed:
                fresh = self._new_slab(minimum)
                self._seal()
                full, self._slab, self._fill = self._slab, fresh, 0
                self._retire(full)
        return self._slab[self._fill :], self._lens

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
        """Make the first `nrecords` records, `nbytes` bytes in all, of what was reserved part of the store.

        Parameters
        ----------
        clock_offset_ns
            CLOCK_REALTIME - CLOCK_MONOTONIC; a new chunk begins where it moves by more than 1 ms.
        now
            When they arrived, in seconds on the store's clock.
        discarded
            Records that the program itself threw away meanwhile; only counted.
        mixed
            False if the writer knows that their lengths are equal; else the store looks.
        """
        lens = self._lens[:nrecords]
        alike = nrecords and (not mixed or bool((lens == lens[0]).all()))
        length = int(lens[0]) if alike else None
        with self._changed:
            self._discarded += discarded
            if nrecords:
                self._append(lens, nbytes, length, clock_offset_ns)
                self._mark(now)
            self._expire(now)
            self._tell()

    def close(self) -> None:
        """Say that nothing more will come and wake whoever waits; what is held stays readable."""
        with self._changed:
            self._closed = True
            self._tell()

    @property
    def closed(self) -> bool:
        """Whether the writer has finished."""
        return self._closed

    @property
    def received(self) -> int:
        """Rows that have arrived so far."""
        return self._received

    def counters(self) -> Counters:
        """Return all counters as of one moment."""
        with self._changed:
            self._expire(self._clock())
            return self._counters()

    def snapshot(self, last: int | None = None) -> Snapshot:
        """Return the rows held now, or the `last` of them; what comes and goes later does not change it."""
        pieces, counters = self.view()
        rows = counters.rows if last is None else min(max(last, 0), counters.rows)
        return Snapshot(pieces, counters.received - rows, rows, counters)

    def cursor(self, *, from_start: bool = False) -> Cursor:
        """Return a reader of what arrives from now on; with `from_start`, of what is held now as well."""
        counters = self.counters()
        return Cursor(self, counters.received - (counters.rows if from_start else 0))

    def wait_for(self, count: int, timeout: float | None = None) -> bool:
        """Wait until `count` rows were received in all; False if `timeout` or the stream ended before."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._received >= count, timeout)
            return self._received >= count

    def listen(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have `tell` called, in the writer's thread, whenever rows arrive or the stream ends; returns what ends that.

        It must be quick, must not raise and must not call this store: its lock is held meanwhile.
        """
        with self._changed:
            self._listeners.append(tell)
        return lambda: self._forget(tell)

    def clear(self) -> None:
        """Forget the rows held; they count as cleared, not as evicted, and the other counters go on."""
        with self._changed:
            rows = self._rows()
            self._drop(rows)
            self._cleared += rows

    @property
    def allocated(self) -> int:
        """Bytes of memory behind the store: slabs in use or kept for reuse, lengths of mixed records."""
        with self._changed:
            sizes = {id(slab): slab.nbytes for slab in (self._slab, *self._pool)}
            for piece in self._pieces:
                sizes[id(piece.slab)] = piece.slab.nbytes
                if piece.lengths:
                    sizes[id(piece.lengths)] = piece.lengths.values.nbytes
            return sum(sizes.values())

    def view(self) -> tuple[tuple[Piece, ...], Counters]:
        """Return what a snapshot is made of: the pieces held, oldest first, and the counters with them."""
        # Copying references is all that a reader does under the lock: some nanoseconds for each slab.
        with self._changed:
            self._expire(self._clock())
            return tuple(self._pieces), self._counters()

    def _forget(self, tell: Callable[[], None]) -> None:
        with self._changed:
            self._listeners.remove(tell)

    # All below runs under the lock.

    def _tell(self) -> None:
        self._changed.notify_all()
        for listener in self._listeners:
            listener()

    def _rows(self) -> int:
        return self._received - self._evicted - self._cleared

    def _counters(self) -> Counters:
        return Counters(
            self._received,
            self._received_bytes,
            self._evicted,
            self._cleared,
            self._discarded,
            self._rows(),
            self._held_bytes,
        )

    def _append(self, lens: NDArray[np.uint32], nbytes: int, length: int | None, offset_ns: int) -> None:
        if self._offset_ns is None or abs(offset_ns - self._offset_ns) > _CLOCK_STEP_NS:
            # Smaller moves are the sampling's noise; following them would make time run backwards at seams.
            self._offset_ns = offset_ns
        last = self._pieces[-1] if self._pieces else None
        if last is not None and last.slab is self._slab and last.clock_offset_ns == self._offset_ns:
            self._pieces[-1] = last.joined(lens, nbytes, length)
        else:
            self._seal()
            lengths = None
            if length is None:
                lengths = Lengths()
                lengths.extend(lens)
            self._pieces.append(
                Piece(
                    first=self._received,
                    rows=len(lens),
                    slab=self._slab,
                    start=self._fill,
                    nbytes=nbytes,
                    length=length or 0,
                    lengths=lengths,
                    lengths_start=0,
                    clock_offset_ns=self._offset_ns,
                )
            )
        self._fill += nbytes
        self._received += len(lens)
        self._received_bytes += nbytes
        self._held_bytes += nbytes

    def _seal(self) -> None:
        if self._pieces and (lengths := self._pieces[-1].lengths):
            lengths.seal()

    def _mark(self, now: float) -> None:
        if self.keep.seconds is None:
            return
        # A thousandth of the span is finer than anyone sees, and bounds the marks at any rate of commits.
        if self._marks and now - self._marks[-1][1] < self.keep.seconds / 1000:
            self._marks[-1] = (self._received, self._marks[-1][1])
        else:
            self._marks.append((self._received, now))

    def _expire(self, now: float) -> None:
        surplus = 0 if self._row_cap is None else self._rows() - self._row_cap
        if self.keep.seconds is not None:
            gone = self._evicted + self._cleared
            while self._marks and now - self._marks[0][1] > self.keep.seconds:
                surplus = max(surplus, self._marks.popleft()[0] - gone)
        self._evict(surplus)
        if self.keep.bytes is not None:
            while (excess := self._held_bytes - self.keep.bytes) > 0:
                self._evict(self._pieces[0].rows_covering(excess))

    def _evict(self, rows: int) -> None:
        if rows > 0:
            self._drop(rows)
            self._evicted += rows

    def _drop(self, rows: int) -> None:
        while rows > 0:
            piece = self._pieces[0]
            if piece.rows > rows:
                self._pieces[0] = piece.without_first(rows)
                self._held_bytes -= piece.nbytes - self._pieces[0].nbytes
                return
            self._pieces.popleft()
            self._held_bytes -= piece.nbytes
            rows -= piece.rows
            self._retire(piece.slab)

    def _retire(self, slab: NDArray[np.uint8]) -> None:
        # A slab in which rows lie is retired again when the last of them leaves.
        in_use = slab is self._slab or any(piece.slab is slab for piece in self._pieces)
        if in_use or not len(slab):
            return
        self._pool.append(slab)
        if len(self._pool) > _POOLED:
            del self._pool[0]

    def _new_slab(self, minimum: int) -> NDArray[np.uint8]:
        size = max(self._slab_size(), minimum)
        for index in range(len(self._pool)):
            # Two references, the pool's and this call's, mean that no snapshot and no reader's array looks at
            # it. That is the whole of pinning: whoever still looks at old rows keeps them.
            unseen = sys.getrefcount(self._pool[index]) <= 2
            if unseen and size <= len(self._pool[index]) <= 2 * size:
                return self._pool.pop(index)
        return _memory(size)

    def _slab_size(self) -> int:
        caps = [_LARGEST_SLAB * _SLABS_PER_CAP]
        if self.keep.bytes is not None:
            caps.append(self.keep.bytes)
        if self.keep.rows is not None:
            caps.append(self.keep.rows * (self._received_bytes // self._received if self._received else 64))
        # A power of two, so that a mean length that drifts a little does not make every slab a new size.
        power = 1 << (max(min(caps) // _SLABS_PER_CAP, 1).bit_length() - 1)
        return max(power, _SMALLEST_SLAB)


def _memory(size: int) -> NDArray[np.uint8]:
    # The first use of a page is what makes a stream slow until its cap is reached: five times as slow, with pages of
    # 4 KiB. Huge pages begin at multiples of their size, and only private memory gets them.
    if size < _HUGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.empty(size, np.uint8)
    pages = mmap.mmap(-1, size + _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without them, CONFIG_TRANSPARENT_HUGEPAGE
        pages.madvise(mmap.MADV_HUGEPAGE)
    start = -np.frombuffer(pages, np.uint8).ctypes.data % _HUGE_PAGE
    return np.frombuffer(pages, np.uint8, size, start)


class Cursor:
    """Reads a store from where it stopped the last time; made by :meth:`RecordStore.cursor`.

    Attributes
    ----------
    missed : int
        Rows that left the store before this cursor read them.
    """

    def __init__(self, store: RecordStore, first: int) -> None:
        self.missed = 0
        self._store = store
        self._next = first
        self._closed = False

    def read(self, max_rows: int | None = None) -> Snapshot:
        """Return the rows that arrived since the last read, the oldest `max_rows` of them; perhaps none."""
        pieces, counters = self._store.view()
        oldest = counters.received - counters.rows
        if self._closed:
            self._next = counters.received
        elif self._next < oldest:
            self.missed += oldest - self._next
            self._next = oldest
        first, rows = self._next, counters.received - self._next
        if max_rows is not None:
            rows = min(rows, max(max_rows, 0))
        self._next += rows
        return Snapshot(pieces, first, rows, counters)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is a row to read; False if `timeout` seconds or the stream ended before."""
        return not self._closed and self._store.wait_for(self._next + 1, timeout)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come: the stream has ended, or this cursor is closed."""
        return self._closed or self._store.closed

    def listen(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have `tell` called at every arrival; see :meth:`RecordStore.listen`."""
        return self._store.listen(tell)

    def close(self) -> None:
        """Stop reading: later reads are empty."""
        self._closed = True
