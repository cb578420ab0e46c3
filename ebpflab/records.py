"""Which struct a record of a ring buffer is: from the map's own definition, from ``--event``, or by name and size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .btf import Btf, Kind, Type
from .btf_program import map_definitions, variables
from .decode import RecordType
from .errors import CellError, DecodeError
from .similar import nearest

_WANTED = re.compile(r"(?:struct\s+)?(\w+)(?::([\w.]+)=(-?\w+))?")
_EXAMPLE = "--event events=open_event, or with a tag: --event events=open_event:kind=1"
_STRUCTS = (Kind.STRUCT, Kind.UNION)
# What BCC's calls send, see ebpflab/bcc/submitted.py: clang puts the function before the variable, and a number behind.
_SENT = r"(?:.*\.)?ebpflab_sent_to_{buffer}(?:\.\d+)?"


@dataclass(frozen=True)
class Candidate:
    """A record type, and the tag that tells it from others of the same size: ``field == value``."""

    type: RecordType
    field: str | None = None
    value: int | None = None


@dataclass(frozen=True)
class RecordTypes:
    """The record types of one buffer.

    ``candidates`` are known before the first record; ``by`` says how: ``definition`` (the map names its record type, or
    BCC's calls do), ``option`` (``--event``) or ``size`` (the cell's structs, told apart by name and size; none, if
    the calls send what has no type).
    """

    buffer: str
    candidates: tuple[Candidate, ...]
    by: str

    @property
    def only(self) -> Candidate | None:
        """The record type, where the buffer is known to have no other: what is shorter is its beginning."""
        known = self.by != "size" and len(self.candidates) == 1 and self.candidates[0].field is None
        return self.candidates[0] if known else None

    def of_length(self, length: int) -> tuple[Candidate, ...]:
        """The record types that a record of `length` bytes can be.

        Raises
        ------
        DecodeError
            When no struct has this size, or several have and nothing tells them apart.
        """
        fitting = tuple(c for c in self.candidates if c.type.size == length)
        if not fitting:
            known = ", ".join(f"{c.type.name} has {c.type.size}" for c in self.candidates[:6])
            what = (
                f"{self.buffer} holds records of {length} bytes, but {known or 'the cell defines no struct for them'}"
            )
            raise DecodeError(
                what,
                hint="reserve or output exactly sizeof(struct), or name the record type: "
                f"__type(value, struct ...) in the definition of {self.buffer}, or --event {self.buffer}=STRUCT",
            )
        if len(fitting) == 1 or all(c.field for c in fitting):
            return fitting
        if self.by == "size":
            best = min(fitting, key=lambda c: _likeness(c.type.name, self.buffer))
            if [_likeness(c.type.name, self.buffer) for c in fitting].count(
                _likeness(best.type.name, self.buffer)
            ) == 1:
                return (best,)
        names = " and ".join(c.type.name for c in fitting)
        raise DecodeError(
            f"{names} all have {length} bytes: which one is a record of {self.buffer}?",
            hint=f"--event {self.buffer}={_bare(fitting[0].type.name)}, or with a tag field: "
            + " ".join(f"--event {self.buffer}={_bare(c.type.name)}:kind={i}" for i, c in enumerate(fitting[:2])),
        )

    def padded_sizes(self) -> dict[int, int]:
        """The size of the record type by the length that a perf buffer gives it, where only one type has that length.

        The kernel makes a record and the four bytes before it a multiple of eight bytes (``perf_sample_save_raw_data``
        in ``include/linux/perf_event.h``).

        Raises
        ------
        DecodeError
            When the option names types of different sizes that arrive alike.
        """
        fitting: dict[int, list[Candidate]] = {}
        for candidate in self.candidates:
            fitting.setdefault((candidate.type.size + 4 + 7 & ~7) - 4, []).append(candidate)
        found = {}
        for length, candidates in fitting.items():
            ranks = [0 if self.by != "size" else _likeness(c.type.name, self.buffer) for c in candidates]
            best = {c.type.size for c, rank in zip(candidates, ranks, strict=True) if rank == min(ranks)}
            if len(best) == 1:
                found[length] = best.pop()
            elif self.by == "option":
                names = " and ".join(c.type.name for c in candidates)
                raise DecodeError(
                    f"{names} both arrive as {length} bytes in the perf buffer {self.buffer}",
                    hint="make their sizes alike or differ by 8 bytes, or send to a BPF_MAP_TYPE_RINGBUF",
                )
        return found

    def label(self) -> str:
        """What to show in a summary."""
        return " | ".join(c.type.name for c in self.candidates[:3]) if self.by != "size" else "by size"


def record_types(buffer: str, btf: Btf, structs: Sequence[str] = (), wanted: str | None = None) -> RecordTypes:
    """Find the record types of a buffer.

    Parameters
    ----------
    buffer
        The map's name.
    btf
        The object's types.
    structs
        The structs that the cell defines, as candidates when the map names no type.
    wanted
        The value of ``--event``: ``open_event``, or ``open_event:kind=1,close_event:kind=2``.

    Raises
    ------
    CellError
        When `wanted` names a struct that the object does not hold.
    """
    if wanted:
        return RecordTypes(buffer, tuple(_wanted(btf, item, structs) for item in wanted.split(",")), "option")
    definition = map_definitions(btf).get(buffer)
    value = (definition.inner or definition).value_type_id if definition else None
    if value is not None and btf.strip(value).kind in _STRUCTS:
        return RecordTypes(buffer, (Candidate(RecordType.from_btf(btf, value)),), "definition")
    name = re.compile(_SENT.format(buffer=re.escape(buffer)))
    sent = [_record(btf, v.type_id) for v in variables(btf, ".data.ebpflab") if name.fullmatch(v.name)]
    if sent:
        return _sent(buffer, btf, sent)
    found = [t for name in structs if (t := _find(btf, name)) is not None]
    return RecordTypes(buffer, tuple(Candidate(RecordType.from_btf(btf, t.id)) for t in found), "size")


def _sent(buffer: str, btf: Btf, types: Sequence[int]) -> RecordTypes:
    # By what BCC's calls send. No size tells what was sent by a pointer to nothing in particular.
    if not all(types):
        return RecordTypes(buffer, (), "size")
    found = {btf.strip(number).id: Candidate(RecordType.from_btf(btf, number)) for number in types}
    return RecordTypes(buffer, tuple(found.values()), "definition")


def _record(btf: Btf, type_id: int) -> int:
    # What a program sends by a pointer or from an array, 0 if the type does not tell: bytes may be anything.
    sent = btf.strip(btf.strip(type_id).type_id)
    if sent.kind is Kind.ARRAY:
        return sent.id
    inner = btf.strip(sent.type_id) if sent.kind is Kind.PTR else None
    if inner is None or inner.kind not in (*_STRUCTS, Kind.INT, Kind.ENUM, Kind.ENUM64, Kind.ARRAY):
        return 0
    return sent.type_id if inner.kind in (*_STRUCTS, Kind.ARRAY) or btf.sizeof(inner.id) > 1 else 0


def _wanted(btf: Btf, item: str, structs: Sequence[str]) -> Candidate:
    match = _WANTED.fullmatch(item.strip())
    if not match:
        raise CellError(f"--event ...={item}: expected STRUCT or STRUCT:FIELD=NUMBER", hint=_EXAMPLE)
    found = _find(btf, match[1])
    if found is None:
        near = nearest(match[1], structs)
        hint = f"did you mean {', '.join(near)}?" if near else f"structs of this cell: {', '.join(structs) or 'none'}"
        raise CellError(f"--event: the cell defines no struct {match[1]}", hint=hint)
    record = RecordType.from_btf(btf, found.id)
    if not match[2]:
        return Candidate(record)
    fields = [column.name for column in record.columns]
    if match[2] not in fields:
        near = nearest(match[2], fields) or tuple(fields[:8])
        raise CellError(f"--event: {record.name} has no field {match[2]}", hint=f"did you mean {', '.join(near)}?")
    if next(c for c in record.columns if c.name == match[2]).rule.dtype.kind not in "iub":
        raise CellError(f"--event: {record.name}.{match[2]} is no number, and cannot be a tag", hint=_EXAMPLE)
    try:
        return Candidate(record, match[2], int(match[3], 0))
    except ValueError:
        raise CellError(f"--event ...:{match[2]}={match[3]}: the tag has to be a number", hint=_EXAMPLE) from None


def _find(btf: Btf, name: str) -> Type | None:
    found = btf.find(name, Kind.STRUCT) or btf.find(name, Kind.TYPEDEF)
    return found if found is not None and btf.strip(found.id).kind in _STRUCTS else None


def _bare(name: str) -> str:
    return name.removeprefix("struct ").removeprefix("union ")


def _likeness(name: str, buffer: str) -> int:
    # How little a struct's name looks like the record of this buffer; 0 is best.
    bare, singular = _bare(name), buffer.removesuffix("s")
    order = (bare == singular, bare in (f"{singular}_event", f"{singular}_t"), bare in ("event", "event_t", "data_t"))
    exact = next((rank for rank, holds in enumerate(order) if holds), None)
    if exact is not None:
        return exact
    return 3 if re.search(r"event|record|data", bare) else 4
