"""The text of a tracepoint's ``format`` file, read: its fields with their places, and its print format.

It is written by ``f_show`` in the kernel's ``kernel/trace/trace_events.c`` and read by trace-cmd, perf and BCC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from ...errors import DecodeError

_HEAD = re.compile(r"\s*name:\s*(?P<name>\S+)\s+ID:\s*(?P<id>[0-9]{1,9})\s+format:[ \t\r]*$", re.MULTILINE)
_PRINT = re.compile(r"^[ \t]*print fmt:[ \t]*", re.MULTILINE)
# Nine digits are plenty for a record of at most a few pages, and keep int() from taking long over nonsense.
_FIELD = re.compile(
    r"field:(?P<declaration>[^;]+);\s*offset:(?P<offset>[0-9]{1,9});\s*"
    r"size:(?P<size>[0-9]{1,9});\s*signed:(?P<signed>[01]);"
)
_DECLARATION = re.compile(r"(?P<type>\S.*?)\s*\b(?P<name>[A-Za-z_]\w*)\s*(?P<dimensions>(\[[^][]*\])*)", re.ASCII)

# The two ways in which a type says that a pointer is to memory of a process (include/linux/compiler_types.h).
_USER = re.compile(r"\b__user\b|btf_type_tag\(\"user\"\)")


@dataclass(frozen=True)
class Field:
    """One field of a record.

    ``type`` is the kernel's own wording with the dimensions of an array after it ("char[16]"), ``offset``
    and ``size`` are bytes, and ``length`` is the number of elements of an array, None for anything else.
    Where ``data_loc`` or ``rel_loc`` is true, these 4 bytes say where the data is: its length in the upper
    half, and in the lower half its offset from the start of the record, or from the end of this field. ``user``
    tells that this is a pointer to memory of the process, to be read with ``bpf_probe_read_user``.
    """

    name: str
    type: str
    offset: int
    size: int
    signed: bool
    length: int | None = None
    user: bool = False

    @property
    def data_loc(self) -> bool:
        """Whether this field says where its data is, counted from the start of the record."""
        return self.type.startswith("__data_loc ")

    @property
    def rel_loc(self) -> bool:
        """Whether this field says where its data is, counted from its own end (since Linux 5.17)."""
        return self.type.startswith("__rel_loc ")

    @property
    def string(self) -> bool:
        """Whether there is text in the record: here, or where this field says."""
        characters = self.type.split("[")[0].removeprefix("__data_loc ").removeprefix("__rel_loc ").split()
        return "[" in self.type and characters[-1:] == ["char"] and "unsigned" not in characters

    @property
    def common(self) -> bool:
        """Whether every tracepoint has this field; the verifier refuses reads of the first 8 bytes."""
        return self.name.startswith("common_")


class Parts(NamedTuple):
    """What a ``format`` file says."""

    name: str
    id: int
    members: tuple[Field, ...]
    print_fmt: str


def parse(text: str) -> Parts:
    """Read the text of a ``format`` file.

    Raises
    ------
    DecodeError
        The text is not that of a ``format`` file: a part of it is missing, or two fields overlap.
    """
    head = _HEAD.match(text)
    if head is None:
        raise DecodeError(
            "this is not a tracepoint's format file: it has to start with name:, ID: and format:",
            hint="name a tracepoint (category:event), or paste the whole of events/CATEGORY/EVENT/format",
        )
    end = _PRINT.search(text, head.end())
    lines = text[head.end() : end.start() if end else None].splitlines()
    members = tuple(_parse_field(line.strip()) for line in lines if line.strip())
    _check_layout(members)
    if head["name"].startswith("sys_enter_") and any(field.name == "__syscall_nr" for field in members):
        # All pointers that a system call is given are the caller's.
        members = tuple(replace(field, user=True) if "*" in field.type else field for field in members)
    return Parts(head["name"], int(head["id"]), members, text[end.end() :].rstrip("\n") if end else "")


def _parse_field(line: str) -> Field:
    found = _FIELD.fullmatch(line)
    parts = found and _DECLARATION.fullmatch(found["declaration"].strip())
    if not found or not parts:
        raise DecodeError(
            f"cannot read this line of a tracepoint's format: {line[:200]!r}",
            hint="a line reads field:TYPE NAME; offset:BYTES; size:BYTES; signed:0 or 1;",
        )
    size = int(found["size"])
    return Field(
        name=parts["name"],
        type=parts["type"] + parts["dimensions"],
        offset=int(found["offset"]),
        size=size,
        signed=found["signed"] == "1",
        length=_length(parts["dimensions"], size),
        user=_USER.search(parts["type"]) is not None,
    )


def _length(dimensions: str, size: int) -> int | None:
    if not dimensions:
        return None
    length = 1
    for number in re.findall(r"\[([^][]*)\]", dimensions):
        # Some kernels print a constant's name here (char comm[TASK_COMM_LEN]); then only the bytes are known.
        if not re.fullmatch(r"[0-9]{0,9}", number):
            return size
        length *= int(number or 0)
    return length


def _check_layout(members: tuple[Field, ...]) -> None:
    end = 0
    for field in sorted(members, key=lambda field: field.offset):
        if field.offset < end:
            raise DecodeError(f"the format has two fields at offset {field.offset}: {field.name} and the one before")
        end = field.offset + field.size
    if len({field.name for field in members}) < len(members):
        raise DecodeError("the format has two fields of one name")
