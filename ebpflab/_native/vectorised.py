"""The ring buffer walker in numpy, for x86-64 without a compiler; the rules are those of ``ringwalk.c``.

Runs of records of one length are moved as a block: their headers lie a fixed stride apart, and a header that
equals the length proves the record committed, kept and of that length. Anything else goes record by record.

x86-64 keeps loads in order and stores in order, and numpy calls are opaque to any compiler, so "header, then
payload, then position" holds without barriers. The one order that it does not keep, our store against our
next load, matters only before "empty" is reported, and a lock provides that fence.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from . import Status, Walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from . import Ring, Walker

_BUSY = 1 << 31
_DISCARDED = 1 << 30
_LENGTH_MASK = _DISCARDED - 1
_HEADER = 8
_BLOCK = 4096  # headers looked at in one step: enough to hide numpy's call cost, little enough to be wasted


def numpy_walker(ring: Ring) -> Walker:
    """Return a walker of `ring` made of numpy calls; see :func:`ebpflab._native.walker`."""

    def walk(out: NDArray[np.uint8], lens: NDArray[np.uint32]) -> Walk:
        return _Pass(ring, out, lens).run()

    return walk


class _Pass:
    # One walk: where it is in the ring, and what it has moved so far.

    def __init__(self, ring: Ring, out: NDArray[np.uint8], lens: NDArray[np.uint32]) -> None:
        self.ring, self.out, self.lens = ring, out, lens
        self.headers = ring.data.view(np.uint32)
        self.mask = ring.size - 1
        self.position = int(ring.consumer[0])
        self.end = int(ring.producer[0])
        self.records = self.nbytes = self.discarded = self.next_length = 0
        self.mixed = False

    def run(self) -> Walk:
        status = Status.EMPTY
        if self.end - self.position not in range(self.ring.size + 1) or self.position & 7:
            status = Status.TORN
        blocks = True
        while status is Status.EMPTY and self.position != self.end:
            # A block that broke off at once means mixed lengths: look for a run again 64 records later.
            moved = self._block() if blocks or self.records % 64 == 0 else 0
            blocks = moved > 8
            if not blocks and self.position != self.end:
                status = self._one()
        if status is Status.TORN:
            return Walk(0, 0, 0, 0, False, status)
        self.ring.consumer[0] = self.position
        if status is Status.EMPTY:
            status = self._settle()
        return Walk(self.records, self.nbytes, self.discarded, self.next_length, self.mixed, status)

    def _block(self) -> int:
        offset = self.position & self.mask
        length = int(self.headers[offset // 4])
        stride = (_HEADER + length + 7) & ~7
        rows = min(_BLOCK, (self.end - self.position) // stride, len(self.lens) - self.records)
        if length:
            rows = min(rows, (len(self.out) - self.nbytes) // length)
        if length & ~_LENGTH_MASK or rows <= 0:
            return 0
        alike = self.headers[offset // 4 :][: rows * stride // 4 : stride // 4] == length
        rows = rows if alike.all() else int(alike.argmin())
        block = self.ring.data[offset : offset + rows * stride].reshape(rows, stride)
        target = self.out[self.nbytes : self.nbytes + rows * length].reshape(rows, length)
        target[:] = block[:, _HEADER : _HEADER + length]
        self._moved(rows, length, stride)
        return rows

    def _one(self) -> Status:
        offset = self.position & self.mask
        header = int(self.headers[offset // 4])
        length = header & _LENGTH_MASK
        stride = (_HEADER + length + 7) & ~7
        if stride > self.end - self.position:
            return Status.TORN
        if header & _BUSY:
            return Status.BUSY
        if header & _DISCARDED:
            self.discarded += 1
            self.position += stride
        elif self.records == len(self.lens):
            return Status.LIMIT
        elif length > len(self.out) - self.nbytes:
            self.next_length = length
            return Status.LIMIT
        else:
            start = offset + _HEADER
            self.out[self.nbytes : self.nbytes + length] = self.ring.data[start : start + length]
            self._moved(1, length, stride)
        return Status.EMPTY

    def _moved(self, rows: int, length: int, stride: int) -> None:
        self.lens[self.records : self.records + rows] = length
        self.mixed |= length != int(self.lens[0])
        self.records += rows
        self.nbytes += rows * length
        self.position += rows * stride

    def _settle(self) -> Status:
        # Taking a lock is a locked instruction, which on x86-64 is the full fence that numpy does not offer.
        with threading.Lock():
            return Status.EMPTY if int(self.ring.producer[0]) == self.position else Status.MORE


def count(ring: Ring) -> int:
    """Count the records in `ring`: committed, thrown away or still being written; :func:`ebpflab._native.counter`."""
    position, end, headers = int(ring.consumer[0]), int(ring.producer[0]), ring.data.view(np.uint32)
    if end - position not in range(ring.size + 1) or position & 7:
        return 0
    records = 0
    while position != end:
        offset = position & (ring.size - 1)
        header = int(headers[offset // 4])
        stride = (_HEADER + (header & _LENGTH_MASK) + 7) & ~7
        rows = min(_BLOCK, (end - position) // stride)
        if not rows:
            break
        alike = headers[offset // 4 :][: rows * stride // 4 : stride // 4] == header
        rows = rows if alike.all() else int(alike.argmin())
        records += rows
        position += rows * stride
    return records
