"""One source out of several, in the order of time: the CPUs of a perf buffer, the shards of a map of ring buffers.

Each round takes what every member holds into memory of our own, its lane, and releases to the sink, by time, what
is older than the round. What is newer waits for the next round, when whatever another CPU was about to commit is
there as well; so the order holds across rounds. A record that its CPU took very long to commit (it was interrupted
for milliseconds) comes late and out of order, but it comes: nothing is dropped here.

Records of one member are never reordered among themselves. Their times are made to never decrease, and never to
lie in the future; then a field that holds anything but the time cannot hold up the others.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ._native import Status, Walk
from ._native.merging import Held, Merged, merger
from .stream import Part, monotonic_to_utc_offset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ._native import Kind
    from .stream import Sink

_SLACK_NS = 1_000_000  # between taking the time and committing the record, a CPU may be that long
_PATIENCE_NS = 20_000_000  # for how long a record that is reserved and not committed holds back those of others
_LANES = 32 << 20  # bytes of all lanes together, within the bounds of each
_LANE_SMALLEST, _LANE_LARGEST = 1 << 16, 1 << 20
_RECORD = 16  # bytes of a small record: a lane has room for so many that these fill it
_ALL = (1 << 64) - 1


class Member(Part, Protocol):
    """One of the buffers that are merged: a ring with a time for each record."""

    def filenos(self) -> tuple[int, ...]:
        """Return the file descriptors to wait for."""

    def take(self, out: NDArray[np.uint8], lens: NDArray[np.uint32], times: NDArray[np.uint64]) -> Walk:
        """Move one batch; `times` gets nanoseconds of CLOCK_MONOTONIC, 0 where a record has none."""

    @property
    def delivered(self) -> int:
        """The position up to which everything was taken."""

    def pending_records(self) -> int:
        """Count the records that were not taken."""

    def lost_by_kernel(self) -> dict[int, int] | None:
        """Return the records that the kernel says it refused, by CPU."""

    def close(self) -> None:
        """Give the memory back."""


class MergedSource:
    """Several buffers behind one face, their records ordered by time; a :class:`~ebpflab.stream.Source`.

    Parameters
    ----------
    name
        The map's name, for messages.
    members
        The buffers, at least one; they are closed with this.
    kind
        ``"c"``, ``"numpy"`` or ``"auto"``, see :func:`ebpflab._native.merging.merger`.

    Examples
    --------
    >>> source = MergedSource("events", [PerfRing(fd, 1 << 20, "events", cpu=cpu) for cpu, fd in enumerate(fds)])
    >>> Drain({source: RecordStore()}, name="opens").start()
    """

    def __init__(self, name: str, members: Sequence[Member], *, kind: Kind = "auto") -> None:
        self.name = name
        self.size = min(member.size for member in members)
        nbytes = min(max(_LANES // len(members), _LANE_SMALLEST), _LANE_LARGEST)
        self._lanes = [_Lane(member, nbytes) for member in members]
        self._merge = merger(kind)
        self._lock = threading.Lock()
        self._minimum = 1
        self._delivered = sum(member.delivered for member in members)
        # Where all members stood at some moment. `delivered` moves there once all of it is delivered: a sum of
        # what each has delivered would hide one that is behind others.
        self._goal: list[int] | None = None
        self._reading = threading.Lock()  # one list of positions is wholly older than another, or wholly newer

    def filenos(self) -> tuple[int, ...]:
        """Return the file descriptors of all members."""
        return tuple(fd for lane in self._lanes for fd in lane.member.filenos())

    def parts(self) -> tuple[Member, ...]:
        """Return the members."""
        return tuple(lane.member for lane in self._lanes)

    def drain(self, sink: Sink) -> Walk:
        """Take what the members hold and release, in the order of time, what is older than this call.

        Raises
        ------
        EbpflabError
            If a member is closed or its memory contradicts itself.
        """
        with self._lock:
            until = time.monotonic_ns() - _SLACK_NS
            if self._goal is None:
                self._goal = self._positions()
            walks = [walk for lane in self._lanes if (walk := lane.fill()) is not None]
            # What a member still holds is newer than what was taken of it, but perhaps older than the others'.
            until = min([until, *(lane.newest for lane in self._lanes if lane.behind)])
            merged = self._release(sink, until, sum(walk.discarded for walk in walks))
            states = {walk.status for walk in walks}
            status = Status.BUSY if Status.BUSY in states else Status.EMPTY
            if merged.full or Status.LIMIT in states:
                status = Status.LIMIT
            discarded, lost = sum(walk.discarded for walk in walks), sum(walk.lost for walk in walks)
            return Walk(merged.records, merged.nbytes, discarded, merged.next_length, merged.mixed, status, lost)

    def finish(self, sink: Sink) -> None:
        """Release everything that was taken, whatever its time; for the end of a drain."""
        with self._lock:
            while any(lane.records for lane in self._lanes):
                self._release(sink, _ALL, 0)

    def _release(self, sink: Sink, until: int, discarded: int) -> Merged:
        out, lens = sink.reserve(self._minimum)
        merged = self._merge([lane.held() for lane in self._lanes], until, out, lens)
        if merged.records or discarded:
            now, offset = time.monotonic(), monotonic_to_utc_offset()
            sink.commit(merged.records, merged.nbytes, offset, now, discarded=discarded, mixed=merged.mixed)
        for lane, (records, nbytes) in zip(self._lanes, merged.taken, strict=True):
            lane.release(records, nbytes)
        self._minimum = max(merged.next_length, 1)
        if self._goal and all(lane.delivered >= goal for lane, goal in zip(self._lanes, self._goal, strict=True)):
            self._delivered, self._goal = sum(self._goal), None
        return merged

    @property
    def produced(self) -> int:
        """The sum of the members' positions."""
        return sum(self._positions())

    def _positions(self) -> list[int]:
        with self._reading:
            return [lane.member.produced for lane in self._lanes]

    @property
    def delivered(self) -> int:
        """A position: sinks have everything that was committed when `produced` stood there."""
        return self._delivered

    @property
    def pending_bytes(self) -> int:
        """Bytes that no sink has yet, an upper bound: it is 0 once there is nothing left."""
        return self.produced - self._delivered

    def pending_records(self) -> int:
        """Count the records that no sink has yet: in the members, and held back here."""
        with self._lock:
            return sum(lane.member.pending_records() + lane.records for lane in self._lanes)

    def lost_by_kernel(self) -> dict[int, int] | None:
        """Return the records that the kernel says it refused, by CPU; None if no member keeps a count."""
        counts = [count for lane in self._lanes if (count := lane.member.lost_by_kernel()) is not None]
        return {cpu: lost for count in counts for cpu, lost in count.items()} if counts else None

    def close(self) -> None:
        """Close every member; what they still hold stays in the kernel's memory, and goes with it."""
        with self._lock:
            for lane in self._lanes:
                lane.member.close()


class _Lane:
    # What was taken from one member and not released yet: packed records from `_start` to `_end`, the lengths and
    # times of records `_first` to `_last`.

    def __init__(self, member: Member, nbytes: int) -> None:
        self.member = member
        self.newest = 0  # time of the last record taken
        self.behind = False  # whether the member may hold records that are older than those of others
        self.delivered = member.delivered  # the member's position up to which everything was released
        self._data = np.empty(nbytes, np.uint8)
        self._lens = np.empty(nbytes // _RECORD, np.uint32)
        self._times = np.empty(nbytes // _RECORD, np.uint64)
        self._first = self._last = self._start = self._end = 0
        self._came = self._left = 0  # records, ever
        self._marks: deque[tuple[int, int]] = deque()  # records that came by then, the member's position
        self._looked = time.monotonic_ns()
        self._busy = (-1, 0)  # where the member stood at the last look, and since when
        self._minimum = 1

    @property
    def records(self) -> int:
        return self._last - self._first

    def held(self) -> Held:
        records = slice(self._first, self._last)
        return Held(self._data[self._start : self._end], self._lens[records], self._times[records])

    def fill(self) -> Walk | None:
        if not self.member.pending_bytes:
            self.behind, self._looked = False, time.monotonic_ns()
            return None
        self._make_room()
        walk = self.member.take(self._data[self._end :], self._lens[self._last :], self._times[self._last :])
        self._order(self._times[self._last : self._last + walk.records])
        self._last += walk.records
        self._end += walk.nbytes
        self._came += walk.records
        self._minimum = max(walk.next_length, 1)
        if self._busy[0] != self.member.delivered:
            self._busy = (self.member.delivered, self._looked)
        waited = self._looked - self._busy[1]
        self.behind = walk.status is Status.LIMIT or (walk.status is Status.BUSY and waited < _PATIENCE_NS)
        if self._marks and self._marks[-1][0] == self._came:
            self._marks.pop()
        self._marks.append((self._came, self.member.delivered))
        self._advance()
        return walk

    def _order(self, times: NDArray[np.uint64]) -> None:
        now = time.monotonic_ns()
        if len(times):
            times[times == 0] = self._looked  # a record without a time came since we last looked
            np.minimum(times, np.uint64(now), out=times)
            times[0] = max(int(times[0]), self.newest)
            np.maximum.accumulate(times, out=times)
            self.newest = int(times[-1])
        self._looked = now

    def release(self, records: int, nbytes: int) -> None:
        self._first += records
        self._start += nbytes
        self._left += records
        if self._first == self._last:
            self._first = self._last = self._start = self._end = 0
        self._advance()

    def _advance(self) -> None:
        while self._marks and self._marks[0][0] <= self._left:
            self.delivered = self._marks.popleft()[1]

    def _make_room(self) -> None:
        # What is held moves to the front when it has come past the middle; only a huge record makes a lane grow.
        held, nbytes = self.held(), self._end - self._start
        if nbytes + self._minimum > len(self._data):
            self._data = np.empty(nbytes + self._minimum, np.uint8)
        elif 2 * self._end <= len(self._data) and 2 * self._last <= len(self._lens):
            return
        self._data[:nbytes] = held.data
        self._lens[: self.records] = held.lens
        self._times[: self.records] = held.times
        self._first, self._last, self._start, self._end = 0, self.records, 0, nbytes
