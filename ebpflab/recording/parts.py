"""The files of a recording: a folder of parts while it is made, one file when it has ended.

Whatever step a kill interrupts, the path holds a folder or a file that opens: a part gets its name when it is
whole, the folder comes into being with its first part, and folder and file change places in one step.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import _syscalls
from ..errors import EbpflabError

_WHOLE_BYTES = 32 << 20  # of records in one row group of the file


class Parts:
    """The folder of parts at `path`, and its end as one file.

    Parameters
    ----------
    path
        Where the recording is to be.
    overwrite
        Whether what is there may be replaced: a file, or the folder of a recording.

    Raises
    ------
    EbpflabError
        When there is something else, or the folder cannot be made.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.path = path
        self._aside = path.with_name(f".{path.name}.making")
        self._count = 0
        with explained(path):
            if os.path.lexists(path) and not overwrite:
                raise EbpflabError(
                    f"{path} exists already",
                    hint="choose another name, or overwrite=True to replace it",
                    stage="record",
                )
            for old in (self._aside, path):
                _remove(old)
            self._aside.parent.mkdir(parents=True, exist_ok=True)
            self._aside.mkdir(mode=0o700)

    @contextlib.contextmanager
    def part(self) -> Iterator[Path]:
        """Give the hidden name of the next part; it gets its real one when the block ends without an error."""
        final = self._folder() / f"part-{self._count:05}.parquet"
        hidden = final.with_name(f".{final.name}.tmp")
        try:
            yield hidden
        except BaseException:
            hidden.unlink(missing_ok=True)
            raise
        hidden.rename(final)
        if not self._count:
            self._aside.rename(self.path)
        self._count += 1

    def join(self, columns: Any, metadata: dict[str, str]) -> None:
        """Make the parts one file, with `metadata`, and let it take the folder's place."""
        schema = columns.described(metadata)
        _remove(self._aside)
        try:
            with (
                open(self._aside, "xb", opener=_private) as sink,
                parquet().ParquetWriter(sink, schema, **columns.options()) as writer,
            ):
                for group in self._groups(f"{columns.prefix}raw"):
                    writer.write_table(
                        group.unify_dictionaries().replace_schema_metadata(schema.metadata), max(len(group), 1)
                    )
            _to_disk(self._aside)
        except BaseException:
            self._aside.unlink(missing_ok=True)
            raise
        _exchange(self._aside, self.path)
        _remove(self._aside)

    def _folder(self) -> Path:
        return self.path if self._count else self._aside

    def _groups(self, raw: str) -> Iterator[Any]:
        import pyarrow as pa

        waiting: list[Any] = []
        for part in files(self.path):
            with parquet().ParquetFile(part) as file:
                waiting.append(file.read().replace_schema_metadata(None))
            if sum(table.column(raw).nbytes for table in waiting) >= _WHOLE_BYTES:
                yield pa.concat_tables(waiting)
                waiting = []
        if waiting:
            yield pa.concat_tables(waiting)


def parquet() -> Any:
    """Return ``pyarrow.parquet``, which has no types and is slow to import."""
    import pyarrow.parquet

    return pyarrow.parquet


def files(path: Path) -> list[Path]:
    """Return the files of a recording in order: its parts, or itself."""
    return sorted(path.glob("part-*.parquet")) if path.is_dir() else [path]


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the operating system says while a recording is written into an error of ours."""
    try:
        yield
    except OSError as error:
        what = f"{path} cannot be written: {error.strerror or error}"
        raise EbpflabError(what, hint="what was written until then can be replayed", stage="record") from error


def _private(path: str, flags: int) -> int:
    # What the kernel tells root is not for everybody, as with perf.data. "x" follows no link that lies there.
    return os.open(path, flags, 0o600)


def _remove(path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    strange = [p.name for p in path.iterdir() if p.is_dir() or not p.name.strip(".").startswith("part-")]
    if strange:
        what = f"{path} is a folder that no recording made: {strange[0]} is in it"
        raise EbpflabError(what, hint="choose another name", stage="record")
    shutil.rmtree(path)


def _to_disk(path: Path) -> None:
    # The parts go when the file is there: that has to hold for a power cut as well.
    with path.open("rb") as written:
        os.fsync(written.fileno())


def _exchange(one: Path, other: Path) -> None:
    if sys.platform == "linux":
        try:
            _syscalls.exchange(one, other)
            return
        except OSError:  # a filesystem that cannot, such as NFS
            pass
    # In two steps. Between them nothing is at the path, and replay() finds the folder beside it.
    aside = other.with_name(f".{other.name}.parts")
    other.rename(aside)
    one.rename(other)
    shutil.rmtree(aside)
