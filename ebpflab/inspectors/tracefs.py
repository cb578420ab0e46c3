"""Tracepoints as tracefs tells them: which there are, and what their records look like.

Every tracepoint has a file ``events/CATEGORY/EVENT/format`` that names the fields of its record with their
offsets and sizes. It is written by ``f_show`` in the kernel's ``kernel/trace/trace_events.c`` and read by
trace-cmd, perf and BCC. What stands there is what a program attached to the tracepoint finds at its context
pointer, so a C struct made from it needs neither BTF nor CO-RE.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .. import formatting
from ..errors import DecodeError, HookNotFoundError, KernelSupportError, PrivilegeError
from ..similar import did_you_mean, nearest
from .kernel import tracefs_path

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

MOUNT_COMMAND = "mount -t tracefs tracefs /sys/kernel/tracing"

# C11 and GNU C keywords, and what stdbool.h makes of three more words.
_KEYWORDS = re.compile(
    "asm|auto|bool|break|case|char|const|continue|default|do|double|else|enum|extern|false|float|for|goto|if|inline|"
    "int|long|register|restrict|return|short|signed|sizeof|static|struct|switch|true|typedef|typeof|union|unsigned|"
    "void|volatile|while"
).fullmatch
_INTEGERS = {1: "char", 2: "short", 4: "int", 8: "long long"}
_PLAIN = {"char", "short", "int", "long", "signed", "unsigned", "void"}
# Words that mark a pointer's address space or are attributes; they mean nothing to a BPF program.
_MARKS = re.compile(r"__attribute__\s*\(\(.*?\)\)(?!\))|\b__(seg_gs|seg_fs|percpu|user|kernel|iomem|rcu|force)\b")

_COLUMNS = ("field", "type", "offset", "size", "signed")
_EVENT = re.compile(r"([\w-]+)[:/]([\w-]+)", re.ASCII)
_HEAD = re.compile(r"\s*name:\s*(?P<name>\S+)\s+ID:\s*(?P<id>[0-9]{1,9})\s+format:[ \t\r]*$", re.MULTILINE)
_PRINT = re.compile(r"^[ \t]*print fmt:[ \t]*", re.MULTILINE)
# Nine digits are plenty for a record of at most a few pages, and keep int() from taking long over nonsense.
_FIELD = re.compile(
    r"field:(?P<declaration>[^;]+);\s*offset:(?P<offset>[0-9]{1,9});\s*"
    r"size:(?P<size>[0-9]{1,9});\s*signed:(?P<signed>[01]);"
)
_DECLARATION = re.compile(r"(?P<type>\S.*?)\s*\b(?P<name>[A-Za-z_]\w*)\s*(?P<dimensions>(\[[^][]*\])*)", re.ASCII)


@dataclass(frozen=True)
class Field:
    """One field of a record.

    ``type`` is the kernel's own wording with the dimensions of an array after it ("char[16]"), ``offset``
    and ``size`` are bytes, and ``length`` is the number of elements of an array, None for anything else.
    Where ``data_loc`` or ``rel_loc`` is true, these 4 bytes say where the data is: its length in the upper
    half, and in the lower half its offset from the start of the record, or from the end of this field.
    """

    name: str
    type: str
    offset: int
    size: int
    signed: bool
    length: int | None = None

    @property
    def data_loc(self) -> bool:
        """Whether this field says where its data is, counted from the start of the record."""
        return self.type.startswith("__data_loc ")

    @property
    def rel_loc(self) -> bool:
        """Whether this field says where its data is, counted from its own end (since Linux 5.17)."""
        return self.type.startswith("__rel_loc ")

    @property
    def common(self) -> bool:
        """Whether every tracepoint has this field; the verifier refuses reads of the first 8 bytes."""
        return self.name.startswith("common_")


@dataclass(frozen=True, repr=False)
class Format:
    """The record of one tracepoint: ``name``, ``id``, ``members``, ``print_fmt`` and, if known, ``category``.

    ``members`` are all fields as :class:`Field`, those that every tracepoint has included; ``fields`` and
    ``all_fields`` show them as DataFrames, and :meth:`c` as a C struct.
    """

    name: str
    id: int
    members: tuple[Field, ...]
    print_fmt: str = ""
    category: str = ""

    @property
    def fields(self) -> pd.DataFrame:
        """The tracepoint's own fields: field, type, offset and size in bytes, signed."""
        return _frame(self._own)

    @property
    def all_fields(self) -> pd.DataFrame:
        """All fields, the common ones first, with the columns of ``fields``."""
        return _frame(self.members)

    @property
    def tag(self) -> str:
        """The tag of the C struct, which is also BCC's name for it: tracepoint__CATEGORY__EVENT."""
        return _tag(self.category, self.name)

    def c(self, name: str | None = None) -> str:
        """Return a C struct for the context of a program at this tracepoint.

        It compiles with and without ``vmlinux.h``: integers are chosen by size and sign alone, and padding
        is written out, so that every field is at its offset. A field ``x`` of a ``__data_loc`` type is called
        ``__data_loc_x``, as in the kernel's own ``trace_event_raw_*`` structs (``__rel_loc`` likewise), and
        one named like a C keyword gets an underscore at its end.

        Parameters
        ----------
        name
            The tag of the struct; ``tag`` if not given.

        Examples
        --------
        >>> print(format("syscalls:sys_enter_openat").c("ctx"))
        struct ctx { ...
        """
        return _struct(name or self.tag, self.members)

    @property
    def _own(self) -> tuple[Field, ...]:
        return tuple(field for field in self.members if not field.common)

    @property
    def _title(self) -> str:
        return f"{self.category}:{self.name}" if self.category else self.name

    def __repr__(self) -> str:
        return formatting.text(self._document())

    def _repr_html_(self) -> str:
        return formatting.html(self._document())

    def _document(self) -> list[formatting.Part]:
        title = f"{self._title} (id {self.id})"
        return [formatting.Table(_COLUMNS, tuple(_row(field) for field in self._own), title)]


def tracefs_root() -> Path:
    """Return the directory where tracefs is mounted.

    Raises
    ------
    KernelSupportError
        It is not mounted.
    PrivilegeError
        It is there, and this process may not look into it.
    """
    root = tracefs_path()
    if root is None:
        raise KernelSupportError("tracefs is not mounted", hint=MOUNT_COMMAND)
    try:
        (root / "events").stat()
    except PermissionError:
        raise _forbidden(root) from None
    except FileNotFoundError:
        raise KernelSupportError(f"{root} has no events: this kernel was built without tracepoints") from None
    return root


def events() -> tuple[str, ...]:
    """Return the names of all tracepoints as ``category:event``, sorted.

    They are read anew each time, since modules bring and take tracepoints; 2300 names take about 2 ms.
    Records of ftrace's own tracers (``ftrace:function`` ...) are left out: no program can attach to them.

    Raises
    ------
    KernelSupportError, PrivilegeError
        See :func:`tracefs_root`.
    """
    root = tracefs_root()
    try:
        return tuple(sorted((root / "available_events").read_text().split()))
    except PermissionError:
        raise _forbidden(root) from None


def has_event(category: str, event: str) -> bool:
    """Tell whether there is such a tracepoint; False also where tracefs cannot be looked into.

    Examples
    --------
    >>> has_event("sched", "sched_switch")
    True
    """
    try:
        return (tracefs_root() / "events" / category / event / "format").exists()
    except (KernelSupportError, PrivilegeError, OSError):
        return False


def format(name_or_text: str) -> Format:
    """Return the record format of a tracepoint.

    Parameters
    ----------
    name_or_text
        ``category:event`` or ``category/event`` of the running kernel, or the text of a ``format`` file.

    Raises
    ------
    HookNotFoundError
        There is no such tracepoint; ``nearest`` has the names that resemble it.
    DecodeError
        The text is not that of a ``format`` file.
    KernelSupportError, PrivilegeError
        See :func:`tracefs_root`.

    Examples
    --------
    >>> format("sched:sched_switch").fields["field"].tolist()[:2]
    ['prev_comm', 'prev_pid']
    """
    if "\n" in name_or_text.strip():
        return parse_format(name_or_text)
    root = tracefs_root()
    parts = _EVENT.fullmatch(name_or_text.strip())
    if parts is None:
        raise _unknown(name_or_text)
    category, event = parts.groups()
    try:
        text = (root / "events" / category / event / "format").read_text(errors="replace")
    except PermissionError:
        raise _forbidden(root) from None
    except OSError as error:
        # ENODEV: the module that had the tracepoint went away between open and read.
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENODEV):
            raise
        raise _unknown(name_or_text) from None
    return replace(parse_format(text), category=category)


def struct_for(tag: str) -> Format:
    """Return the format whose C struct has this tag, such as ``tracepoint__syscalls__sys_enter_openat``.

    Both names may themselves contain ``__``, so the tag is looked up among those of all tracepoints.

    Raises
    ------
    HookNotFoundError
        No tracepoint of the running kernel has this tag; ``nearest`` has the tags that resemble it.
    KernelSupportError, PrivilegeError
        See :func:`tracefs_root`.
    """
    words = tag.split("__")
    for at in range(2, len(words)):
        category, event = "__".join(words[1:at]), "__".join(words[at:])
        if (tracefs_root() / "events" / category / event / "format").exists():
            return format(f"{category}:{event}")
    # A name with a character that C has not, such as a dash: its tag has an underscore there.
    tags = {_tag(*name.split(":", 1)): name for name in events()}
    if tag not in tags:
        near = nearest(tag, tags)
        raise HookNotFoundError(f"no tracepoint has struct {tag}", nearest=near, hint=did_you_mean(near))
    return format(tags[tag])


def parse_format(text: str) -> Format:
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
    return Format(head["name"], int(head["id"]), members, text[end.end() :].rstrip("\n") if end else "")


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


def _struct(tag: str, members: tuple[Field, ...]) -> str:
    lines: list[str] = []
    taken = {field.name for field in members}
    end = 0
    for field in sorted(members, key=lambda field: (field.offset, field.size)):
        if field.offset > end:
            lines.append(f"\tchar {_unused(f'__pad_{end}', taken)}[{field.offset - end}];")
        name = _c_name(field)
        lines.append(f"\t{_declare(field, name if name == field.name else _unused(name, taken))};")
        end = field.offset + field.size
    return "\n".join([f"struct {tag} {{", *lines, "};", ""])


def _c_name(field: Field) -> str:
    if field.data_loc or field.rel_loc:
        return f"{field.type.split()[0]}_{field.name}"
    return f"{field.name}_" if _KEYWORDS(field.name) else field.name


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _declare(field: Field, name: str) -> str:
    base, length, signed = field.type.split("[", 1)[0], field.length, field.signed
    if field.data_loc or field.rel_loc:
        base, length, signed = "", None, False
    element = field.size if length is None else field.size // max(length, 1)
    if element not in _INTEGERS or (length is not None and element * length != field.size):
        # A struct by value, or dimensions that were not understood: bytes are always right.
        base, length, element, signed = "", field.size, 1, False
    kind = _c_type(base, signed, element, array=length is not None)
    dimension = "" if length is None else f"[{length}]"
    packed = " __attribute__((packed))" if field.offset % element else ""
    return f"{kind}{'' if kind[-1] in '* ' else ' '}{name}{dimension}{packed}"


def _c_type(base: str, signed: bool, size: int, *, array: bool) -> str:
    words = _MARKS.sub(" ", base)
    if "*" in words and size == 8:
        return _pointer(words)
    if array and words.split()[-1:] == ["char"]:
        return "char"
    integer = _INTEGERS[size]
    return f"unsigned {integer}" if not signed else "signed char" if size == 1 else integer


def _pointer(words: str) -> str:
    # What it points to stays if it is plain C; a kernel type becomes void, since the struct must not need it.
    target, stars = words.split("*", 1)
    plain = [word for word in target.split() if word != "const"]
    named = " ".join(plain) if plain and _PLAIN.issuperset(plain) else "void"
    const = "const " if "const" in target.split() else ""
    levels = re.findall(r"\*|\bconst\b", stars)
    return f"{const}{named} *" + "".join("*" if level == "*" else "const " for level in levels)


def _row(field: Field) -> tuple[str, str, int, int, bool]:
    return field.name, field.type, field.offset, field.size, field.signed


def _frame(members: tuple[Field, ...]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame([_row(field) for field in members], columns=list(_COLUMNS))
    # Said once more, for a format without fields of its own.
    return frame.astype({"field": str, "type": str, "offset": "int64", "size": "int64", "signed": bool})


def _tag(category: str, event: str) -> str:
    words = ("tracepoint", category, event) if category else ("tracepoint", event)
    return re.sub(r"\W", "_", "__".join(words), flags=re.ASCII)


def _unknown(name: str) -> HookNotFoundError:
    near = nearest(name, events())
    return HookNotFoundError(
        f"this kernel has no tracepoint {name!r}",
        nearest=near,
        hint=did_you_mean(near) or "a tracepoint is named category:event; hooks() lists them",
    )


def _forbidden(root: Path) -> PrivilegeError:
    return PrivilegeError(
        f"{root} is closed to this user",
        stage="setup",
        cause="CAP_DAC_READ_SEARCH",
        hint=f"add CAP_DAC_READ_SEARCH, or open it to a group: mount -o remount,mode=750,gid=GROUP {root}",
    )
