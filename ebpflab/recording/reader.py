"""Opening recordings: a file, or the folder that a killed process left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from ..btf import Btf
from ..errors import DecodeError, EbpflabError
from ..records import RecordTypes, record_types
from .columns import Batch, batches
from .layout import About, Tally, damaged, foreign, read_about, read_notes, read_tally
from .lookups import RecordedLookup
from .parts import files, parquet

_ROWS = 1 << 16  # read at a time


class Recording:
    """A recording, opened: what it says of itself, and its records in order.

    Parameters
    ----------
    path
        The file, or the folder of parts.

    Raises
    ------
    EbpflabError
        When there is nothing, or it is no recording, or it is damaged.

    Attributes
    ----------
    about : About
        What was recorded.
    tally : Tally
        How it went; of a folder as of its last part.
    types : RecordTypes
        The record types, from the recording's own BTF.
    lookup : RecordedLookup or None
        What stack ids and addresses stood for.
    rows : int
        How many records it holds.

    Examples
    --------
    >>> sum(len(batch.lengths) for batch in Recording("opens.parquet").batches())
    48613
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _found(Path(path).expanduser())
        self._files = files(self.path)
        if not self._files:
            raise EbpflabError(
                f"{self.path} is a folder without parts of a recording",
                hint="give the path that s.events.record(path) was given",
                stage="replay",
            )
        self.rows, noted = 0, []
        for part in self._files:
            with _opened(part) as file:
                metadata, name = file.metadata.metadata or {}, str(part)
                self.about: About = read_about(metadata, name)
                self.tally: Tally = read_tally(metadata, name)
                _check_columns(file.schema_arrow, self.about, name)
                self.rows += int(file.metadata.num_rows)
                if (notes := read_notes(metadata, name)) is not None:
                    noted.append(notes)
        self.lookup = RecordedLookup(chain(*noted), self.about.facts.machine) if noted else None
        self.types = self._types()

    @property
    def received(self) -> int:
        """Events that the stream had received when the recording ended."""
        return self.tally.before + self.tally.missed + self.rows

    def batches(self) -> Iterator[Batch]:
        """Yield the records in order of arrival.

        Raises
        ------
        EbpflabError
            When the recording is damaged.
        """
        own = list(self.about.own.values())
        for path in self._files:
            with _opened(path) as file:
                reading = file.iter_batches(batch_size=_ROWS, columns=own, use_threads=False)
                while (table := _next(reading, str(path))) is not None:
                    yield from batches(table, self.about.prefix, str(path))

    def _types(self) -> RecordTypes:
        about, name = self.about, str(self.path)
        bare = [record.name.removeprefix("struct ").removeprefix("union ") for record in about.records]
        asked = [
            word if record.field is None else f"{word}:{record.field}={record.value}"
            for word, record in zip(bare, about.records, strict=True)
        ]
        try:
            btf = Btf.parse(about.facts.btf)
            types = record_types(about.stream, btf, bare, ",".join(asked) if about.by == "option" else None)
        except EbpflabError as error:
            raise damaged(name, error.what) from error
        if [(c.type.name, c.type.size) for c in types.candidates] != [(r.name, r.size) for r in about.records]:
            raise DecodeError(
                f"the record types of {name} are not those that its BTF holds",
                hint="was it written by another version of ebpflab?",
                stage="replay",
            )
        return types


def _found(path: Path) -> Path:
    if path.exists():
        return path
    aside = path.with_name(f".{path.name}.parts")  # see parts._exchange
    if aside.is_dir():
        return aside
    raise EbpflabError(f"there is no recording {path}", hint="s.events.record(path) makes one", stage="replay")


def _opened(path: Path) -> Any:
    import pyarrow as pa

    try:
        return parquet().ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        if isinstance(error, PermissionError):
            raise EbpflabError(f"{path} may not be read", hint="check its permissions", stage="replay") from error
        raise damaged(str(path), f"it is no whole Parquet file ({_first_line(error)})") from error


def _next(reading: Iterator[Any], name: str) -> Any:
    import pyarrow as pa

    try:
        return next(reading, None)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise damaged(name, f"its rows cannot be read ({_first_line(error)})") from error


def _check_columns(schema: Any, about: About, name: str) -> None:
    import pyarrow as pa

    kinds = (pa.large_binary(), pa.timestamp("ns", "UTC"), pa.int64(), pa.int64())
    wanted = dict(zip(about.own.values(), kinds, strict=True))
    if any(column not in schema.names for column in wanted):
        raise foreign(name)
    if any(schema.field(column).type != kind for column, kind in wanted.items()):
        raise damaged(name, "its columns have other types than those of a recording")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
