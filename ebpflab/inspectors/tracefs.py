"""Tracepoints as tracefs tells them: which there are, and what their records look like.

Every tracepoint has a file ``events/CATEGORY/EVENT/format`` that names the fields of its record with their
offsets and sizes. It is written by ``f_show`` in the kernel's ``kernel/trace/trace_events.c`` and read by
trace-cmd, perf and BCC. What stands there is what a program attached to the tracepoint finds at its context
pointer, so a C struct made from it needs neither BTF nor CO-RE.
"""

from __future__ import annotations

import errno
import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from .. import formatting
from ..errors import HookNotFoundError, KernelSupportError, PrivilegeError, TypeNotFoundError
from ..similar import did_you_mean, nearest
from .formats import diff, field_words, parser, structs
from .formats.c_numbers import Number, number
from .formats.parser import Field
from .kernel import tracefs_path

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from .formats.meanings import Meaning

__all__ = ["Field", "Format", "events", "format", "has_event", "parse_format", "struct_for", "tracefs_root"]

MOUNT_COMMAND = "mount -t tracefs tracefs /sys/kernel/tracing"

_COLUMNS = ("field", "type", "offset", "size", "signed")
_EVENT = re.compile(r"([\w-]+)[:/]([\w-]+)", re.ASCII)


@dataclass(frozen=True, repr=False)
class Format:
    """The record of one tracepoint: ``name``, ``id``, ``members``, ``print_fmt`` and, if known, ``category``.

    ``members`` are all fields as :class:`Field`, those that every tracepoint has included; ``fields`` and
    ``all_fields`` show them as DataFrames, and :meth:`c` as a C struct. ``symbols`` has the names that the kernel
    prints for values, :meth:`symbol` the name of one value, and :meth:`compare` what another kernel has instead.
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
        return structs.struct(name or self.tag, self.members)

    @property
    def symbols(self) -> pd.DataFrame:
        """The names that the print format has for values: field, kind, value, name and expression.

        The kind is "flags" for bits that may be set together, or "enum". Where the names are not those of the
        field's own values, the expression says of what, as in "(ioprio >> 13) & 7"; else it is "". The first
        call may take 100 ms, for names of constants that stand in the kernel's BTF only.
        """
        import pandas as pd

        rows = [
            (each.field, each.kind, self._as_shown(each.field, value), name, each.expression)
            for each in self._meaning.symbols
            for value, name in each.entries
        ]
        frame = pd.DataFrame(rows, columns=["field", "kind", "value", "name", "expression"])
        return frame if rows else frame.astype({"value": "int64"})

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the print format is not understood, a sentence each; whatever they are about is left out."""
        return self._meaning.notes

    @property
    def meanings(self) -> dict[str, str]:
        """What is to be known of a field beyond its type, in a few words, for those where there is something."""
        said = {field.name: field_words.describe(field, self._meaning.symbols) for field in self.members}
        return {name: words for name, words in said.items() if words}

    def symbol(self, field: str, value: int, **others: int) -> str:
        """Return how the kernel prints a value of a field: its name, its flags; a number if it has no names.

        Flags are joined as the tracepoint joins them, and bits without a name follow in hexadecimal.

        Parameters
        ----------
        field
            The name of a field.
        value
            What the field holds; of an array, what one element holds.
        others
            Other fields of the record, for the few tracepoints whose names depend on them.

        Raises
        ------
        TypeNotFoundError
            There is no such field; ``nearest`` has the names that resemble it.

        Examples
        --------
        >>> format("sched:sched_switch").symbol("prev_state", 1)
        'S'
        """
        record = {name: _held(self._field(name), held) for name, held in {**others, field: value}.items()}
        said = self._meaning.text(field, record)
        return str(record[field].value) if said is None else said

    def compare(self, other: Format | str) -> pd.DataFrame:
        """Return how the fields differ from those of another format, such as that of another kernel.

        Parameters
        ----------
        other
            A format, the text of a ``format`` file, or the name of another tracepoint of this kernel.

        Returns
        -------
        pandas.DataFrame
            field; change: "same", "added" (only the other has it), "removed", or what of "retyped", "resized" and
            "moved" is true; here and there: type, offset and size in bytes, "" where there is no such field.
            Fields that every tracepoint has are left out as long as they are the same.

        Raises
        ------
        HookNotFoundError, DecodeError
            See :func:`format`.

        Examples
        --------
        >>> f = format("sched:sched_switch")
        >>> set(f.compare(f)["change"])
        {'same'}
        """
        there = other if isinstance(other, Format) else format(other)
        frame = diff.compare(self.members, there.members)
        common = frame["field"].isin([each.name for each in (*self.members, *there.members) if each.common])
        return frame[~common | (frame["change"] != "same")].reset_index(drop=True)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        symbols = [
            {
                **dict(zip(("field", "kind", "expression"), (each.field, each.kind, each.expression), strict=True)),
                "separator": each.separator,
                "values": [{"value": self._as_shown(each.field, value), "name": name} for value, name in each.entries],
            }
            for each in self._meaning.symbols
        ]
        fields = [{**asdict(each), "string": each.string, "common": each.common} for each in self.members]
        head = {"category": self.category, "name": self.name, "id": self.id, "struct": self.tag}
        return {**head, "fields": fields, "symbols": symbols, "print_fmt": self.print_fmt, "notes": list(self.notes)}

    def _field(self, name: str) -> Field:
        found = next((each for each in self.members if each.name == name), None)
        if found is None:
            near = nearest(name, [each.name for each in self.members])
            hint = did_you_mean(near) or f"fields: {', '.join(each.name for each in self._own)}"
            raise TypeNotFoundError(f"{self._title} has no field {name!r}", nearest=near, hint=hint)
        return found

    def _as_shown(self, field: str, value: int) -> int:
        # The kernel compares unsigned longs; a field that can be negative is shown as one.
        signed = any(each.name == field and each.signed for each in self.members)
        return number(value, 64, signed=True).value if signed else value

    @property
    def _meaning(self) -> Meaning:
        return field_words.meaning(self.print_fmt, tuple(each.name for each in self.members), self.category)

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
        said = self.meanings
        rows = tuple(_row(field) + ((said.get(field.name, ""),) if said else ()) for field in self._own)
        table = formatting.Table((*_COLUMNS, "meaning") if said else _COLUMNS, rows, title)
        notes = [*field_words.in_bcc(self.category, self.name, self._own), *map(field_words.one_line, self.notes)]
        return [table, *map(formatting.Note, notes)]


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
    return Format(*parser.parse(text))


def _held(field: Field, value: int) -> Number:
    size = field.size // max(field.length or 1, 1)
    return number(int(value), size * 8 if size in (1, 2, 4, 8) else 64, field.signed)


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
