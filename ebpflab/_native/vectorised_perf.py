"""The walker of a perf event's ring in numpy, for x86-64 without a compiler; the rules are those of ``perfwalk.c``.

As in :mod:`ebpflab._native.vectorised`: runs of samples of one size are moved as a block, the rest one by one.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from . import Status, Walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .perf import PerfMemory, PerfWalker

_LOST, _SAMPLE = 2, 9  # PERF_RECORD_*, include/uapi/linux/perf_event.h
_HEADER = 8
_RAW_DATA = 20  # from a sample's start: header, u64 time, u32 size, then the data
_BLOCK = 4096


def numpy_perf_walker(ring: PerfMemory) -> PerfWalker:
    """Return a walker of `ring` made of numpy calls; see :func:`ebpflab._native.perf.perf_walker`."""

    def walk(out: NDArray[np.uint8], lens: NDArray[np.uint32], times: NDArray[np.uint64]) -> Walk:
        return _Pass(ring, out, lens, times).run()

    return walk


def count(ring: PerfMemory) -> int:
    """Count the samples in `ring`; see :func:`ebpflab._native.perf.perf_counter`."""
    position, end, words = int(ring.tail[0]), int(ring.head[0]), ring.data.view(np.uint64)
    if end - position not in range(len(ring.data) + 1) or position & 7:
        return 0
    records = 0
    while position != end:
        at = (position & (len(ring.data) - 1)) // 8
        header = int(words[at])
        size = header >> 48
        if size < _HEADER or size & 7 or size > end - position:
            break
        rows = max(1, min(_BLOCK, (end - position) // size, (len(words) - at) * 8 // size))
        alike = words[at :: size // 8][:rows] == header
        rows = rows if alike.all() else int(alike.argmin())
        records += rows if header & 0xFFFFFFFF == _SAMPLE else 0
        position += rows * size
    return records


class _Pass:
    # One walk: where it is in the ring, and what it has moved so far.

    def __init__(
        self, ring: PerfMemory, out: NDArray[np.uint8], lens: NDArray[np.uint32], times: NDArray[np.uint64]
    ) -> None:
        self.ring, self.out, self.lens, self.times = ring, out, lens, times
        self.size = len(ring.data)
        self.words = ring.data.view(np.uint64)
        self.halves = ring.data.view(np.uint32)
        self.position = int(ring.tail[0])
        self.end = int(ring.head[0])
        self.records = self.nbytes = self.lost = self.next_length = 0
        self.mixed = False

    def run(self) -> Walk:
        status = Status.EMPTY
        if self.end - self.position not in range(self.size + 1) or self.position & 7:
            status = Status.TORN
        while status is Status.EMPTY and self.position != self.end:
            if not self._block():
                status = self._one()
        if status is Status.TORN:
            return Walk(0, 0, 0, 0, False, status)
        self.ring.tail[0] = self.position
        if status is Status.EMPTY:
            status = self._settle()
        return Walk(self.records, self.nbytes, 0, self.next_length, self.mixed, status, self.lost)

    def _head(self) -> tuple[int, int, int]:
        # The header as one word, the record's size, and a sample's payload.
        header = int(self.words[self._at(0)])
        return header, header >> 48, int(self.halves[2 * self._at(16)])

    def _at(self, offset: int) -> int:
        return (self.position + offset & self.size - 1) // 8

    def _kept(self, raw: int) -> int:
        return int(self.ring.kept[(raw + 4) // 8]) or raw

    def _block(self) -> int:
        header, size, raw = self._head()
        if header & 0xFFFFFFFF != _SAMPLE or size < _RAW_DATA + 4 or size & 7 or raw > size - _RAW_DATA:
            return 0
        at, step, length = self._at(0), size // 8, self._kept(raw)
        rows = min(_BLOCK, (self.end - self.position) // size, (len(self.words) - at) // step)
        rows = min(rows, len(self.lens) - self.records)
        if length:
            rows = min(rows, (len(self.out) - self.nbytes) // length)
        if rows <= 0:
            return 0
        words = self.words[at : at + rows * step].reshape(rows, step)
        halves = self.halves[2 * at : 2 * (at + rows * step)].reshape(rows, 2 * step)
        alike = (words[:, 0] == header) & (halves[:, 4] == raw)
        rows = rows if alike.all() else int(alike.argmin())
        block = self.ring.data[8 * at : 8 * at + rows * size].reshape(rows, size)
        target = self.out[self.nbytes : self.nbytes + rows * length].reshape(rows, length)
        target[:] = block[:, _RAW_DATA : _RAW_DATA + length]
        self.times[self.records : self.records + rows] = words[:rows, 1]
        self._moved(rows, length, size)
        return rows

    def _one(self) -> Status:
        header, size, raw = self._head()
        kind = header & 0xFFFFFFFF
        if size < _HEADER or size & 7 or size > self.end - self.position:
            return Status.TORN
        if kind != _SAMPLE:
            if kind == _LOST and size >= 24:
                self.lost += int(self.words[self._at(16)])
            self.position += size
            return Status.EMPTY
        if size < _RAW_DATA + 4 or raw > size - _RAW_DATA:
            return Status.TORN
        length = self._kept(raw)
        if self.records == len(self.lens):
            return Status.LIMIT
        if length > len(self.out) - self.nbytes:
            self.next_length = length
            return Status.LIMIT
        self._copy(length)
        self.times[self.records] = self.words[self._at(8)]
        self._moved(1, length, size)
        return Status.EMPTY

    def _copy(self, length: int) -> None:
        # In two parts where the record crosses the end of the ring.
        start = self.position + _RAW_DATA & self.size - 1
        target = self.out[self.nbytes : self.nbytes + length]
        first = min(length, self.size - start)
        target[:first] = self.ring.data[start : start + first]
        target[first:] = self.ring.data[: length - first]

    def _moved(self, rows: int, length: int, size: int) -> None:
        self.lens[self.records : self.records + rows] = length
        self.mixed |= length != int(self.lens[0])
        self.records += rows
        self.nbytes += rows * length
        self.position += rows * size

    def _settle(self) -> Status:
        # The lock is the full fence that numpy does not offer; see ebpflab._native.vectorised.
        with threading.Lock():
            return Status.EMPTY if int(self.ring.head[0]) == self.position else Status.MORE
