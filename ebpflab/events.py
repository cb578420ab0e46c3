"""The events of one buffer, as a user sees them: frames, counters, waiting.

An :class:`Events` joins what others do: the drain fills a bounded store, the record types say what its
bytes mean, the loss counters say what never arrived.
"""

from __future__ import annotations

import contextlib
import functools
import json
import time
from typing import TYPE_CHECKING, Any

from .batches import Batches, Tail
from .frame import arrow, frame
from .losses import Losses
from .recording.layout import Facts
from .records import RecordTypes
from .snapshot import Counters, Feed
from .store import RecordStore

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    import pandas as pd

    from .plots import Plots
    from .recording.writer import Recorder
    from .rules import Lookup

_REST = 99  # times as long as it took to count what waits in a buffer: so long it is not counted again
_GAPS_SHOWN = 100  # pandas copies the attrs of a frame at every operation


class Events:
    """The events of one ring buffer or perf buffer, newest history within a cap.

    Get it from a session (``s.events``, ``s.streams["name"]``); it can be read while events arrive and
    after the session is closed. ``async for batch in s.events`` follows it in a notebook's own event loop.

    Examples
    --------
    >>> s.events.wait(100, timeout=5)
    >>> s.events.df().groupby("comm").size()
    """

    def __init__(
        self,
        name: str,
        store: RecordStore,
        feed: Feed,
        types: RecordTypes,
        losses: Losses,
        lookup: Lookup | None = None,
    ) -> None:
        self.name = name
        self.types = types
        self._store, self._feed, self._losses, self._lookup = store, feed, losses, lookup
        self._began = self._ended = 0.0  # UTC seconds; what has not ended yet has 0
        self._rate = (time.monotonic(), 0, 0.0)
        self._pending = (False, 0.0, 0)  # records in the buffer: counted while paused, to count again when, how many
        self._recorders: list[Recorder] = []
        # Of the session that it belongs to: what recordings say of it, and its live view.
        self.facts: Callable[[], Facts] = Facts
        self.live: Callable[..., Any] | None = None
        self.paused = False

    def df(self, last: int | None = None) -> pd.DataFrame:
        """Return the events held, or the `last` ones, as a DataFrame.

        ``df.attrs`` tells what the frame does not show: ``received``, ``lost`` (refused by the full buffer,
        None when unknown), ``evicted`` (pushed out of the history), ``span`` (UTC times as ISO text) and ``gaps``
        (when records were lost: the newest 100 as ``[start, end, lost]``; :meth:`losses` has all).

        Raises
        ------
        DecodeError
            When records do not fit their struct.
        """
        self._catch_up()
        return self._framed(last)[0]

    @property
    def plot(self) -> Plots:
        """The plots of the events held: ``plot.rate()``, ``plot.hist(column)``, ...; each returns matplotlib axes.

        Examples
        --------
        >>> s.events.plot.top("comm")
        """
        from .plots import Plots

        live = None if self.live is None else functools.partial(self.live, stream=self.name)
        return Plots(self.df, live)

    def newest(self, rows: int) -> pd.DataFrame:
        """Return the newest `rows` events held, as :meth:`df` does, without waiting for what is still in the buffer.

        What looks again and again, such as the live view, must cost the same at any rate of events. ``attrs["held"]``
        is how many were held when they were taken.

        Raises
        ------
        DecodeError
            When they do not fit their struct.

        Examples
        --------
        >>> s.events.newest(20)
        """
        shown, counters = self._framed(rows)
        shown.attrs["held"] = counters.rows
        return shown

    @property
    def nbytes(self) -> int:
        """Bytes of memory behind the events held."""
        return self._store.allocated

    def head(self, rows: int = 5) -> pd.DataFrame:
        """Return the first `rows` events held, without decoding the others.

        Raises
        ------
        DecodeError
            When they do not fit their struct.
        """
        self._catch_up()
        with self._store.cursor(from_start=True).read(rows) as oldest:
            return frame(oldest, self.types, self._lookup)

    def stats(self) -> dict[str, Any]:
        """Count records: received, lost, discarded, evicted, pending; rate (per second), rows held, bytes in the ring.

        ``received + lost + discarded + pending`` is what the programs tried to send: ``pending`` are the records that
        are still in the buffer. (While records flow, the numbers are of moments a little apart.) The rate is that since
        the last look; after the programs were detached, that of the whole run.
        """
        counts = self._counted(self._feed.pending_records())
        counts["rate"] = self._per_second(counts["received"])
        return {**counts, "in_ring": self._feed.pending_bytes}

    def counts(self) -> dict[str, Any]:
        """Count records as :meth:`stats` does, for who looks again and again; ``rate`` is that of the whole run.

        The rate since the last look stays that of others, and the records in a full buffer are counted seldom.

        Examples
        --------
        >>> s.events.counts()["received"]
        1009
        """
        return self._counted(self._waiting())

    @property
    def lost(self) -> int | None:
        """Records that the full buffer refused so far; None where nobody counts."""
        self._losses.look(self._store.received)
        return self._losses.total()

    def losses(self) -> pd.DataFrame:
        """Return when records were lost: start and end (UTC), row (events received by then), cpu, lost.

        Examples
        --------
        >>> s.events.losses().groupby("cpu").lost.sum()
        """
        self._losses.look(self._store.counters().received)
        return self._losses.df()

    @property
    def advice(self) -> str:
        """Which size of the buffer would have held what was lost; empty if nothing was."""
        counters = self._store.counters()
        self._losses.look(counters.received)
        mean = counters.received_bytes / counters.received if counters.received else 0
        return self._losses.advice(self.name, self._feed.size, -(-(mean + 8) // 8) * 8)

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

    def batches(self, timeout: float | None = None) -> Batches:
        """Follow what arrives from now on: the columns of one drain at a time, ready for ``pandas.DataFrame``.

        Parameters
        ----------
        timeout
            Seconds without an event after which the iteration ends; None iterates until the session is closed.

        Returns
        -------
        Batches
            For ``for`` and for ``async for``. A batch maps column names to arrays, and its ``record`` names the struct;
            several record types come in batches of their own.

        Raises
        ------
        DecodeError
            From the loop, when records do not fit their struct.
        """
        # "Now" is the call, not the first step of the iteration; what lies in the ring by then came before it.
        self._catch_up()
        return Batches(self._store.cursor(), self.types, timeout)

    def tail(self, *, from_start: bool = False) -> Tail:
        """Return what gives at each call the frame of the events that arrived since the last.

        Parameters
        ----------
        from_start
            Whether the first call also gives the events held.

        Examples
        --------
        >>> tail = s.events.tail()
        >>> new = tail()
        """
        return Tail(self._store.cursor(from_start=from_start), self.types, self._lookup)

    def __aiter__(self) -> Batches:
        # Nothing here may hold up the notebook's event loop, so what lies in the ring is part of the iteration.
        return Batches(self._store.cursor(), self.types, None)

    def pause(self) -> None:
        """Leave the buffer alone: it fills, and what it then refuses is counted as lost."""
        self._feed.pause()
        self.paused = True

    def resume(self) -> None:
        """Go on after :meth:`pause`."""
        self._feed.resume()
        self.paused = False

    def clear(self) -> None:
        """Forget the events held; the counters go on, so that :meth:`wait` counts from the session's beginning."""
        self._catch_up()
        self._store.clear()

    def arrow(self, last: int | None = None) -> Any:
        """Return the events held, or the `last` ones, as a ``pyarrow.Table``: text and names dictionary-coded.

        Raises
        ------
        DecodeError
            When records do not fit their struct.
        """
        self._catch_up()
        with self._store.snapshot(last) as snapshot:
            table = arrow(snapshot, self.types, self._lookup)
        # Where pandas.read_parquet and Table.to_pandas look for the attrs of a frame.
        metadata, attrs = table.schema.metadata or {}, self._attrs(snapshot.counters)
        about = {**json.loads(metadata.get(b"pandas", b"{}")), "attributes": attrs}
        metadata |= {b"pandas": json.dumps(about).encode(), b"PANDAS_ATTRS": json.dumps(attrs).encode()}
        return table.replace_schema_metadata(metadata)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the events held to a Parquet file; the attrs travel with it."""
        import pyarrow.parquet as pq

        pq.write_table(self.arrow(), path)  # type: ignore[no-untyped-call]

    def record(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Recorder:
        """Write the events held and all that arrive to Parquet, until ``stop()`` or the end of the session.

        Parameters
        ----------
        path
            A folder while it runs, one file afterwards; :func:`ebpflab.replay` and every reader of Parquet opens both.
        overwrite
            Whether a recording or a file that is there may be replaced.

        Returns
        -------
        Recorder
            Also a context manager, with ``rows``, ``missed`` and ``stop()``.

        Raises
        ------
        EbpflabError
            When the path is taken, or cannot be written.

        Examples
        --------
        >>> recorder = s.events.record("opens.parquet")
        """
        from .recording.writer import Recorder, Source

        def span() -> tuple[float, float]:
            return self._began, self._ended

        source = Source(
            self.name,
            self.types,
            self._store,
            self._losses,
            self._feed.flush,
            span,
            self.facts,
            self._feed.size,
            self._lookup,
        )
        recorder = Recorder(source, path, overwrite=overwrite)
        self._recorders.append(recorder)
        return recorder

    def __len__(self) -> int:
        return self._store.counters().rows

    def __repr__(self) -> str:
        counts = self.counts()
        lost = "unknown" if counts["lost"] is None else f"{counts['lost']:,}"
        return f"<events of {self.name}: {counts['received']:,} received, {lost} lost, {counts['evicted']:,} evicted>"

    def _framed(self, rows: int | None) -> tuple[pd.DataFrame, Counters]:
        with self._store.snapshot(rows) as snapshot:
            shown = frame(snapshot, self.types, self._lookup)
        shown.attrs.update(self._attrs(snapshot.counters))
        return shown, snapshot.counters

    def _counted(self, pending: int) -> dict[str, Any]:
        counters = self._store.counters()
        return {
            "received": counters.received,
            "lost": self.lost,
            "discarded": counters.discarded,
            "evicted": counters.evicted,
            "pending": pending,
            "rate": counters.received / self._seconds() if self._began else 0.0,
            "rows": counters.rows,
        }

    def _waiting(self) -> int:
        # To count what is in a buffer takes a step for each record.
        paused, until, count = self._pending
        if self.paused != paused or time.monotonic() >= until:
            start = time.monotonic()
            count, end = self._feed.pending_records(), time.monotonic()
            self._pending = self.paused, end + _REST * (end - start), count
        return count

    def _seconds(self) -> float:
        return max((self._ended or time.time()) - self._began, 1e-3)

    def _attrs(self, counters: Counters) -> dict[str, Any]:
        # The counters are the frame's: more may have come while it was made.
        self._losses.look(self._store.received)
        gaps = [[_iso_ms(g.start), _iso_ms(g.end), sum(g.lost)] for g in self._losses.gaps()[-_GAPS_SHOWN:]]
        counts = {"received": counters.received, "lost": self._losses.total(), "evicted": counters.evicted}
        return {**counts, "span": self._span(), "gaps": gaps}

    def _catch_up(self) -> None:
        # What was committed before the call is in the answer: a reader who just caused an event wants to see it.
        self._feed.flush(0.2)

    def begin(self, at: float | None = None) -> None:
        """Note that programs were attached, now or `at` UTC seconds; for sessions."""
        self._began, self._ended = self._began or at or time.time(), 0.0

    def end(self, at: float | None = None) -> None:
        """Note that programs were detached, now or `at` UTC seconds; for sessions."""
        self._ended = self._ended or at or time.time()

    def finish(self) -> None:
        """End the recordings of this stream; for sessions, which call it when nothing more can come."""
        with contextlib.ExitStack() as stack:
            for recorder in self._recorders:
                stack.callback(recorder.stop)

    def _per_second(self, received: int) -> float:
        # While it runs: since the last look. Afterwards: over the whole run.
        if self._began and self._ended:
            return received / self._seconds()
        then, count, rate = self._rate
        now = time.monotonic()
        if now - then >= 0.25:
            rate = (received - count) / (now - then)
            self._rate = (now, received, rate)
        return rate

    def _span(self) -> list[str]:
        return [_iso(self._began or time.time()), _iso(self._ended or time.time())]


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _iso_ms(nanoseconds: int) -> str:
    return f"{_iso(nanoseconds // 1_000_000_000)[:-1]}.{nanoseconds // 1_000_000 % 1000:03}Z"
