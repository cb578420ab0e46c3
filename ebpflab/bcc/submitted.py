# The type of the records of a ring or perf buffer: BCC's buffers do not name it, what is sent does.

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..cell import Cell
from .maps import BUFFERS
from .rewriter import Table

_SENT = re.compile(
    r"\bbpf_(perf_event_output|ringbuf_output|ringbuf_reserve)\((?:[^;]*?,\s*)?\(void \*\)bpf_pseudo_fd\(1, -(\d+)\)"
)
_TYPE = r"(struct\s+\w+|\w+)"


def types(tables: Sequence[Table], text: str, cell: Cell) -> tuple[dict[str, str], bool]:
    """Return the C type of the records of each buffer whose records are all of one type, and whether others remain.

    A type that the program defines only behind the buffer cannot be named there, unless it has a tag.
    """
    found: dict[str, set[str]] = {}
    for name, record in _sent(tables, text, cell):
        found.setdefault(name, set()).add(record)
    buffers = [table for table in tables if table.type in BUFFERS and table.fields]
    single = {name: next(iter(records)) for name, records in found.items() if len(records) == 1 and "" not in records}
    known = {name: record for name, record in single.items() if _nameable(name, record, text)}
    return known, any(table.name not in known for table in buffers)


def _sent(tables: Sequence[Table], text: str, cell: Cell) -> Iterator[tuple[str, str]]:
    own = {*(f"struct {name}" for name in cell.struct_names), *cell.typedef_names}
    for match in _SENT.finditer(text):
        end = text.find(";", match.end())
        rest = text[match.end() : end if end >= 0 else len(text)]
        record = _record(match[1], rest, text[: match.start()])
        yield tables[int(match[2]) - 1].name, record if record in own else ""


def _record(call: str, rest: str, before: str) -> str:
    # What follows the buffer in a call: ", flags, &data, size)", ", &data, size, flags)" or ", size, flags)".
    if named := re.search(rf"\bsizeof\s*\(\s*(struct\s+\w+)\s*\)|\bsizeof\s*\(\s*{_TYPE}\s*\)", rest):
        tag = named[1] or named[2]
        if tag.startswith("struct") or not (declared := _declared(tag, before)):
            return " ".join(tag.split())
        return declared
    if call == "ringbuf_reserve":
        return ""
    data = re.search(r",\s*&?\s*(\w+)\s*," if call == "ringbuf_output" else r",\s*&?\s*(\w+)\s*,[^,]*$", rest)
    return _declared(data[1], before) if data else ""


def _declared(name: str, before: str) -> str:
    # The type of a variable, where it was declared last.
    declared = re.findall(rf"\b{_TYPE}\s+\*?\s*{re.escape(name)}\s*(?=[=;,)\[])", before)
    return " ".join(declared[-1].split()) if declared and declared[-1] not in ("return", "sizeof", "typeof") else ""


def _nameable(name: str, record: str, text: str) -> bool:
    if record.startswith("struct "):
        return True
    at = re.search(rf"\b{re.escape(record)}\s*;", text)
    buffer = re.search(rf"\bBPF_\w+\s*\(\s*{re.escape(name)}\b", text)
    return at is not None and buffer is not None and at.start() < buffer.start()
