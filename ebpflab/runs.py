"""Test runs: a program run by the kernel on packets and contexts of ours, without being attached.

The kernel's side is ``net/bpf/test_run.c``; which types it can run is in the table of program types.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsBytes

from .btf import Kind
from .errors import CellError
from .formatting import Code, Head, Part, html, text, time_span
from .inspectors.layout import Field, fields, vmlinux
from .similar import did_you_mean, nearest

if TYPE_CHECKING:
    import pandas as pd

    from .program_types import ProgramType

# What a test run takes as context, where that is not what the program sees.
_RUN_CONTEXTS = {"flow_dissector": "struct bpf_flow_keys", "netfilter": "struct nf_hook_state"}
# BPF_PROG_TYPE_* numbers of those whose context comes back in a buffer: programs with packets but netfilter's,
# and sk_lookup.
_CONTEXT_OUT = frozenset((1, 3, 4, 6, 8, 10, 11, 12, 14, 19, 22, 30))
_ETHERNET = 1  # LINKTYPE_ETHERNET, https://www.tcpdump.org/linktypes.html


@dataclass(frozen=True)
class RunResult:
    """What a program did in a test run.

    Attributes
    ----------
    program
        The function's name.
    retval
        What it returned, as the kernel gives it: an unsigned number of 32 bits.
    verdict
        The name of that value (``XDP_DROP``), or "" if it has none.
    data_out
        The packet afterwards; empty for programs without a packet.
    ctx_out
        The context's bytes afterwards, if a context was given and the kernel hands it back.
    ns
        Nanoseconds of one run, the mean over ``repeat`` runs; 0 where the kernel does not measure it.
    repeat
        How many runs there were.

    Examples
    --------
    >>> s.test_run("drop", data=bytes(64)).verdict
    'XDP_DROP'
    """

    program: str
    retval: int
    verdict: str
    data_out: bytes = field(repr=False)
    ctx_out: bytes = field(repr=False)
    ns: int
    repeat: int
    _type: ProgramType | None = field(default=None, repr=False, compare=False)

    def __getitem__(self, name: str) -> Any:
        """Return an attribute by name, as of a mapping."""
        if name.startswith("_") or name not in self.__dataclass_fields__:
            raise KeyError(name)
        return getattr(self, name)

    @property
    def ctx(self) -> dict[str, Any]:
        """The fields of the context afterwards; empty if there was none or its type is not the kernel's."""
        if not self.ctx_out or self._type is None or not _struct(self._type).startswith("struct "):
            return {}
        return {f.name: _read(self.ctx_out, f) for f in _context_fields(self._type)}

    def __str__(self) -> str:
        return text(self._document())

    def _repr_html_(self) -> str:
        return html(self._document())

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(str(self))

    def _document(self) -> list[Part]:
        speed = f"{time_span(self.ns / 1e9)} a run, mean of {self.repeat:,}" if self.ns else ""
        parts: list[Part] = [Head(self.program, self.verdict or str(self.retval), "ok", speed)]
        if self.data_out:
            parts.append(Code(hexdump(self.data_out), f"packet afterwards, {len(self.data_out):,} bytes"))
        return parts


def packets(data: Any) -> Iterator[tuple[float | None, bytes]]:
    """Yield time (seconds since 1970, or None) and bytes of each packet of a list, or of a capture file.

    Parameters
    ----------
    data
        A sequence of bytes-like objects or of packets that know their bytes, such as scapy's; or the path of a
        pcap or pcapng file with Ethernet frames.

    Raises
    ------
    CellError
        The file cannot be read, is no capture, or holds something else than Ethernet frames.
    """
    if not isinstance(data, (str, os.PathLike)):
        yield from ((None, as_bytes(item, "a packet")) for item in data)
        return
    import dpkt

    path = Path(data).expanduser()
    try:
        with path.open("rb") as file:
            reader = dpkt.pcap.UniversalReader(file)
            if reader.datalink() != _ETHERNET:
                raise CellError(
                    f"{path} holds frames of link type {reader.datalink()}, not Ethernet",
                    hint="capture on one interface (tcpdump -i eth0) instead of on all",
                )
            yield from ((float(when), bytes(frame)) for when, frame in reader)
    except OSError as error:
        raise CellError(f"cannot read {path}: {error.strerror}", hint="give a pcap or pcapng file") from error
    except (ValueError, dpkt.Error) as error:
        raise CellError(f"{path} is no capture file: {error}", hint="give a pcap or pcapng file") from error


def is_many(data: Any) -> bool:
    """Tell whether *data* of a test run stands for several packets: a sequence, or the path of a capture."""
    return isinstance(data, (str, os.PathLike, list, tuple))


def as_bytes(value: Any, what: str) -> bytes:
    """Return the bytes of a bytes-like object, or of one that knows its bytes.

    Raises
    ------
    CellError
        It is neither.
    """
    if isinstance(value, SupportsBytes):
        return bytes(value)
    try:
        return bytes(memoryview(value))
    except TypeError:
        raise CellError(f"{what} is of type {type(value).__name__}", hint="give bytes") from None


def context_bytes(row: ProgramType, ctx: Any, size: int) -> bytes:
    """Return the bytes of a context that was given as bytes, as numbers, or as fields by name.

    Parameters
    ----------
    row
        The kind of program; says which struct the fields are of.
    ctx
        A bytes-like object; a sequence of whole numbers, each of which becomes 64 bits (the arguments of a raw
        tracepoint); or a mapping of field names to numbers, or to sequences of numbers for arrays.
    size
        The packet's length in bytes, which ``data_end`` of an XDP context has to be.

    Raises
    ------
    CellError
        There is no such field, or its value does not fit.
    """
    if isinstance(ctx, Mapping):
        return _from_fields(row, ctx, size)
    if isinstance(ctx, Sequence) and not isinstance(ctx, (bytes, bytearray, memoryview, str)):
        return b"".join(_packed("an argument", number, 8) for number in ctx)
    return as_bytes(ctx, "the context")


def frame(results: Sequence[RunResult], times: Sequence[float | None], sizes: Sequence[int]) -> pd.DataFrame:
    """Make a frame with a row for each packet: time (if known), length, verdict, retval, length_out, data_out, ns."""
    import pandas as pd

    columns: dict[str, Any] = {}
    if any(when is not None for when in times):
        stamps = pd.Series([pd.NA if when is None else round(when * 1e9) for when in times], dtype="Int64")
        columns["time"] = pd.to_datetime(stamps, unit="ns", utc=True)
    columns["length"] = list(sizes)
    columns["verdict"] = pd.Categorical([r.verdict for r in results])
    columns["retval"] = [r.retval for r in results]
    columns["length_out"] = [len(r.data_out) for r in results]
    columns["data_out"] = pd.Series([r.data_out for r in results], dtype=object)
    columns["ns"] = [r.ns for r in results]
    return pd.DataFrame(columns).rename_axis("packet")


def hexdump(data: bytes, limit: int = 128) -> str:
    """Show the first *limit* bytes as offset, hexadecimal and ASCII, 16 a line."""
    lines = []
    for at in range(0, min(len(data), limit), 16):
        row = data[at : min(at + 16, limit)]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{at:04x}  {row.hex(' '):<47}  {shown}")
    if len(data) > limit:
        lines.append(f"... {len(data) - limit:,} bytes more")
    return "\n".join(lines)


def context_back(row: ProgramType) -> Literal["out", "in place", ""]:
    """Tell how the kernel hands back the context of a test run."""
    if row.kind == "syscall":
        return "in place"
    return "out" if row.type in _CONTEXT_OUT else ""


def _struct(row: ProgramType) -> str:
    return _RUN_CONTEXTS.get(row.kind, row.context)


def _context_fields(row: ProgramType) -> tuple[Field, ...]:
    btf, spelled = vmlinux(), _struct(row)
    found = btf.find(spelled.removeprefix("struct "), Kind.STRUCT) if spelled.startswith("struct ") else None
    if found is None:
        raise CellError(
            f"the context of a {row.kind} program is not a struct of the kernel: {spelled}", hint="give ctx= as bytes"
        )
    return fields(btf, found)


def _from_fields(row: ProgramType, values: Mapping[str, Any], size: int) -> bytes:
    known = {f.name: f for f in _context_fields(row)}
    out = bytearray(max(f.offset + f.size for f in known.values()))
    if row.kind == "xdp":
        values = {"data_end": size, **values}
    for name, value in values.items():
        if name not in known:
            near = nearest(name, known)
            hint = did_you_mean(near) or f"fields: {', '.join(known)}"
            raise CellError(f"{_struct(row)} has no field {name!r}", hint=hint)
        place = known[name]
        out[place.offset : place.offset + place.size] = _field_bytes(place, value)
    return bytes(out)


def _field_bytes(place: Field, value: Any) -> bytes:
    if place.bits:
        raise CellError(f"{place.name} is a bitfield", hint="give ctx= as bytes")
    if not place.length:
        return _packed(place.name, value, place.size)
    values = list(value) if isinstance(value, Sequence) else [value]
    if len(values) > place.length:
        raise CellError(f"{place.name} has {place.length} elements, not {len(values)}")
    width = place.size // place.length
    return b"".join(_packed(place.name, number, width) for number in values).ljust(place.size, b"\0")


def _packed(name: str, value: Any, width: int) -> bytes:
    try:
        number = int(value)
        return number.to_bytes(width, sys.byteorder, signed=number < 0)
    except (TypeError, ValueError, OverflowError):
        raise CellError(f"{name} takes a whole number of {8 * width} bits, not {value!r}") from None


def _read(data: bytes, place: Field) -> Any:
    raw = data[place.offset : place.offset + place.size]
    if place.bits:
        return int.from_bytes(raw, sys.byteorder) >> place.bit & ((1 << place.bits) - 1)
    if not place.length:
        return int.from_bytes(raw, sys.byteorder)
    width = place.size // place.length
    return [int.from_bytes(part, sys.byteorder) for (part,) in struct.iter_unpack(f"{width}s", raw)]
