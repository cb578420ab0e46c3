"""Perf event arrays: a ring for each CPU that ``bpf_perf_event_output`` writes to, merged by time.

The layout is that of ``include/uapi/linux/perf_event.h``: a page of positions, then a power of two of data pages.
The mapping is writable, which makes the kernel keep what was not read and refuse what has no room (see
``kernel/events/ring_buffer.c``). It pads records: one of S bytes arrives as ``round_up(S + 4, 8) - 4``.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import threading
from typing import TYPE_CHECKING

import numpy as np

from . import _native, _perf_events
from ._native import Status, Walk
from ._native.perf import KEPT, PerfMemory, PerfWalker, perf_counter, perf_walker
from .errors import EbpflabError, KernelSupportError, PrivilegeError
from .merge import MergedSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

_HEAD, _TAIL = 1024, 1032  # of data_head and data_tail in struct perf_event_mmap_page
_WAKEUPS = 8  # while one ring fills up, at most


def open_perf_buffer(map_fd: int, slots: int, per_cpu_bytes: int, name: str, sizes: Mapping[int, int]) -> MergedSource:
    """Put a perf event for each online CPU into a perf event array and return them as one source.

    Parameters
    ----------
    map_fd
        The map's file descriptor; the events leave the map when it is closed.
    slots
        The map's size; from CPUs that it has no slot for, nothing can be sent.
    per_cpu_bytes
        The size of each CPU's ring: a power of two and a multiple of the page size.
    name
        The map's name, for messages.
    sizes
        The size of the record by the length as it arrives, both in bytes; other records stay as they arrive.

    Raises
    ------
    PrivilegeError
        If the kernel refuses the events (CAP_PERFMON), or their memory (CAP_IPC_LOCK).
    KernelSupportError
        If there is no perf_event_open(2), or not with a clock to choose (Linux 4.1).
    EbpflabError
        If the size is not one that a ring can have, or there is no memory for it.

    Examples
    --------
    >>> source = open_perf_buffer(map_fd, 8, 1 << 20, "events", {28: 24})
    >>> source.drain(RecordStore()).records
    """
    with contextlib.ExitStack() as undo:
        rings = []
        for cpu in (cpu for cpu in _perf_events.online() if cpu < slots):
            with _explained(name):
                try:
                    fd = _perf_events.open_output(cpu, max(per_cpu_bytes // _WAKEUPS, 1))
                except OSError as error:
                    if error.errno == errno.ENODEV:  # it went offline meanwhile
                        continue
                    raise
            ring = PerfRing(fd, per_cpu_bytes, name, cpu=cpu, sizes=sizes)
            undo.callback(ring.close)
            with _explained(name):
                _perf_events.enable(map_fd, cpu, fd)
            rings.append(ring)
        if not rings:
            raise EbpflabError(
                f"no CPU that is online has a slot in {name!r}", stage="stream", hint="leave out its max_entries"
            )
        source = MergedSource(name, rings)
        undo.pop_all()
    return source


class PerfRing:
    """One CPU's ring of a perf event array: what :class:`~ebpflab.merge.MergedSource` merges.

    Parameters
    ----------
    fd
        A perf event of type PERF_COUNT_SW_BPF_OUTPUT whose sample type is TIME and RAW; closed with this.
    nbytes
        Size of the data: a power of two and a multiple of the page size.
    name
        The map's name, for messages.
    cpu
        The event's CPU.
    sizes
        As for :func:`open_perf_buffer`.
    walker
        ``"c"``, ``"numpy"`` or ``"auto"``, see :func:`ebpflab._native.perf.perf_walker`.

    Raises
    ------
    EbpflabError
        If the size is not one that a ring can have, or the kernel refuses the mapping; the event is closed then.

    Examples
    --------
    >>> ring = PerfRing(fd, 1 << 20, "events", cpu=0, sizes={28: 24})
    >>> ring.take(out, lens, times).records
    """

    def __init__(
        self,
        fd: int,
        nbytes: int,
        name: str,
        *,
        cpu: int,
        sizes: Mapping[int, int] | None = None,
        walker: _native.Kind = "auto",
    ) -> None:
        self.name, self.size, self.cpu = name, nbytes, cpu
        self._fd: int | None = fd
        self._told = self._counted = 0  # lost: as the records tell, late but on every kernel; as the kernel counts
        self._left = 0  # samples that nobody took, once it is closed
        self._lock = threading.Lock()
        try:
            self._memory: PerfMemory | None = _map(fd, nbytes, name, sizes or {})
            self._walk: PerfWalker | None = perf_walker(self._memory, walker)
            self._count: Callable[[], int] | None = perf_counter(self._memory, walker)
        except BaseException:
            os.close(fd)
            raise
        self._taken = int(self._memory.tail[0])

    def filenos(self) -> tuple[int, ...]:
        """Return the event's descriptor, which epoll finds readable once after every eighth of the ring."""
        return () if self._fd is None else (self._fd,)

    def take(self, out: NDArray[np.uint8], lens: NDArray[np.uint32], times: NDArray[np.uint64]) -> Walk:
        """Move one batch into these arrays; `times` gets nanoseconds of CLOCK_MONOTONIC.

        Raises
        ------
        EbpflabError
            If the ring is closed, or holds a record that cannot be; then nothing is consumed.
        """
        with self._lock:
            if self._memory is None or self._walk is None:
                raise EbpflabError(f"perf buffer {self.name!r} is closed", stage="stream")
            walk = self._walk(out, lens, times)
            if walk.status is Status.TORN:
                raise EbpflabError(
                    f"perf buffer {self.name!r} is torn on CPU {self.cpu}: at position {self._memory.tail[0]} is no "
                    "record with a time and raw data",
                    stage="stream",
                    hint="another process may be consuming the same ring; load the program again",
                )
            self._told += walk.lost
            self._taken = int(self._memory.tail[0])
            return walk

    @property
    def produced(self) -> int:
        """The kernel's position: bytes written since the ring was made, headers and padding included."""
        memory = self._memory
        return self._taken if memory is None else int(memory.head[0])

    @property
    def delivered(self) -> int:
        """The position up to which everything was taken."""
        return self._taken

    @property
    def pending_bytes(self) -> int:
        """Bytes in the ring that were not taken, headers and padding included."""
        return self.produced - self._taken

    def pending_records(self) -> int:
        """Count the samples in the ring that were not taken."""
        with self._lock:
            return self._left if self._count is None else self._count()

    def lost_by_kernel(self) -> dict[int, int]:
        """Return how many records had no room on this CPU.

        From Linux 6.0 on as of now. Before, the kernel tells with the next record that has room again, so the last
        ones may be missing.
        """
        with self._lock:
            if self._fd is not None:
                self._counted = max(self._counted, _perf_events.lost(self._fd) or 0)
            return {self.cpu: max(self._told, self._counted)}

    def close(self) -> None:
        """Unmap the ring and close the event. Stop its :class:`~ebpflab.stream.Drain` first."""
        self.lost_by_kernel()
        with self._lock:
            if self._count is not None:
                self._left = self._count()
            self._walk = self._count = self._memory = None
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None


def _map(fd: int, nbytes: int, name: str, sizes: Mapping[int, int]) -> PerfMemory:
    page = mmap.PAGESIZE
    if nbytes < page or nbytes & (nbytes - 1):
        raise EbpflabError(
            f"perf buffer {name!r}: {nbytes} bytes for each CPU is not a size that one can have",
            stage="stream",
            hint=f"it has to be a power of two of at least {page} (one page)",
        )
    with _explained(name):
        try:
            pages = mmap.mmap(fd, page + nbytes, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except ValueError as error:  # shorter than it should be: no perf event
            raise OSError(errno.EINVAL, str(error)) from error
    # The arrays own the mapping, which goes when the last of them does.
    words, data = np.frombuffer(pages, np.uint64, page // 8), np.frombuffer(pages, np.uint8, nbytes, offset=page)
    kept = np.zeros(KEPT, np.uint32)
    for length, size in sizes.items():
        if size <= length < 8 * KEPT - 4:
            kept[(length + 4) // 8] = size
    return PerfMemory(words[_TAIL // 8 :][:1], words[_HEAD // 8 :][:1], data, kept)


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno or 0)
        if error.errno in (errno.EPERM, errno.EACCES):
            raise PrivilegeError(
                f"the kernel refuses the perf events of {name!r}: {why}",
                cause="CAP_PERFMON",
                stage="stream",
                hint="run as root, or with CAP_PERFMON and CAP_IPC_LOCK (or smaller buffers); "
                "or use a BPF_MAP_TYPE_RINGBUF, which needs neither",
            ) from error
        if error.errno in (errno.ENOSYS, errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP):
            what = f"this kernel has no perf events for {name!r}: {why}"
            raise KernelSupportError(what, stage="stream", hint="use a BPF_MAP_TYPE_RINGBUF") from error
        raise EbpflabError(f"the perf events of {name!r} cannot be made: {why}", stage="stream") from error
