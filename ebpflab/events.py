"""The events of one buffer, as a user sees them: frames, counters, waiting.

An :class:`Events` joins what others do: the drain fills a bounded store, the record types say what its
bytes mean, the loss counters say what never arrived.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from . import decode
from .errors import DecodeError
from .records import Candidate, RecordTypes
from .snapshot import Snapshot
from .store import Cursor, RecordStore
from .stream import Drain, RingBuffer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from numpy.typing import NDArray


class Events:
    """The events of one ring buffer, newest history within a cap.

    Get it from a session (``s.events``, ``s.streams["name"]``); it can be read while events arrive and
    after the session is closed.

    Examples
    --------
    >>> s.events.wait(100, timeout=5)
    >>> s.events.df().groupby("comm").size()
    """

    def __init__(
        self,
        name: str,
        ring: RingBuffer,
        store: RecordStore,
        drain: Drain,
        types: RecordTypes,
        lost: Callable[[], int | None],
    ) -> None:
        self.name = name
        self.types = types
        self._ring, self._store, self._drain, self._lost = ring, store, drain, lost
        self._began = self._ended = 0.0  # UTC seconds; what has not ended yet has 0
        self._rate = (time.monotonic(), 0, 0.0)

    def df(self, last: int | None = None) -> pd.DataFrame:
        """Return the events held, or the `last` ones, as a DataFrame.

        ``df.attrs`` tells what the frame does not show: ``received``, ``lost`` (refused by the full buffer,
        None when unknown), ``evicted`` (pushed out of the history) and ``span`` (UTC times as ISO text).

        Raises
        ------
        DecodeError
            When records do not fit their struct.
        """
        self._catch_up()
        with self._store.snapshot(last) as snapshot:
            frame = self._frame(snapshot)
        stats = self.stats()
        frame.attrs.update({key: stats[key] for key in ("received", "lost", "evicted")}, span=self._span())
        return frame

    def head(self, rows: int = 5) -> pd.DataFrame:
        """Return the first `rows` events held, without decoding the others.

        Raises
        ------
        DecodeError
            When they do not fit their struct.
        """
        self._catch_up()
        with self._store.cursor(from_start=True).read(rows) as oldest:
            return self._frame(oldest)

    def stats(self) -> dict[str, Any]:
        """Count: received, lost, discarded, evicted (records), rate (per second), rows held, bytes in the ring.

        ``received + lost + discarded`` is what the programs tried to send, once nothing is in the ring. The rate is
        that since the last look; after the programs were detached, that of the whole run.
        """
        counters = self._store.counters()
        return {
            "received": counters.received,
            "lost": self._lost(),
            "discarded": counters.discarded,
            "evicted": counters.evicted,
            "rate": self._per_second(counters.received),
            "rows": counters.rows,
            "in_ring": self._ring.pending_bytes,
        }

    def wait(self, count: int | None = None, timeout: float | None = None) -> bool:
        """Wait until `count` events have been received in all (default: one more than now).

        Parameters
        ----------
        count
            Number of events since the session began.
        timeout
            Seconds to wait at most; None waits for ever (an interrupt ends it).

        Returns
        -------
        bool
            Whether they came.
        """
        wanted = self._store.counters().received + 1 if count is None else count
        return self._store.wait_for(wanted, timeout)

    def batches(self, timeout: float | None = None) -> Iterator[dict[str, NDArray[Any]]]:
        """Iterate over what arrives from now on: the columns of one drain at a time, ready for ``pandas.DataFrame``.

        Parameters
        ----------
        timeout
            Seconds without an event after which the iteration ends; None iterates until the session is closed.

        Raises
        ------
        DecodeError
            When the buffer holds more than one record type (use :meth:`df`), or records do not fit.
        """
        # "Now" is the call, not the first step of the iteration; what lies in the ring by then came before it.
        self._catch_up()
        return self._follow(self._store.cursor(), timeout)

    def _follow(self, cursor: Cursor, timeout: float | None) -> Iterator[dict[str, NDArray[Any]]]:
        try:
            while self._await(cursor, timeout):
                with cursor.read() as snapshot:
                    for length in snapshot.lengths():
                        (candidate,) = self._single(length)
                        for data, offset in snapshot.chunks(length):
                            yield candidate.type.decode(data, offset)
        finally:
            cursor.close()

    def pause(self) -> None:
        """Leave the buffer alone: it fills, and what it then refuses is counted as lost."""
        self._drain.pause(self._ring)

    def resume(self) -> None:
        """Go on after :meth:`pause`."""
        self._drain.resume(self._ring)

    def clear(self) -> None:
        """Forget the events held; the counters go on."""
        self._catch_up()
        self._store.clear()

    def arrow(self, last: int | None = None) -> Any:
        """Return the events held as a ``pyarrow.Table``."""
        import pyarrow as pa

        return pa.Table.from_pandas(self.df(last), preserve_index=False)

    def to_parquet(self, path: str) -> None:
        """Write the events held to a Parquet file; the attrs travel with it."""
        self.df().to_parquet(path, index=False)

    def __len__(self) -> int:
        return self._store.counters().rows

    def __repr__(self) -> str:
        stats = self.stats()
        lost = "unknown" if stats["lost"] is None else f"{stats['lost']:,}"
        return f"<events of {self.name}: {stats['received']:,} received, {lost} lost, {stats['evicted']:,} evicted>"

    def _catch_up(self) -> None:
        # What was committed before the call is in the answer: a reader who just caused an event wants to see it.
        self._drain.flush(timeout=0.2)

    def _frame(self, snapshot: Snapshot) -> pd.DataFrame:
        import pandas as pd

        lengths = sorted(snapshot.lengths())
        if not lengths:
            candidates = self.types.candidates
            return decode.to_frame(candidates[0].type, []) if self.types.by != "size" and candidates else pd.DataFrame()
        if len(lengths) == 1 and len(found := self.types.of_length(lengths[0])) == 1 and found[0].field is None:
            return decode.to_frame(found[0].type, snapshot.chunks(lengths[0]))
        parts = [part for length in lengths for part in self._tagged(snapshot, length)]
        order = np.concatenate([positions for positions, _ in parts])
        joined = pd.concat([frame for _, frame in parts], ignore_index=True)
        joined["record"] = joined["record"].astype("category")
        return joined.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)

    def _tagged(self, snapshot: Snapshot, length: int) -> Iterator[tuple[NDArray[np.int64], pd.DataFrame]]:
        # One frame per record type of this length, with the place of every row in the order of arrival.
        positions = snapshot.order(length)
        candidates = self.types.of_length(length)
        frames = [decode.to_frame(c.type, snapshot.chunks(length)) for c in candidates]
        claimed = np.zeros(len(positions), bool)
        for candidate, frame in zip(candidates, frames, strict=True):
            rows = (
                np.ones(len(frame), bool) if candidate.field is None else _has_tag(candidate, snapshot.chunks(length))
            )
            claimed |= rows
            shown = frame[rows]
            shown.insert(0, "record", candidate.type.name.removeprefix("struct "))
            yield positions[rows], shown
        if not claimed.all():
            names = ", ".join(f"{c.type.name}:{c.field}={c.value}" for c in candidates)
            raise DecodeError(
                f"{int((~claimed).sum())} records of {self.name} carry none of the tags {names}",
                hint=f"name the record type of every tag: --event {self.name}=STRUCT:FIELD=NUMBER",
            )

    def _single(self, length: int) -> Sequence[Candidate]:
        found = self.types.of_length(length)
        if len(found) > 1:
            raise DecodeError(
                f"{self.name} holds several record types", hint="use df(), which tells them apart by their tag"
            )
        return found

    def _await(self, cursor: Cursor, timeout: float | None) -> bool:
        # A wait without an end could not be interrupted on every platform; half a second can.
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = 0.5 if deadline is None else min(0.5, deadline - time.monotonic())
            if cursor.wait(max(0.0, left)):
                return True
            if self._store.closed or left <= 0:
                return False

    def begin(self) -> None:
        """Note that programs were attached; for sessions."""
        self._began, self._ended = self._began or time.time(), 0.0

    def end(self) -> None:
        """Note that programs were detached; for sessions."""
        self._ended = self._ended or time.time()

    def _per_second(self, received: int) -> float:
        # While it runs: since the last look. Afterwards: over the whole run.
        if self._began and self._ended:
            return received / max(self._ended - self._began, 1e-3)
        then, count, rate = self._rate
        now = time.monotonic()
        if now - then >= 0.25:
            rate = (received - count) / (now - then)
            self._rate = (now, received, rate)
        return rate

    def _span(self) -> list[str]:
        def iso(seconds: float) -> str:
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))

        return [iso(self._began or time.time()), iso(self._ended or time.time())]


def _has_tag(candidate: Candidate, chunks: Sequence[tuple[NDArray[np.uint8], int]]) -> NDArray[np.bool_]:
    # Read the tag as the number in the record, whatever its column shows (an enum shows names).
    path = (candidate.field or "").split(".")
    masks = []
    for data, _ in chunks:
        field = np.ascontiguousarray(data).view(candidate.type.dtype).reshape(-1)
        for name in path:
            field = field[name]
        masks.append(field == candidate.value)
    return np.concatenate(masks) if masks else np.zeros(0, bool)
