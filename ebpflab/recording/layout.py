"""What a recording holds: the columns that a user sees, columns of its own, and metadata to decode the records again.

Beside the decoded columns a row has ``_raw`` (the record's bytes), ``_arrived`` (when its batch was taken from the
buffer, UTC), ``_clock`` (nanoseconds from CLOCK_MONOTONIC to UTC) and ``_lost`` (records lost so far, null where
nobody counts). The last three change rarely, and Parquet stores runs of equal values in a few bytes.

The metadata are two JSON texts and the object's BTF: ``ebpflab`` says what was recorded (:class:`About`),
``ebpflab.tally`` how it went (:class:`Tally`), ``ebpflab.btf`` holds the types. Where records hold stack ids or
addresses, ``ebpflab.notes`` says what they stood for. Each has a CRC-32 beside it.
"""

from __future__ import annotations

import base64
import importlib.metadata
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from ..engines.base import LinkInfo, ProgramInfo
from ..errors import EbpflabError
from ..keep import Keep
from ..records import RecordTypes
from .lookups import Note

FORMAT = 1
_ABOUT, _TALLY, _BTF, _NOTES = "ebpflab", "ebpflab.tally", "ebpflab.btf", "ebpflab.notes"
_OWN = ("raw", "arrived", "clock", "lost")
T = TypeVar("T")


@dataclass(frozen=True)
class Facts:
    """What a recording keeps of the session that it is made from."""

    session: str = ""
    engine: str = ""
    source: str = ""
    kernel: str = ""
    machine: str = ""
    programs: tuple[ProgramInfo, ...] = ()
    links: tuple[LinkInfo, ...] = ()
    btf: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Record:
    """One record type by name, as it was asked for."""

    name: str
    size: int
    field: str | None = None
    value: int | None = None


@dataclass(frozen=True)
class About:
    """What was recorded; it does not change while the recording is made, but for programs and links.

    ``started`` is in nanoseconds UTC; ``size`` is that of the buffer in bytes; ``prefix`` is what the names of the
    recording's own columns begin with.
    """

    facts: Facts
    stream: str
    by: str
    records: tuple[Record, ...]
    keep: Keep
    size: int
    started: int
    prefix: str = "_"

    @property
    def own(self) -> dict[str, str]:
        """The names of the recording's own columns: raw, arrived, clock, lost."""
        return {name: self.prefix + name for name in _OWN}


@dataclass(frozen=True)
class Tally:
    """The counters as of one moment.

    ``missed`` rows left the history before they were written, ``before`` of them before the recording began.
    ``span`` is when programs were attached and detached, in seconds UTC, 0 for what has not been. ``gaps`` are
    (start, end, row, lost by CPU), see :class:`ebpflab.losses.Gap`.
    """

    received: int = 0
    before: int = 0
    missed: int = 0
    discarded: int = 0
    lost: int | None = None
    span: tuple[float, float] = (0.0, 0.0)
    gaps: tuple[tuple[int, int, int, tuple[int, ...]], ...] = ()
    taken: int = 0  # nanoseconds UTC
    complete: bool = False  # whether the recording ended in order


def own_prefix(columns: list[str]) -> str:
    """Return what the names of own columns begin with: ``_``, or more of them where a struct has such a field."""
    prefix = "_"
    while any(prefix + name in columns for name in _OWN):
        prefix += "_"
    return prefix


def wanted(types: RecordTypes) -> tuple[Record, ...]:
    """Return the record types of a buffer by name."""
    return tuple(Record(c.type.name, c.type.size, c.field, c.value) for c in types.candidates)


def about_metadata(about: About) -> dict[str, str]:
    """Return the metadata that say what is recorded."""
    plain = asdict(about)
    btf = plain["facts"].pop("btf")
    for info in (*plain["facts"]["programs"], *plain["facts"]["links"]):
        info["fd"] = None
    document = {"format": FORMAT, "ebpflab": _version(), **plain}
    return {**_checked(_ABOUT, json.dumps(document)), **_checked(_BTF, _packed(btf))}


def tally_metadata(tally: Tally) -> dict[str, str]:
    """Return the metadata that say how it went."""
    return _checked(_TALLY, json.dumps(asdict(tally)))


def notes_metadata(notes: list[Note]) -> dict[str, str]:
    """Return the metadata that say what numbers stood for."""
    return _checked(_NOTES, _packed(json.dumps(notes).encode()))


def read_notes(metadata: Mapping[bytes, bytes], name: str) -> list[Note] | None:
    """Read what :func:`notes_metadata` wrote; None if nothing was noted.

    Raises
    ------
    EbpflabError
        When the file is damaged.
    """
    if _NOTES.encode() not in metadata:
        return None
    try:
        return [Note(*row) for row in json.loads(_unpacked(_text(metadata, _NOTES, name)))]
    except (TypeError, ValueError, zlib.error) as error:
        raise damaged(name, f"its metadata cannot be read ({error})") from error


def read_about(metadata: Mapping[bytes, bytes], name: str) -> About:
    """Read what :func:`about_metadata` wrote; `name` is the file's, for messages.

    Raises
    ------
    EbpflabError
        When the file is no recording, is damaged, or was made by a later version.
    """
    document = _document(metadata, _ABOUT, name)
    made = document.get("format")
    if made != FORMAT:
        what = f"{name} is a recording of format {made}, and this version of ebpflab reads format {FORMAT}"
        raise EbpflabError(what, hint="pip install --upgrade ebpflab", stage="replay")
    try:
        facts = dict(document["facts"])
        facts["programs"] = tuple(_known(ProgramInfo, row) for row in facts["programs"])
        facts["links"] = tuple(_known(LinkInfo, row) for row in facts["links"])
        facts["btf"] = _unpacked(_text(metadata, _BTF, name))
        return About(
            facts=_known(Facts, facts),
            stream=str(document["stream"]),
            by=str(document["by"]),
            records=tuple(_known(Record, row) for row in document["records"]),
            keep=_known(Keep, document["keep"]),
            size=int(document["size"]),
            started=int(document["started"]),
            prefix=str(document["prefix"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, zlib.error) as error:
        raise damaged(name, f"its metadata cannot be read ({error})") from error


def read_tally(metadata: Mapping[bytes, bytes], name: str) -> Tally:
    """Read what :func:`tally_metadata` wrote.

    Raises
    ------
    EbpflabError
        When the file is damaged.
    """
    plain = _document(metadata, _TALLY, name)
    try:
        gaps = tuple((int(a), int(b), int(row), tuple(map(int, lost))) for a, b, row, lost in plain["gaps"])
        began, ended = map(float, plain["span"])
        return _known(Tally, {**plain, "gaps": gaps, "span": (began, ended)})
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(name, f"its metadata cannot be read ({error})") from error


def damaged(name: str, why: str) -> EbpflabError:
    """Return the error for a recording that cannot be read."""
    return EbpflabError(f"{name} is damaged: {why}", hint="take another copy of it, or record it again", stage="replay")


def foreign(name: str) -> EbpflabError:
    """Return the error for Parquet that is no recording."""
    return EbpflabError(
        f"{name} is Parquet, but not a recording of ebpflab",
        hint="pandas.read_parquet() reads it; a recording is made by s.events.record(path)",
        stage="replay",
    )


def _version() -> str:
    try:
        return importlib.metadata.version("ebpflab")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _checked(key: str, text: str) -> dict[str, str]:
    return {key: text, f"{key}.crc32": f"{zlib.crc32(text.encode()):08x}"}


def _text(metadata: Mapping[bytes, bytes], key: str, name: str) -> str:
    found = metadata.get(key.encode())
    if found is None:
        raise foreign(name) if key == _ABOUT else damaged(name, f"it has no {key} in its metadata")
    if metadata.get(f"{key}.crc32".encode()) != f"{zlib.crc32(found):08x}".encode():
        raise damaged(name, f"the checksum of {key} in its metadata is wrong")
    return found.decode()


def _document(metadata: Mapping[bytes, bytes], key: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(_text(metadata, key, name))
    except ValueError as error:
        raise damaged(name, f"its metadata cannot be read ({error})") from error
    return found if isinstance(found, dict) else {}


def _known(kind: type[T], plain: Mapping[str, Any]) -> T:
    # What a later version has added is left out.
    return kind(**{f.name: plain[f.name] for f in fields(kind) if f.name in plain})  # type: ignore[arg-type]


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))
