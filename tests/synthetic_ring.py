"""A BPF ring buffer made of a memfd, the kernel's layout and its producer, for tests without a kernel.

The rules are those of kernel/bpf/ringbuf.c: reserve writes the header with BUSY set and then moves
producer_pos; submit and discard replace the header. The kernel maps the data pages twice; here every write is
done twice.
"""

from __future__ import annotations

import mmap
import os
import struct
import weakref

BUSY = 1 << 31
DISCARD = 1 << 30
PAGE = mmap.PAGESIZE


class SyntheticRing:
    def __init__(self, size: int = PAGE, *, start: int = 0, garbage: bytes | None = None) -> None:
        self.size = size
        self.fd = os.memfd_create("synthetic-ring", os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, self.fd)
        os.ftruncate(self.fd, 2 * PAGE + 2 * size)
        self.memory = mmap.mmap(self.fd, 2 * PAGE + 2 * size)
        self.produced = start
        self._put(0, struct.pack("<Q", start))
        self._put(PAGE, struct.pack("<Q", start))
        if garbage:
            self._data(0, (garbage * (size // len(garbage) + 1))[:size])

    @property
    def consumed(self) -> int:
        return struct.unpack_from("<Q", self.memory, 0)[0]

    def reserve(self, length: int) -> int | None:
        step = (8 + length + 7) & ~7
        if self.produced + step - self.consumed > self.size - 1:  # the kernel compares with the mask
            return None
        position = self.produced
        self._data(position, struct.pack("<II", length | BUSY, 0))
        self.produced += step
        self._put(PAGE, struct.pack("<Q", self.produced))
        return position

    def submit(self, position: int, payload: bytes) -> None:
        self._data(position + 8, payload)
        self.header(position, len(payload))

    def discard(self, position: int, length: int) -> None:
        self.header(position, length | DISCARD)

    def output(self, payload: bytes) -> bool:
        position = self.reserve(len(payload))
        if position is None:
            return False
        self.submit(position, payload)
        return True

    def header(self, position: int, word: int) -> None:
        self._data(position, struct.pack("<I", word))

    def _put(self, offset: int, raw: bytes) -> None:
        self.memory[offset : offset + len(raw)] = raw

    def _data(self, position: int, raw: bytes) -> None:
        # Through the first mapping's end into its second, and the same bytes where they alias.
        offset = position % self.size
        self._put(2 * PAGE + offset, raw)
        inside = min(len(raw), self.size - offset)
        self._put(2 * PAGE + self.size + offset, raw[:inside])
        self._put(2 * PAGE, raw[inside:])
