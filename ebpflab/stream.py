"""Draining BPF ring buffers: one thread for a session, bounded batches, no Python object for an event.

The protocol is that of ``kernel/bpf/ringbuf.c`` (Linux 5.8). A :class:`RingBuffer` is one mapped ring; a
:class:`Drain` is the thread that moves what its rings hold into sinks, usually a
:class:`~ebpflab.store.RecordStore`. Both know file descriptors and bytes, nothing of what the bytes mean.
"""

from __future__ import annotations

import mmap
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Protocol

import numpy as np

from . import _native
from ._native import Status, Walk
from .errors import EbpflabError, SessionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

_WAIT = 0.1  # seconds: the tail of a stream whose program asks for no wakeup arrives at most this late
_NAP_SHORTEST, _NAP_LONGEST = 0.001, 0.02
_NAP_FILL = 0.15  # the share of a ring that should be full when it is drained
_HURRY_FILL = 0.25  # above this there is no nap


class Sink(Protocol):
    """Where a drain puts records; :class:`~ebpflab.store.RecordStore` is one."""

    def reserve(self, minimum: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
        """Return arrays for packed records and for their lengths; the first has at least `minimum` bytes."""

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
        """Take over what was written to the arrays of the last :meth:`reserve`."""

    def close(self) -> None:
        """Learn that nothing more will come."""


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

    Raises
    ------
    EbpflabError
        If the size is not one that a ring buffer can have, or the kernel refuses the mapping.

    Examples
    --------
    >>> ring = RingBuffer(map_fd, 1 << 23, "events")
    >>> ring.drain(RecordStore()).records
    """

    def __init__(self, fd: int, max_entries: int, name: str, *, walker: _native.Kind = "auto") -> None:
        page = mmap.PAGESIZE
        if max_entries < page or max_entries & (max_entries - 1):
            raise EbpflabError(
                f"ring buffer {name!r}: {max_entries} bytes is not a size that one can have",
                stage="stream",
                hint=f"max_entries has to be a power of two of at least {page} (one page)",
            )
        self.name, self.size = name, max_entries
        self._fd = fd
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
        self._lock = threading.Lock()  # a ring has one consumer
        self._minimum = 1
        self._delivered = int(self._ring.consumer[0])

    def fileno(self) -> int:
        """Return the map's file descriptor, which epoll finds readable while records wait."""
        return self._fd

    def drain(self, sink: Sink) -> Walk:
        """Move one batch, as large as the sink's arrays, and say what was moved and why it ended.

        Raises
        ------
        EbpflabError
            If the ring is closed, or holds a record length that cannot be; then nothing is consumed.
        """
        with self._lock:
            if self._ring is None or self._walk is None:
                raise EbpflabError(f"ring buffer {self.name!r} is closed", stage="stream")
            out, lens = sink.reserve(self._minimum)
            walk = self._walk(out, lens)
            if walk.status is Status.TORN:
                raise EbpflabError(
                    f"ring buffer {self.name!r} is torn: past position {self._ring.consumer[0]} a record is "
                    "longer than what was written",
                    stage="stream",
                    hint="another process may be consuming the same ring; load the program again",
                )
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
            self._delivered = int(self._ring.consumer[0])
            return walk

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

    def close(self) -> None:
        """Unmap the ring; what it still holds stays in the kernel's map. Stop its :class:`Drain` first."""
        with self._lock:
            self._walk = self._ring = None


class Drain:
    """The thread that moves what rings hold into sinks, a bounded batch from each in turn.

    Parameters
    ----------
    sinks
        The sink of each ring; several rings may share one. The drain closes them when it ends.
    name
        The session's name; the thread is called ``ebpflab-drain-NAME``.

    Raises
    ------
    EbpflabError
        If a ring's file descriptor cannot be waited for.

    Examples
    --------
    >>> drain = Drain({ring: store}, name="opens")
    >>> drain.start(); drain.flush(); drain.stop()
    """

    def __init__(self, sinks: Mapping[RingBuffer, Sink], *, name: str) -> None:
        self.name = name
        self._sinks = dict(sinks)
        self._paused: set[RingBuffer] = set()
        self._pace = _Pace(self._sinks)
        self._turned = threading.Condition(threading.Lock())  # notified after every turn
        self._turns = 0
        self._ended = False
        self._stop_by: float | None = None
        self._error: Exception | None = None
        self._reported = False
        self._thread: threading.Thread | None = None
        self._kick = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._kicked = select.poll()
        self._kicked.register(self._kick, select.POLLIN)
        self._epoll = select.epoll()
        try:
            for fd in (self._kick, *(ring.fileno() for ring in self._sinks)):
                self._epoll.register(fd, select.EPOLLIN)
        except OSError as error:
            self._end()
            raise EbpflabError(f"cannot wait for the rings of {name!r}: {error}", stage="stream") from error

    def start(self) -> None:
        """Start the thread.

        Raises
        ------
        SessionError
            If it was started or stopped before.
        """
        if self._thread is not None or self._ended:
            raise SessionError(f"the reader of {self.name!r} was started before", stage="stream")
        thread_name = f"ebpflab-drain-{self.name}"
        self._thread = threading.Thread(target=self._run, name=thread_name, daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 0.2) -> bool:
        """Deliver what the rings hold, as far as `timeout` seconds allow, and end the thread.

        Returns whether everything that was committed before the call is in its sink, paused rings left out.
        A second call changes nothing.

        Raises
        ------
        EbpflabError
            If the thread had failed and no call has said so yet.
        """
        targets = {ring: ring.produced for ring in self._active()}
        if self._thread is None:
            self._end()
        else:
            # The last third is for the thread to notice and to leave.
            self._stop_by = self._stop_by or time.monotonic() + timeout * 2 / 3
            self._wake()
            self._thread.join(timeout)
        if not self._reported:
            self._check()
        return self._ended and _delivered(targets)

    def flush(self, timeout: float = 1.0) -> bool:
        """Wait until everything committed before this call is in its sink; False if `timeout` came first.

        Paused rings are left out. A record that is reserved but not committed holds back those behind it.

        Raises
        ------
        EbpflabError
            If the thread has failed.
        """
        targets = {ring: ring.produced for ring in self._active()}
        self._await(lambda: _delivered(targets), timeout)
        return _delivered(targets)

    def pause(self, ring: RingBuffer, timeout: float = 1.0) -> None:
        """Leave `ring` alone from now on; once it is full the kernel refuses records.

        Raises
        ------
        EbpflabError
            If the thread has failed.
        """
        self._check()
        with self._turned:
            if ring in self._paused or self._ended:
                return
            self._paused.add(ring)
            self._epoll.unregister(ring.fileno())
            turn = self._turns + 1  # the turn under way may still deliver, later ones do not
        if self._thread is not None:
            self._await(lambda: self._turns >= turn, timeout)

    def resume(self, ring: RingBuffer) -> None:
        """Drain a paused ring again.

        Raises
        ------
        EbpflabError
            If the thread has failed.
        """
        self._check()
        with self._turned:
            if ring not in self._paused or self._ended:
                return
            self._paused.remove(ring)
            self._epoll.register(ring.fileno(), select.EPOLLIN)
        self._wake()

    def _active(self) -> list[RingBuffer]:
        with self._turned:
            return [ring for ring in self._sinks if ring not in self._paused]

    def _check(self) -> None:
        if self._error is not None:
            self._reported = True
            what = f"the reader of {self.name!r} has failed: {self._error}"
            raise EbpflabError(what, stage="stream") from self._error

    def _await(self, condition: Callable[[], bool], timeout: float) -> None:
        self._wake()
        with self._turned:
            self._turned.wait_for(lambda: self._ended or condition(), timeout)
        self._check()

    def _wake(self) -> None:
        with self._turned:
            if not self._ended:
                os.eventfd_write(self._kick, 1)

    # All below runs in the thread.

    def _run(self) -> None:
        nap: float | None = None
        try:
            while self._stop_by is None:
                self._rest(nap)
                nap = self._turn()
            self._finish(self._stop_by)
        except Exception as error:  # noqa: BLE001 - kept whatever it is: the next call from outside raises it
            self._error = error
        finally:
            self._end()

    def _rest(self, nap: float | None) -> None:
        # While a nap lasts the kernel need not wake us: it does so only for a record that we are waiting for.
        if nap is None:
            kicked = any(fd == self._kick for fd, _ in self._epoll.poll(_WAIT))
        else:
            kicked = bool(nap and self._kicked.poll(nap * 1000))
        if kicked:
            os.eventfd_read(self._kick)

    def _turn(self) -> float | None:
        # One batch of each ring. Returns for how long to rest: 0 not at all, None until there is something.
        rings = self._active()
        hurry = False
        for ring in rings:
            if waiting := ring.pending_bytes:
                walk = ring.drain(self._sinks[ring])
                # A full ring is no reason to hurry while its next record is not committed.
                moved = walk.records + walk.discarded > 0
                hurry |= walk.status is Status.LIMIT or (moved and waiting > _HURRY_FILL * ring.size)
        with self._turned:
            self._turns += 1
            self._turned.notify_all()
        return 0.0 if hurry else self._pace.nap(rings)

    def _finish(self, deadline: float) -> None:
        targets = {ring: ring.produced for ring in self._active()}
        while not _delivered(targets) and time.monotonic() < deadline:
            nap = self._turn()
            if nap:
                time.sleep(_NAP_SHORTEST)  # a record is reserved and not committed yet

    def _end(self) -> None:
        with self._turned:
            if self._ended:
                return
            self._ended = True
            self._epoll.close()
            os.close(self._kick)
            self._turned.notify_all()
        for sink in self._sinks.values():
            sink.close()


class _Pace:
    # How long to let data pile up before the next turn: until the fastest ring is _NAP_FILL full. A reader
    # that is always caught up is slower, because the kernel then wakes it for every record.

    def __init__(self, rings: Iterable[RingBuffer]) -> None:
        self._seen = {ring: ring.produced for ring in rings}
        self._since = time.monotonic()
        self._last = 0.0

    def nap(self, rings: Sequence[RingBuffer]) -> float | None:
        now = time.monotonic()
        produced = {ring: ring.produced for ring in rings}
        filled = max(((produced[ring] - self._seen[ring]) / ring.size for ring in rings), default=0.0)
        waiting = any(ring.pending_bytes for ring in rings)
        wanted = _NAP_FILL * (now - self._since) / filled if filled else _NAP_LONGEST
        self._seen |= produced
        self._since = now
        if not filled and not waiting:
            self._last = 0.0
            return None
        # After a quiet spell the speed is not known yet: begin short and grow.
        self._last = min(max(wanted, _NAP_SHORTEST), _NAP_LONGEST, max(4 * self._last, _NAP_SHORTEST))
        return self._last


def _delivered(targets: Mapping[RingBuffer, int]) -> bool:
    return all(ring.delivered >= target for ring, target in targets.items())


def monotonic_to_utc_offset(samples: int = 5) -> int:
    """Return CLOCK_REALTIME - CLOCK_MONOTONIC in nanoseconds, from the tightest of some readings.

    ``bpf_ktime_get_ns()`` is CLOCK_MONOTONIC; adding this makes it UTC. It jumps when the clock is set and
    after the machine was suspended.

    Examples
    --------
    >>> time.monotonic_ns() + monotonic_to_utc_offset() - time.time_ns() < 1_000_000
    True
    """
    readings = []
    for _ in range(samples):
        before, utc, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        readings.append((after - before, utc - (before + after) // 2))
    return min(readings)[1]
