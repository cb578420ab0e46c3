"""Records as an Arrow table with the recording's own columns, and back to packed bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import decode
from ..records import RecordTypes
from ..snapshot import Snapshot
from .layout import damaged, own_prefix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..rules import Lookup


class Batch(NamedTuple):
    """Records that were taken together: packed bytes, their lengths, and what their rows share."""

    data: NDArray[np.uint8]
    lengths: NDArray[np.uint32]
    arrived: int  # nanoseconds UTC
    clock: int  # nanoseconds from CLOCK_MONOTONIC to UTC
    lost: int | None


class Columns:
    """Makes tables of one schema from snapshots of one stream.

    A stream with one record type has the columns that ``df()`` shows. One with several has only ``record``, the name
    of the type, since a file has one set of columns; a replay shows them all.

    Parameters
    ----------
    types
        The record types of the stream.
    lookup
        What stack ids and addresses stand for.
    """

    def __init__(self, types: RecordTypes, lookup: Lookup | None = None) -> None:
        import pyarrow as pa

        self._types, self._lookup = types, lookup
        self._single = types.candidates[0].type if len(types.candidates) == 1 else None
        if self._single is None:
            shown = pa.schema([("record", pa.dictionary(pa.int32(), pa.string()))])
        else:
            shown = self._shown([]).schema
        self.prefix = own_prefix(shown.names)
        self._own = pa.schema(
            [
                (f"{self.prefix}raw", pa.large_binary()),
                (f"{self.prefix}arrived", pa.timestamp("ns", "UTC")),
                (f"{self.prefix}clock", pa.int64()),
                (f"{self.prefix}lost", pa.int64()),
            ]
        )
        self.schema: Any = pa.schema([*shown, *self._own], shown.metadata)

    def described(self, metadata: dict[str, str]) -> Any:
        """Return the schema with `metadata` besides those for pandas."""
        return self.schema.with_metadata({**(self.schema.metadata or {}), **metadata})

    def options(self) -> dict[str, Any]:
        """Return how Parquet is to store the columns: dictionaries where values repeat, and nothing twice."""
        import pyarrow as pa

        raw, *others = self._own.names
        texts = [f.name for f in self.schema if pa.types.is_dictionary(f.type)]
        return {
            "compression": "zstd",
            "compression_level": 1,
            "use_dictionary": [*texts, *others],
            "write_statistics": [f.name for f in self.schema if f.name != raw and not pa.types.is_nested(f.type)],
            "write_page_checksum": True,
        }

    def table(self, snapshot: Snapshot, arrived: int, lost: int | None) -> Any:
        """Return the rows of a snapshot as a table.

        Parameters
        ----------
        arrived
            When they were taken, in nanoseconds UTC.
        lost
            Records lost by then.
        """
        import pyarrow as pa

        data, lengths, clocks = packed(snapshot)
        rows = len(lengths)
        ends = np.zeros(rows + 1, np.int64)
        np.cumsum(lengths, out=ends[1:])
        raw = pa.Array.from_buffers(pa.large_binary(), rows, [None, pa.py_buffer(ends), pa.py_buffer(data)])
        when = pa.array(np.full(rows, arrived).view("M8[ns]"), self._own.types[1])
        losses = pa.nulls(rows, pa.int64()) if lost is None else pa.array(np.full(rows, lost))
        shown = self._decoded(snapshot) if self._single is not None else self._named(data, lengths)
        return pa.table([*shown, raw, when, pa.array(clocks), losses], schema=self.schema)

    def _decoded(self, snapshot: Snapshot) -> list[Any]:
        import pyarrow as pa

        assert self._single is not None
        size = self._single.size
        shown = self._shown(snapshot.chunks(size))
        if len(shown) == snapshot.rows:
            return list(shown.columns)
        # Records of another size than the struct's have no values to show, and their bytes all the same.
        places = np.full(snapshot.rows, -1, np.int64)
        places[snapshot.order(size)] = np.arange(len(shown))
        return list(shown.take(pa.array(places, mask=places < 0)).columns)

    def _shown(self, chunks: Any) -> Any:
        import pyarrow as pa

        assert self._single is not None
        table = decode.to_arrow(self._single, chunks, self._lookup)
        for place, column in enumerate(table.schema):
            if pa.types.is_dictionary(column.type):
                table = table.set_column(place, column.name, _widened(table.column(place)))
        return table

    def _named(self, data: NDArray[np.uint8], lengths: NDArray[np.uint32]) -> list[Any]:
        import pyarrow as pa

        candidates = self._types.candidates
        names = [c.type.name.removeprefix("struct ") for c in candidates]
        codes = np.full(len(lengths), -1, np.int32)
        starts = np.cumsum(lengths, dtype=np.int64) - lengths
        for code, candidate in enumerate(candidates):
            rows = np.flatnonzero((lengths == candidate.type.size) & (codes < 0))
            if candidate.field is not None:
                rows = rows[_tags(data, starts[rows], candidate) == candidate.value]
            codes[rows] = code
            if self._lookup is not None and len(rows):
                # Only to have the stacks and symbols in it looked up while they can be.
                cells = _every(data, candidate.type.size)[starts[rows]].view(np.uint8)
                decode.to_arrow(candidate.type, [(cells.reshape(len(rows), -1), 0)], self._lookup)
        return [pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(names, pa.string()))]


def _tags(data: NDArray[np.uint8], starts: NDArray[np.int64], candidate: Any) -> NDArray[Any]:
    found: NDArray[Any] = _every(data, candidate.type.size)[starts].view(candidate.type.dtype)
    for name in candidate.field.split("."):
        found = found[name]
    return found


def _widened(column: Any) -> Any:
    # The width of the codes depends on how many texts a batch has, and a file has one schema.
    import pyarrow as pa

    chunks = [
        pa.DictionaryArray.from_arrays(chunk.indices.cast(pa.int32()), chunk.dictionary.cast(pa.string()))
        for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.string()))


def packed(snapshot: Snapshot) -> tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.int64]]:
    """Return the records of a snapshot one after another in order of arrival: bytes, lengths and clock offsets."""
    rows = snapshot.rows
    lengths, clocks = np.zeros(rows, np.uint32), np.zeros(rows, np.int64)
    found = {length: snapshot.chunks(length) for length in snapshot.lengths()}
    for length, chunks in found.items():
        order = snapshot.order(length)
        lengths[order] = length
        clocks[order] = np.concatenate([np.full(len(c.data), c.clock_offset_ns, np.int64) for c in chunks])
    if len(found) == 1:
        (chunks,) = found.values()
        return np.concatenate([c.data for c in chunks]).reshape(-1), lengths, clocks
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    data = np.empty(int(lengths.sum(dtype=np.int64)), np.uint8)
    for length, chunks in found.items():
        if length:
            each = np.concatenate([c.data for c in chunks]).view(f"V{length}")[:, 0]
            _every(data, length)[starts[snapshot.order(length)]] = each
    return data, lengths, clocks


def _every(data: NDArray[np.uint8], length: int) -> NDArray[Any]:
    # The `length` bytes from each position on, as one overlapping view.
    return np.ndarray(max(len(data) - length + 1, 0), f"V{length}", data, 0, strides=(1,))


def batches(table: Any, prefix: str, name: str) -> Iterator[Batch]:
    """Yield the rows of a table (or Arrow record batch) that has a recording's own columns, in order.

    Raises
    ------
    EbpflabError
        When a column is not what a recording has.
    """
    import pyarrow as pa

    columns = [table.column(f"{prefix}{own}") for own in ("raw", "arrived", "clock", "lost")]
    raw, arrived, clock, lost = (pa.concat_arrays(c.chunks) if isinstance(c, pa.ChunkedArray) else c for c in columns)
    if raw.null_count or arrived.null_count or clock.null_count:
        raise damaged(name, "records are missing from it")
    ends, data = _bytes_of(raw)
    times, clocks = arrived.cast(pa.int64()).to_numpy(), clock.to_numpy()
    counts, counted = lost.fill_null(-1).to_numpy(), lost.is_valid().to_numpy(zero_copy_only=False)
    turns = [np.flatnonzero(np.diff(values)) + 1 for values in (times, clocks, counts)]
    seams = np.unique(np.concatenate([[0, len(raw)], *turns]))
    lengths = np.diff(ends)
    if len(lengths) and int(lengths.min()) < 0:
        raise damaged(name, "a record has a length below 0")
    for start, stop in zip(seams[:-1].tolist(), seams[1:].tolist(), strict=True):
        count = int(counts[start]) if counted[start] else None
        rows = lengths[start:stop].astype(np.uint32)
        yield Batch(data[ends[start] : ends[stop]], rows, int(times[start]), int(clocks[start]), count)


def _bytes_of(raw: Any) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    _, ends, data = raw.buffers()
    if not len(raw):
        return np.zeros(1, np.int64), np.empty(0, np.uint8)
    offsets = np.frombuffer(ends, np.int64)[raw.offset : raw.offset + len(raw) + 1]
    return offsets, np.frombuffer(data, np.uint8) if data is not None and len(data) else np.empty(0, np.uint8)
