"""The loss counters of the prelude: what full buffers refused, by call site and CPU."""

from __future__ import annotations

import mmap
import struct

from .btf import Btf, variables
from .engines.base import Handle

_LOSS_SECTION = ".data.ebpflab"
_SITE = struct.Struct("128sII")  # struct ebpflab_loss up to its counters, see compile/include/ebpflab.h


class LossCounters:
    """Records that full buffers refused, counted by the prelude at each call site and CPU.

    ``of(buffer)`` is None when the object was not compiled with the prelude: then nobody counts.
    """

    def __init__(self, handle: Handle, btf: Btf, buffers: list[str], *, prelude: bool) -> None:
        self._pages: mmap.mmap | None = None
        self._sites: dict[str, list[tuple[int, int, int]]] = {}  # buffer -> (line, offset of counters, number of CPUs)
        self._last: dict[str, list[int]] = {}
        self._buffers = buffers
        # A program of the prelude that never sends has no call site, and has lost nothing.
        self.counted = prelude
        info = next((m for m in handle.maps() if m.name == _LOSS_SECTION), None)
        if info is None or info.fd is None:
            return
        raw = bytes(handle.initial(_LOSS_SECTION))
        length = -(-info.value_size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._pages = mmap.mmap(info.fd, length, mmap.MAP_SHARED, mmap.PROT_READ)
        self.counted = True
        for _, type_id, offset, _size in variables(btf, _LOSS_SECTION):
            if btf.strip(type_id).name == "ebpflab_loss":
                text, line, cpus = _SITE.unpack_from(raw, offset)
                name = self._buffer(text.split(b"\0")[0].decode(), buffers)
                self._sites.setdefault(name, []).append((line, offset + _SITE.size, cpus))

    @staticmethod
    def _buffer(expression: str, buffers: list[str]) -> str:
        # The buffer that a call site names: `&events`, or the only one there is when it came as a parameter.
        name = expression.strip("&() ")
        if name in buffers:
            return name
        return buffers[0] if len(buffers) == 1 else "?"

    def per_cpu(self, buffer: str) -> list[int] | None:
        """Lost records of a buffer by CPU; the sites of unknown buffers count to every one."""
        if not self.counted:
            return None
        pages = self._pages  # another thread may close meanwhile
        if pages is None:
            return self._last.get(buffer, [])
        totals: list[int] = []
        for _, offset, cpus in self._sites.get(buffer, []) + self._sites.get("?", []):
            counts = struct.unpack_from(f"<{cpus}Q", pages, offset)
            totals = [a + b for a, b in zip(totals or [0] * cpus, counts, strict=True)]
        return totals

    def of(self, buffer: str) -> int | None:
        """Lost records of a buffer so far."""
        counts = self.per_cpu(buffer)
        return None if counts is None else sum(counts)

    def close(self) -> None:
        """Keep the last counts and let the map go."""
        if self._pages is not None:
            self._last = {name: self.per_cpu(name) or [] for name in self._buffers}
            self._pages = None
