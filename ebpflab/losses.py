"""What full buffers refused: counted by the prelude at each call site and CPU, and kept over time."""

from __future__ import annotations

import mmap
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .btf import Btf
from .btf_program import variables
from .engines.base import Handle

if TYPE_CHECKING:
    import pandas as pd

_LOSS_SECTION = ".data.ebpflab"
_SITE = struct.Struct("128sII")  # struct ebpflab_loss up to its counters, see compile/include/ebpflab.h
_SHORTEST_GAP = 100_000_000  # nanoseconds: losses closer together are one gap
_MOST_GAPS = 4096
_LARGEST_ADVICE = 1 << 30  # bytes: who needs more than this is too slow, not short of a buffer


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
            counts = struct.unpack_from(f"={cpus}Q", pages, offset)
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


class Gap(NamedTuple):
    """A time in which records were lost, between two looks at the counters."""

    start: int  # nanoseconds UTC: the last look that found nothing new
    end: int
    row: int  # events received by the end
    lost: tuple[int, ...]  # by CPU

    def then(self, later: Gap) -> Gap:
        """Return this gap and a later one as one."""
        return Gap(self.start, later.end, later.row, tuple(a + b for a, b in zip(self.lost, later.lost, strict=True)))


class Losses:
    """The losses of one buffer: their sum, by CPU, and when they happened.

    Parameters
    ----------
    read
        Returns the records lost so far by CPU, or None where nobody counts.
    clock
        UTC in nanoseconds.

    Examples
    --------
    >>> losses = Losses(lambda: counters.per_cpu("events"))
    >>> losses.look(received=1000); losses.total()
    0
    """

    def __init__(self, read: Callable[[], Sequence[int] | None], *, clock: Callable[[], int] = time.time_ns) -> None:
        self._read, self._clock = read, clock
        self._lock = threading.Lock()
        self._gaps: list[Gap] = []
        self._seen = tuple(read() or ())
        self._looked = clock()

    def total(self) -> int | None:
        """Records lost so far; None where nobody counts."""
        counts = self._read()
        return None if counts is None else sum(counts)

    def per_cpu(self) -> tuple[int, ...]:
        """Records lost so far, by CPU."""
        return tuple(self._read() or ())

    def look(self, received: int) -> None:
        """Note what was lost since the last look; `received` is the number of events that have arrived by now."""
        with self._lock:
            now = self._clock()
            counts = self.per_cpu()
            if counts and counts != self._seen:
                before = self._seen or (0,) * len(counts)
                lost = tuple(a - b for a, b in zip(counts, before, strict=True))
                self._add(Gap(self._looked, now, received, lost))
                self._seen = counts
            self._looked = now

    def gaps(self) -> list[Gap]:
        """Return the gaps so far, oldest first."""
        with self._lock:
            return list(self._gaps)

    def df(self) -> pd.DataFrame:
        """Return the gaps as a frame: start, end (UTC), row, cpu, lost; a row for each CPU that lost records."""
        import pandas as pd

        rows = [(g.start, g.end, g.row, cpu, lost) for g in self.gaps() for cpu, lost in enumerate(g.lost) if lost]
        found = pd.DataFrame(rows, columns=["start", "end", "row", "cpu", "lost"], dtype="int64")
        for name in ("start", "end"):
            found[name] = found[name].astype("datetime64[ns]").dt.tz_localize("UTC")
        return found

    def advice(self, buffer: str, size: int, stride: float) -> str:
        """Say which size of the buffer would have held what was lost in the worst stretch; empty if nothing was.

        Parameters
        ----------
        buffer
            The map's name.
        size
            Its bytes, of each CPU where each has its own.
        stride
            Bytes that a record takes in it.
        """
        worst = max(_stretches(self.gaps()), key=lambda gap: sum(gap.lost), default=None)
        if worst is None:
            return ""
        lost = sum(worst.lost)
        needed = 1 << (int(size + lost * stride) - 1).bit_length()
        what = f"{lost:,} records were lost within {max(worst.end - worst.start, 1_000_000) / 1e9:.2g} s"
        if needed > _LARGEST_ADVICE:
            return f"{what}: more than a buffer can hold; filter or add up in the program, so that it sends less"
        return f"{what}: {_mib(needed)} would have held them, {_mib(size)} did not: --buffer {buffer}={_mib(needed)}"

    def _add(self, gap: Gap) -> None:
        last = self._gaps[-1] if self._gaps else None
        if last is not None and last.end == gap.start and gap.end - last.start < _SHORTEST_GAP:
            self._gaps[-1] = last.then(gap)
            return
        self._gaps.append(gap)
        if len(self._gaps) > _MOST_GAPS:
            # Half as many, each twice as long: memory stays bounded however long it goes on.
            pairs = zip(self._gaps[::2], self._gaps[1::2], strict=False)
            self._gaps = [first.then(second) for first, second in pairs] + self._gaps[len(self._gaps) & ~1 :]


def _stretches(gaps: Sequence[Gap]) -> list[Gap]:
    # Gaps without a pause between them, joined: the buffer was full all the while.
    joined: list[Gap] = []
    for gap in gaps:
        if joined and joined[-1].end == gap.start:
            joined[-1] = joined[-1].then(gap)
        else:
            joined.append(gap)
    return joined


def _mib(size: int) -> str:
    return f"{size >> 20}MiB" if size >= 1 << 20 else f"{size >> 10}KiB"
