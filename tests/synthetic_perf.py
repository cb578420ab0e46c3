"""The ring of one perf event made of a memfd, with the kernel's layout and its rules, for tests without a kernel.

include/uapi/linux/perf_event.h: a page of positions, then data pages that are mapped once. The kernel writes a whole
record, breaking it at the end of the ring if need be, and then moves data_head. kernel/events/ring_buffer.c: what has
no room is counted, and the count goes out as a LOST record before the next one that fits.
"""

from __future__ import annotations

import mmap
import os
import struct

PAGE = mmap.PAGESIZE
LOST, THROTTLE, SAMPLE = 2, 5, 9


def padded(payload: bytes) -> bytes:
    # perf_sample_save_raw_data: the size field and the data are a multiple of eight bytes together.
    return payload + bytes(-(len(payload) + 4) % 8)


class SyntheticPerf:
    def __init__(self, size: int = PAGE, *, start: int = 0) -> None:
        self.size, self.head, self.refused = size, start, 0
        self.fd = os.memfd_create("synthetic-perf", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, PAGE + size)
        os.lseek(self.fd, 0, os.SEEK_END)  # there is no count to read(2), as before Linux 6.0
        self.memory = mmap.mmap(self.fd, PAGE + size)
        self._put(1032, struct.pack("<Q", start))
        self._publish()

    @property
    def tail(self) -> int:
        return struct.unpack_from("<Q", self.memory, 1032)[0]

    def sample(self, payload: bytes, time: int, misc: int = 2) -> bool:
        raw = padded(payload)
        return self.record(SAMPLE, struct.pack("<QI", time, len(raw)) + raw, misc)

    def record(self, kind: int, body: bytes, misc: int = 0) -> bool:
        lost = struct.pack("<IHHQQ", LOST, 0, 24, 0, self.refused) if self.refused else b""
        whole = lost + struct.pack("<IHH", kind, misc, 8 + len(body)) + body
        if self.head + len(whole) - self.tail > self.size - 1:  # CIRC_SPACE keeps a byte free
            self.refused += 1
            return False
        self.refused = 0
        self.write(whole)
        return True

    def write(self, raw: bytes) -> None:
        for i in range(0, len(raw), 8):
            self._put(PAGE + (self.head + i) % self.size, raw[i : i + 8])
        self.head += len(raw)
        self._publish()

    def _publish(self) -> None:
        self._put(1024, struct.pack("<Q", self.head))

    def _put(self, offset: int, raw: bytes) -> None:
        self.memory[offset : offset + len(raw)] = raw
