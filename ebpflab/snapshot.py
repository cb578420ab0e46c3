"""What fills a store, and what its readers get: arrays over its slabs, grouped by record length."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from numpy.typing import NDArray


class Feed(Protocol):
    """What fills the store of a stream: a buffer with its drain, or a recording that is played."""

    @property
    def size(self) -> int:
        """Bytes of the buffer, of each CPU where each has its own."""

    @property
    def pending_bytes(self) -> int:
        """Bytes in the buffer that are not in the store, headers and padding included."""

    def pending_records(self) -> int:
        """Records that are in the buffer and not in the store."""

    def flush(self, timeout: float) -> bool:
        """Wait until what was sent before is in the store; False if `timeout` seconds came first."""

    def pause(self) -> None:
        """Leave the buffer alone."""

    def resume(self) -> None:
        """Go on."""


class Counters(NamedTuple):
    """A store's counters as of one moment: ``received == rows + evicted + cleared``."""

    received: int
    received_bytes: int
    evicted: int
    cleared: int
    discarded: int
    rows: int
    nbytes: int


class Chunk(NamedTuple):
    """Records of one length in arrival order: `data` is read-only uint8 of shape (rows, length)."""

    data: NDArray[np.uint8]
    clock_offset_ns: int | NDArray[np.int64]  # what to add to CLOCK_MONOTONIC to get UTC; one for all, or one a row


class Lengths:
    # The record lengths of one slab of mixed records. It only grows at its end or changes its type, so the
    # part that was there when a reader looked can be read without the lock.

    __slots__ = ("_used", "values")

    def __init__(self, length: int = 0, rows: int = 0) -> None:
        self.values = np.full(rows, length, np.uint32)
        self._used = rows

    def extend(self, lens: NDArray[np.uint32]) -> None:
        end = self._used + len(lens)
        if end > len(self.values):
            grown = np.empty(2 * end, np.uint32)
            grown[: self._used] = self.values[: self._used]
            self.values = grown
        self.values[self._used : end] = lens
        self._used = end

    def seal(self) -> None:
        # One byte each for records under 256 bytes, or short records would cost half as much again.
        used = self.values[: self._used]
        self.values = used.astype(np.min_scalar_type(int(used.max())))


class Piece(NamedTuple):
    # Rows that lie one after another in one slab and share a clock offset. The store replaces pieces and
    # changes none, so a reader that copied the list of them has a consistent view without the lock.

    first: int  # number of its first row, counted from the start of the stream
    rows: int
    slab: NDArray[np.uint8]
    start: int
    nbytes: int
    length: int  # of every record, if lengths is None
    lengths: Lengths | None
    lengths_start: int
    clock_offset_ns: int

    @property
    def lens(self) -> NDArray[np.unsignedinteger] | None:
        if self.lengths is None:
            return None
        return self.lengths.values[self.lengths_start : self.lengths_start + self.rows]

    def joined(self, lens: NDArray[np.uint32], nbytes: int, length: int | None) -> Piece:
        # With the records that follow it in the slab; length is theirs, or None if they differ.
        longer = self._replace(rows=self.rows + len(lens), nbytes=self.nbytes + nbytes)
        if self.lengths is None and length == self.length:
            return longer
        if self.lengths is None:
            longer = longer._replace(lengths=Lengths(self.length, self.rows), lengths_start=0)
        assert longer.lengths is not None
        longer.lengths.extend(lens)
        return longer

    def bytes_of_first(self, rows: int) -> int:
        lens = self.lens
        return rows * self.length if lens is None else int(lens[:rows].sum(dtype=np.int64))

    def without_first(self, rows: int) -> Piece:
        gone = self.bytes_of_first(rows)
        return self._replace(
            first=self.first + rows,
            rows=self.rows - rows,
            start=self.start + gone,
            nbytes=self.nbytes - gone,
            lengths_start=self.lengths_start + rows,
        )

    def only_first(self, rows: int) -> Piece:
        return self._replace(rows=rows, nbytes=self.bytes_of_first(rows))

    def rows_covering(self, nbytes: int) -> int:
        # The fewest rows, counted from the oldest, that hold `nbytes` bytes; all of them if they hold less.
        lens = self.lens
        if nbytes >= self.nbytes:
            return self.rows
        if lens is None:
            return -(-nbytes // self.length)
        # The sum over a whole slab would be paid at every commit; usually the first few rows are enough.
        window = 64 + 2 * nbytes * self.rows // self.nbytes
        ends = np.cumsum(lens[:window], dtype=np.int64)
        if ends[-1] < nbytes:
            ends = np.cumsum(lens, dtype=np.int64)
        return int(np.searchsorted(ends, nbytes)) + 1

    def records(self, length: int) -> NDArray[np.uint8]:
        # Shape (n, length): a view where all records have that length, else a copy of those that do.
        lens = self.lens
        if lens is None:
            rows = self.rows if self.length == length else 0
            return self.slab[self.start : self.start + rows * length].reshape(rows, length)
        wanted = np.flatnonzero(lens == length)
        if not length or not len(wanted):
            return np.empty((len(wanted), length), np.uint8)
        starts = (np.cumsum(lens, dtype=np.int64) - lens)[wanted]
        every = np.ndarray(self.nbytes - length + 1, f"V{length}", self.slab, self.start, strides=(1,))
        return every[starts].view(np.uint8).reshape(len(wanted), length)

    def counts(self) -> dict[int, int]:
        lens = self.lens
        if lens is None:
            return {self.length: self.rows}
        lengths, counts = np.unique(lens, return_counts=True)
        return dict(zip(lengths.tolist(), counts.tolist(), strict=True))


class Snapshot:
    """Rows of a store as they were at one moment, without a copy; also a context manager.

    Closing it lets the store use its slabs again. An array that was taken from it stays valid even then: it
    keeps its bytes, and its slab is not reused while the array lives.

    Attributes
    ----------
    rows : int
        How many rows there are.
    first : int
        The number of the first of them, counted from the start of the stream.
    counters : Counters
        The store's counters at the same moment.

    Examples
    --------
    >>> with store.snapshot(last=1000) as newest:
    ...     [chunk.data.shape for chunk in newest.chunks(48)]
    """

    def __init__(self, pieces: Sequence[Piece], first: int, rows: int, counters: Counters) -> None:
        self.first, self.rows, self.counters = first, rows, counters
        self._pieces = _between(pieces, first, first + rows)

    def lengths(self) -> dict[int, int]:
        """Return how many rows there are of each record length in bytes."""
        total: dict[int, int] = {}
        for piece in self._pieces:
            for length, count in piece.counts().items():
                total[length] = total.get(length, 0) + count
        return total

    def chunks(self, length: int) -> list[Chunk]:
        """Return the records of `length` bytes, split where a slab ends or the clock offset changes.

        They are in arrival order. A slab of records of one length gives a view, one of mixed records a copy.
        """
        chunks = []
        for piece in self._pieces:
            data = piece.records(length)
            if len(data):
                data.flags.writeable = False
                chunks.append(Chunk(data, piece.clock_offset_ns))
        return chunks

    def padded(self, length: int) -> Chunk:
        """Return all records in arrival order as a copy, each filled up with zeros to `length` bytes.

        Examples
        --------
        >>> snapshot.padded(48).data.shape == (snapshot.rows, 48)
        True
        """
        data, clocks = np.zeros((self.rows, length), np.uint8), np.zeros(self.rows, np.int64)
        for own in self.lengths():
            places, start = self.order(own), 0
            for chunk in self.chunks(own):
                rows = places[start : start + len(chunk.data)]
                data[rows, :own], clocks[rows] = chunk.data, chunk.clock_offset_ns
                start += len(rows)
        return Chunk(data, clocks)

    def order(self, length: int) -> NDArray[np.int64]:
        """Return the place in arrival order, 0 to rows - 1, of each row of ``chunks(length)``.

        Sorting the rows of all lengths by it merges them back into the stream as it came.
        """
        places = [np.empty(0, np.int64)]
        for piece in self._pieces:
            lens = piece.lens
            if lens is not None:
                places.append(np.flatnonzero(lens == length) + (piece.first - self.first))
            elif piece.length == length:
                places.append(np.arange(piece.rows, dtype=np.int64) + (piece.first - self.first))
        return np.concatenate(places)

    def close(self) -> None:
        """Let go of the slabs; the snapshot is empty from then on."""
        self._pieces, self.rows = [], 0

    def __len__(self) -> int:
        return self.rows

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _between(pieces: Sequence[Piece], first: int, end: int) -> list[Piece]:
    # The rows with numbers first to end - 1.
    if first >= end:
        return []
    begin = bisect_right(pieces, first, key=lambda piece: piece.first) - 1
    found = list(pieces[begin:])
    while found[-1].first >= end:
        found.pop()
    found[-1] = found[-1].only_first(end - found[-1].first)
    found[0] = found[0].without_first(first - found[0].first)
    return found
