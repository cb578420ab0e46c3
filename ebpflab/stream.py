"""Draining event buffers: one thread for a session, bounded batches, no Python object for an event.

A :class:`Source` is a buffer that the kernel fills (:mod:`ebpflab.ringbuf`, :mod:`ebpflab.perfbuf`,
:mod:`ebpflab.merge`); a :class:`Drain` is the thread that moves what its sources hold into sinks, usually a
:class:`~ebpflab.store.RecordStore`. Both know file descriptors and bytes, nothing of what the bytes mean.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Protocol

from ._native import Status, Walk
from .errors import EbpflabError, SessionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy as np
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


class Part(Protocol):
    """What fills up on its own: one ring. A source has one or several, and is drained at the pace of the fastest."""

    @property
    def size(self) -> int:
        """How much it holds, in bytes."""

    @property
    def produced(self) -> int:
        """Bytes that the kernel has put into it since it was made, headers and padding included."""

    @property
    def pending_bytes(self) -> int:
        """Bytes in it that nobody has taken yet."""


class Source(Protocol):
    """Where a drain takes records from: a ring buffer, or several rings behind one face.

    ``size`` is in bytes, of each ring where there are several. The byte counters only grow, and headers and padding
    are part of them.
    """

    name: str
    size: int

    def filenos(self) -> tuple[int, ...]:
        """Return the file descriptors that epoll finds readable when there is something to take."""

    def parts(self) -> Sequence[Part]:
        """Return what fills up on its own."""

    def drain(self, sink: Sink) -> Walk:
        """Move one batch, as large as the sink's arrays, and say what was moved and why it ended."""

    def finish(self, sink: Sink) -> None:
        """Move what was taken from the kernel and is held back here, if anything; nothing is drained afterwards."""

    @property
    def produced(self) -> int:
        """Bytes that the kernel has put into the buffer since it was made."""

    @property
    def delivered(self) -> int:
        """A position: sinks have everything that was committed when `produced` stood there."""

    @property
    def pending_bytes(self) -> int:
        """Bytes that no sink has yet; 0 means that there is nothing to drain."""

    def pending_records(self) -> int:
        """Count the records that no sink has yet, those that are still being written included."""

    def lost_by_kernel(self) -> dict[int, int] | None:
        """Return the records that the kernel says it refused, by CPU; None if it keeps no count."""

    def close(self) -> None:
        """Give the memory back. Stop the :class:`Drain` first."""


class Drain:
    """The thread that moves what sources hold into sinks, a bounded batch from each in turn.

    Parameters
    ----------
    sinks
        The sink of each source; several sources may share one. The drain closes them when it ends.
    name
        The session's name; the thread is called ``ebpflab-drain-NAME``.

    Raises
    ------
    EbpflabError
        If a source's file descriptor cannot be waited for.

    Examples
    --------
    >>> drain = Drain({source: store}, name="opens")
    >>> drain.start(); drain.flush(); drain.stop()
    """

    def __init__(self, sinks: Mapping[Source, Sink], *, name: str) -> None:
        self.name = name
        self._sinks = dict(sinks)
        self._paused: set[Source] = set()
        self._pace = _Pace(self._sinks)
        self._turned = threading.Condition(threading.Lock())  # notified after every turn
        self._turns = 0
        self._ended = False
        self._stop_by: float | None = None
        self._error: Exception | None = None
        self._reported = False
        self._thread: threading.Thread | None = None
        self._hung: set[int] = set()  # descriptors that nothing will ever come from
        try:
            self._kick = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._epoll = _epoll(self._kick)
        except OSError as error:
            raise EbpflabError(f"the reader of {name!r} cannot be made: {error}", stage="stream") from error
        self._kicked = select.poll()
        self._kicked.register(self._kick, select.POLLIN)
        try:
            self._epoll.register(self._kick, select.EPOLLIN)
            for source in self._sinks:
                self._watch(source)
        except OSError as error:
            self._end()
            raise EbpflabError(f"cannot wait for the buffers of {name!r}: {error}", stage="stream") from error

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
        """Deliver what the sources hold, as far as `timeout` seconds allow, and end the thread.

        Returns whether everything that was committed before the call is in its sink, paused sources left out.
        A second call changes nothing.

        Raises
        ------
        EbpflabError
            If the thread had failed and no call has said so yet.
        """
        targets = {source: source.produced for source in self._active()}
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

        Paused sources are left out. A record that is reserved but not committed holds back those behind it.

        Raises
        ------
        EbpflabError
            If the thread has failed.
        """
        targets = {source: source.produced for source in self._active()}
        self._await(lambda: _delivered(targets), timeout)
        return _delivered(targets)

    def pause(self, source: Source, timeout: float = 1.0) -> None:
        """Leave `source` alone from now on; once it is full the kernel refuses records.

        Raises
        ------
        EbpflabError
            If the thread has failed.
        """
        self._check()
        with self._turned:
            if source in self._paused or self._ended:
                return
            self._paused.add(source)
            for fd in source.filenos():
                if fd not in self._hung:
                    self._epoll.unregister(fd)
            turn = self._turns + 1  # the turn under way may still deliver, later ones do not
        if self._thread is not None:
            self._await(lambda: self._turns >= turn, timeout)

    def resume(self, source: Source) -> None:
        """Drain a paused source again.

        Raises
        ------
        EbpflabError
            If the thread has failed.
        """
        self._check()
        with self._turned:
            if source not in self._paused or self._ended:
                return
            self._paused.remove(source)
            self._watch(source)
        self._wake()

    def _watch(self, source: Source) -> None:
        for fd in source.filenos():
            if fd not in self._hung:
                self._epoll.register(fd, select.EPOLLIN)

    def _active(self) -> list[Source]:
        with self._turned:
            return [source for source in self._sinks if source not in self._paused]

    def _check(self) -> None:
        if self._error is not None:
            self._reported = True
            what = f"the reader of {self.name!r} has failed: {self._error}"
            raise EbpflabError(what, stage="stream") from self._error

    def _await(self, condition: Callable[[], bool], timeout: float) -> None:
        self._wake()
        with self._turned:
            self._turned.wait_for(lambda: self._ended or condition(), timeout)
        if not self._reported:  # said once: what is held has to stay readable
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
            ready = self._epoll.poll(_WAIT)
            kicked = any(fd == self._kick for fd, _ in ready)
            self._forget([fd for fd, state in ready if state & (select.EPOLLHUP | select.EPOLLERR)])
        else:
            kicked = bool(nap and self._kicked.poll(nap * 1000))
        if kicked:
            os.eventfd_read(self._kick)

    def _forget(self, hung: Sequence[int]) -> None:
        # A perf event of a CPU that went away stays "hung up" for ever: waiting for it would be spinning.
        for fd in hung:
            with self._turned, contextlib.suppress(FileNotFoundError):  # pause() may have been here first
                self._hung.add(fd)
                self._epoll.unregister(fd)

    def _turn(self) -> float | None:
        # One batch of each source. Returns for how long to rest: 0 not at all, None until there is something.
        sources = self._active()
        hurry = False
        for source in sources:
            if source.pending_bytes:
                full = any(part.pending_bytes > _HURRY_FILL * part.size for part in source.parts())
                walk = source.drain(self._sinks[source])
                # A full ring is no reason to hurry while its next record is not committed.
                hurry |= walk.status is Status.LIMIT or (full and walk.records + walk.discarded > 0)
        with self._turned:
            self._turns += 1
            self._turned.notify_all()
        return 0.0 if hurry else self._pace.nap(sources)

    def _finish(self, deadline: float) -> None:
        targets = {source: source.produced for source in self._active()}
        while not _delivered(targets) and time.monotonic() < deadline:
            nap = self._turn()
            if nap:
                time.sleep(_NAP_SHORTEST)  # a record is reserved and not committed yet, or held back
        for source, sink in self._sinks.items():
            source.finish(sink)

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


def _epoll(kick: int) -> select.epoll:
    try:
        return select.epoll()
    except OSError:
        os.close(kick)
        raise


class _Pace:
    # How long to let data pile up before the next turn: until the fastest ring is _NAP_FILL full. A reader
    # that is always caught up is slower, because the kernel then wakes it for every record.

    def __init__(self, sources: Iterable[Source]) -> None:
        self._seen = {part: part.produced for source in sources for part in source.parts()}
        self._since = time.monotonic()
        self._last = 0.0

    def nap(self, sources: Sequence[Source]) -> float | None:
        now = time.monotonic()
        produced = {part: part.produced for source in sources for part in source.parts()}
        filled = max(((count - self._seen[part]) / part.size for part, count in produced.items()), default=0.0)
        waiting = any(source.pending_bytes for source in sources)
        wanted = _NAP_FILL * (now - self._since) / filled if filled else _NAP_LONGEST
        self._seen |= produced
        self._since = now
        if not filled and not waiting:
            self._last = 0.0
            return None
        # After a quiet spell the speed is not known yet: begin short and grow.
        self._last = min(max(wanted, _NAP_SHORTEST), _NAP_LONGEST, max(4 * self._last, _NAP_SHORTEST))
        return self._last


def _delivered(targets: Mapping[Source, int]) -> bool:
    return all(source.delivered >= target for source, target in targets.items())


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
