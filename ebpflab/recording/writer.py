"""Recording a stream into Parquet while it runs."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import EbpflabError
from ..losses import Losses
from ..records import RecordTypes
from ..store import Cursor, RecordStore
from ..worker import Worker
from .columns import Columns
from .layout import About, Facts, Tally, about_metadata, notes_metadata, tally_metadata, wanted
from .lookups import NotingLookup
from .parts import Parts, explained, parquet

if TYPE_CHECKING:
    from ..rules import Lookup

_PART_SECONDS = 1.0
_PART_BYTES = 64 << 20  # of raw records
_GROUP_ROWS, _GROUP_BYTES = 1 << 16, 8 << 20  # of one row group in a part
_GAPS_IN_PARTS = 100  # what a frame shows of them; the file has all
_LOOK_SECONDS = 0.05  # how fine the times of arrival are that a replay follows
_FLUSH_SECONDS = 0.5


@dataclass(frozen=True)
class Source:
    """What a recorder has to know of a stream.

    ``flush`` waits, for so many seconds at most, until what was sent is in the store. ``span`` tells when programs were
    attached and detached (UTC seconds, 0 for not yet). ``size`` is the buffer's in bytes. ``lookup`` tells what stack
    ids and addresses stand for.
    """

    name: str
    types: RecordTypes
    store: RecordStore
    losses: Losses
    flush: Callable[[float], object]
    span: Callable[[], tuple[float, float]]
    facts: Callable[[], Facts]
    size: int
    lookup: Lookup | None = None


_live: weakref.WeakValueDictionary[Path, Recorder] = weakref.WeakValueDictionary()


class Recorder:
    """Writes a stream to Parquet until :meth:`stop`, or until its session closes; made by ``s.events.record(path)``.

    The events held so far are part of the recording. While it runs, `path` is a folder of parts, one more about
    every second; at the end it becomes one file. A process that is killed leaves the folder. Both open with
    ``pandas.read_parquet`` and :func:`ebpflab.replay`, DuckDB and Polars, and hold the columns of ``df()`` beside
    some of the recording's own; a stream of several record types has ``record``, their name, and no others.

    It never holds up the kernel: events that leave the history before they are written are counted in
    :attr:`missed`.

    Attributes
    ----------
    path : pathlib.Path
        The recording.

    Examples
    --------
    >>> with s.events.record("opens.parquet") as r:
    ...     time.sleep(60)
    >>> r.rows, r.missed
    (48613, 0)
    """

    def __init__(self, source: Source, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        self.path = Path(path).expanduser().absolute()
        self._source, self._store = source, source.store
        self._lookup = None if source.lookup is None else NotingLookup(source.lookup)
        self._columns = Columns(source.types, self._lookup)
        counters = self._store.counters()
        self._before = counters.received - counters.rows
        self._cursor = Cursor(self._store, self._before)
        self._about = About(
            source.facts(),
            source.name,
            source.types.by,
            wanted(source.types),
            self._store.keep,
            source.size,
            time.time_ns(),
            self._columns.prefix,
        )
        self._rows = 0
        self._end: int | None = None  # the number of the row to stop at
        self._error: EbpflabError | None = None
        self._reported = False
        self._woken, self._ending = threading.Event(), False
        self._threshold = 0
        if (other := _live.get(self.path)) is not None and other.running:
            raise EbpflabError(f"{self.path} is being recorded", hint="stop() that recorder first", stage="record")
        self._parts = Parts(self.path, overwrite=overwrite)
        with explained(self.path):
            self._part(first=True)  # whatever happens from now on, the path opens
        self._forget = self._store.listen(self._arrived)
        self._worker = Worker(self._run, f"ebpflab-record-{source.name}")
        _live[self.path] = self

    @property
    def rows(self) -> int:
        """Events written so far; those of the part under way are counted before it is complete."""
        return self._rows

    @property
    def missed(self) -> int:
        """Events that left the history before they were written."""
        return self._cursor.missed

    @property
    def running(self) -> bool:
        """Whether it is still recording."""
        return self._worker.running

    def stop(self) -> None:
        """Write everything that has arrived, and make the recording one file; a second call changes nothing.

        Raises
        ------
        EbpflabError
            When it could not be written, the disk being full for example; once.
        """
        try:
            if not self._over():
                self._source.flush(_FLUSH_SECONDS)
        finally:
            self._ending = True
            self._woken.set()
            self._worker.wait()
        if self._error is not None and not self._reported:
            self._reported = True
            raise self._error

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "recording" if self.running else "failed" if self._error else "stopped"
        return f"<{state}: {self._rows:,} events of {self._source.name} in {self.path}, {self.missed:,} missed>"

    def _arrived(self) -> None:
        # Called for every batch of the drain, which must not wait.
        if self._store.received >= self._threshold or self._store.closed:
            self._woken.set()

    # All below runs in the thread, but for the first part.

    def _run(self) -> None:
        try:
            with explained(self.path):
                while not self._over():
                    self._part()
                self._finish()
        except EbpflabError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - kept whatever it is: stop() raises it
            self._error = EbpflabError(f"recording {self._source.name} has failed: {error!r}", stage="record")
            self._error.__cause__ = error
        finally:
            self._forget()
            self._cursor.close()

    def _over(self) -> bool:
        return self._ending or self._store.closed

    def _part(self, *, first: bool = False) -> None:
        # One part: begun with the first rows that arrive, ended after a second or when it is large enough.
        tables = iter([self._columns.schema.empty_table()]) if first else self._tables()
        table = next(tables, None)
        if table is None:
            return
        self._refresh()
        with self._parts.part() as path:
            schema = self._columns.described(about_metadata(self._about))
            with parquet().ParquetWriter(path, schema, **self._columns.options()) as writer:
                waiting = [table]
                for more in tables:
                    if sum(map(len, waiting)) >= _GROUP_ROWS:
                        self._write(writer, waiting)
                        waiting = []
                    waiting.append(more)
                self._write(writer, waiting)
                writer.add_key_value_metadata({**tally_metadata(self._tally()), **self._notes()})

    def _write(self, writer: Any, tables: list[Any]) -> None:
        import pyarrow as pa

        table = pa.concat_tables(tables).unify_dictionaries()
        writer.write_table(table, max(len(table), 1))

    def _tables(self) -> Iterator[Any]:
        deadline, written = time.monotonic() + _PART_SECONDS, 0
        while True:
            self._await(deadline)
            limit = self._group() if self._end is None else min(self._group(), self._end - self._read_to)
            with self._cursor.read(limit) as snapshot:
                rows = snapshot.rows
                table = self._columns.table(snapshot, time.time_ns(), self._source.losses.total()) if rows else None
            if table is not None:
                self._rows += rows
                written += table.column(f"{self._columns.prefix}raw").nbytes
                yield table
            elif self._over():
                return
            if written >= _PART_BYTES or time.monotonic() >= deadline:
                return

    def _await(self, deadline: float) -> None:
        # Until there is enough for a group, or rows could leave the history unread, or it is time to look.
        keep = self._store.keep
        deadline = min(deadline, time.monotonic() + min(_LOOK_SECONDS, (keep.seconds or _PART_SECONDS) / 4))
        soon = min(self._group(), (keep.rows or _GROUP_ROWS) // 4, (keep.bytes or _GROUP_BYTES) // self._mean() // 4)
        self._threshold = self._read_to + max(soon, 1)
        while (left := deadline - time.monotonic()) > 0 and not self._over():
            self._woken.clear()
            if self._store.received >= self._threshold or self._over():
                return
            self._woken.wait(left)

    def _group(self) -> int:
        return max(1, min(_GROUP_ROWS, _GROUP_BYTES // self._mean()))

    def _mean(self) -> int:
        counters = self._store.counters()
        return max(1, counters.received_bytes // max(counters.received, 1))

    @property
    def _read_to(self) -> int:
        return self._before + self._rows + self._cursor.missed

    def _refresh(self) -> None:
        # Programs may be attached after the recording began; what was attached before it ended is what made it.
        facts = self._source.facts()
        links = facts.links or self._about.facts.links
        self._about = replace(self._about, facts=replace(facts, links=links, btf=self._about.facts.btf))

    def _tally(self, *, complete: bool = False) -> Tally:
        counters = self._store.counters()
        began, ended = self._source.span()
        gaps = self._source.losses.gaps()
        now = time.time_ns()
        return Tally(
            received=self._read_to,
            before=self._before,
            missed=self._cursor.missed,
            discarded=counters.discarded,
            lost=self._source.losses.total(),
            span=(began, ended or now / 1e9),
            gaps=tuple(tuple(gap) for gap in (gaps if complete else gaps[-_GAPS_IN_PARTS:])),  # type: ignore[misc]
            taken=now,
            complete=complete,
        )

    def _notes(self, *, every: bool = False) -> dict[str, str]:
        if self._lookup is None:
            return {}
        return notes_metadata(self._lookup.all() if every else self._lookup.fresh())

    def _finish(self) -> None:
        # Up to here and no further: at full rate there is always more.
        self._ending, self._end = True, self._store.received
        while self._read_to < self._end:
            self._part()
        self._refresh()
        metadata = {
            **about_metadata(self._about),
            **tally_metadata(self._tally(complete=True)),
            **self._notes(every=True),
        }
        self._parts.join(self._columns, metadata)
