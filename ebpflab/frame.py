"""The records of a snapshot as frames and batches: of one type plainly, of several told apart by size and tag."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import decode
from .errors import DecodeError
from .records import Candidate, RecordTypes
from .snapshot import Chunk, Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from .rules import Lookup


class Part(NamedTuple):
    """The records of one type in a snapshot: their bytes, and where they stand in the order of arrival.

    ``padded`` of them were shorter than their struct, and got zeros for what they lack.
    """

    candidate: Candidate
    chunks: Sequence[Chunk]
    places: NDArray[np.int64]
    padded: int = 0

    @property
    def record(self) -> str:
        """The name of the struct, without the word."""
        return self.candidate.type.name.removeprefix("struct ")


def parts(snapshot: Snapshot, types: RecordTypes) -> Iterator[Part]:
    """Yield the records of each type; raises DecodeError when some are of none."""
    lengths, only = snapshot.lengths(), types.only
    if only is not None and min(lengths, default=only.type.size) < only.type.size:
        size = only.type.size
        types.of_length(max(size, *lengths))  # one that is longer is an error all the same
        yield Part(only, [snapshot.padded(size)], np.arange(snapshot.rows), snapshot.rows - lengths.get(size, 0))
        return
    for length in sorted(lengths):
        candidates = types.of_length(length)
        chunks, places = snapshot.chunks(length), snapshot.order(length)
        if len(candidates) == 1 and candidates[0].field is None:
            yield Part(candidates[0], chunks, places)
        else:
            yield from _tagged(types.buffer, candidates, chunks, places)


def _tagged(
    buffer: str, candidates: Sequence[Candidate], chunks: Sequence[Chunk], places: NDArray[np.int64]
) -> Iterator[Part]:
    claimed = np.zeros(len(places), bool)
    for candidate in candidates:
        masks = [_has_tag(candidate, chunk.data) for chunk in chunks]
        mine = np.concatenate(masks) if masks else claimed
        claimed |= mine
        picked = [Chunk(c.data[m], c.clock_offset_ns) for c, m in zip(chunks, masks, strict=True) if m.any()]
        if picked:
            yield Part(candidate, picked, places[mine])
    if not claimed.all():
        names = ", ".join(f"{c.type.name}:{c.field}={c.value}" for c in candidates)
        raise DecodeError(
            f"{int((~claimed).sum())} records of {buffer} carry none of the tags {names}",
            hint=f"name the record type of every tag: --event {buffer}=STRUCT:FIELD=NUMBER",
        )


def _has_tag(candidate: Candidate, data: NDArray[np.uint8]) -> NDArray[np.bool_]:
    # Read the tag as the number in the record, whatever its column shows (an enum shows names).
    if candidate.field is None:
        return np.ones(len(data), bool)
    column = next(c for c in candidate.type.columns if c.name == candidate.field)
    cells = data[:, column.offset : column.offset + column.size]
    found: NDArray[np.bool_] = column.rule.read(cells, np.zeros(len(data), np.int64)) == candidate.value
    return found


def frame(snapshot: Snapshot, types: RecordTypes, lookup: Lookup | None = None) -> pd.DataFrame:
    """Return the records of a snapshot in order of arrival.

    A record shorter than the only type of its buffer is filled up with zeros, and ``df.attrs["padded"]`` counts those.
    Records of several types share one frame, whose first column ``record`` names the type; a column that a
    record's type lacks is empty in its row, and whole numbers stay what they are (``UInt64``, ``boolean``). `lookup`
    tells what stack ids and addresses stand for.

    Raises
    ------
    DecodeError
        When records do not fit their struct.
    """
    import pandas as pd

    found = list(parts(snapshot, types))
    if not found:
        known = types.by != "size" and types.candidates
        return decode.to_frame(known[0].type, []) if known else pd.DataFrame()
    if len(found) == 1 and found[0].candidate.field is None:
        plain = decode.to_frame(found[0].candidate.type, found[0].chunks, lookup)
        plain.attrs.update({"padded": found[0].padded} if found[0].padded else {})
        return plain
    frames = [decode.to_frame(part.candidate.type, part.chunks, lookup) for part in found]
    for part, each in zip(found, frames, strict=True):
        each.insert(0, "record", part.record)
    _nullable(frames)
    joined = pd.concat(frames, ignore_index=True)
    joined["record"] = joined["record"].astype("category")
    order = np.argsort(np.concatenate([part.places for part in found]), kind="stable")
    return joined.iloc[order].reset_index(drop=True)


def _nullable(frames: Sequence[pd.DataFrame]) -> None:
    # Where a type lacks a column, pandas would make a float of its numbers, which has 53 bits of 64.
    for each in frames:
        for name in each.columns:
            if each[name].dtype.kind in "iub" and any(name not in other for other in frames):
                each[name] = each[name].convert_dtypes()


def arrow(snapshot: Snapshot, types: RecordTypes, lookup: Lookup | None = None) -> Any:
    """Return the same as a ``pyarrow.Table``; records of one type go there without pandas."""
    found = list(parts(snapshot, types))
    if len(found) == 1 and found[0].candidate.field is None:
        return decode.to_arrow(found[0].candidate.type, found[0].chunks, lookup)
    import pyarrow as pa

    return pa.Table.from_pandas(frame(snapshot, types, lookup), preserve_index=False)


def remember(snapshot: Snapshot, types: RecordTypes, lookup: Lookup) -> None:
    """Have `lookup` take down what the stack ids in these records stand for, while their processes live."""
    for part in parts(snapshot, types):
        for chunk in part.chunks if part.candidate.type.has_stacks else ():
            decode.remember(part.candidate.type, chunk.data, lookup)
