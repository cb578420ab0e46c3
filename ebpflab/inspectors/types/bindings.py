"""A header of some types, as small as they allow, or the same for Python: what aya-tool and bpftool do."""

from __future__ import annotations

import functools
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from ...btf import Kind
from ...btf_checks import checks
from ...btf_layout import RECORDS
from ...btf_plan import ENUMS, tag
from ...btf_writer import header, plan, written
from ...errors import CellError, DecodeError
from ...formatting import Code, Head, Note, Part, Table, html, number, text
from ...similar import did_you_mean, nearest
from ..btf_source import BtfSource, open_btf
from . import _stub

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from ...btf_plan import Plan

_LANGUAGES = ("c", "python")
_GUARD = "__VMLINUX_H__"
_NAMED = (*RECORDS, *ENUMS, Kind.TYPEDEF)
_SHOWN = 16  # lines and types in a summary
_FOLDED = 5000  # lines that a notebook keeps
_COLUMNS = ("type", "kind", "size", "why")


class Bindings(str):
    """The text of a header or of a Python module, made by :func:`bindings`.

    It is a ``str``: print it, write it to a file, put it before a program. A notebook shows a summary of it.

    Attributes
    ----------
    names
        The types that were asked for, as C spells them.
    lang
        ``"c"`` or ``"python"``.
    source
        Where the types are from, a :class:`~ebpflab.inspectors.btf_source.BtfSource`.
    """

    names: tuple[str, ...]
    lang: str
    source: BtfSource
    _plan: Plan

    @property
    def types(self) -> pd.DataFrame:
        """The types that are defined, in their order: type, kind, size in bytes, and why.

        ``why`` is "asked", "for libbpf's headers", or the type that cannot do without: "in struct file".
        """
        import pandas as pd

        frame = pd.DataFrame(self._rows, columns=list(_COLUMNS))
        return frame.astype({"size": "Int64"})

    @functools.cached_property
    def share(self) -> float:
        """The part of the bytes of a header with all types of the source; takes seconds for a kernel's first."""
        return len(self.encode()) / _whole(self.source)

    def save(self, path: str | Path) -> Path:
        """Write the text to a file, and return its path.

        Raises
        ------
        CellError
            The file cannot be written.

        Examples
        --------
        >>> bindings("task_struct", "path").save("task.h")
        PosixPath('task.h')
        """
        try:
            Path(path).write_text(self)
        except OSError as error:
            what = f"cannot write {path}: {error.strerror}"
            raise CellError(what, hint="check the path and its permissions") from None
        return Path(path)

    def to_dict(self) -> dict[str, object]:
        """Return the text and the facts about it as plain values, for JSON."""
        rows = [dict(zip(_COLUMNS, row, strict=True)) for row in self._rows]
        about = {"names": list(self.names), "lang": self.lang, "from": self.source.name}
        return {**about, "types": rows, "text": str(self)}

    def checks(self) -> str:
        """Return ``_Static_assert`` of every size and offset, to be compiled behind the header.

        Where they compile, the compiler and BTF agree. Of bitfields C can assert nothing.

        Raises
        ------
        CellError
            These are bindings for Python.

        Examples
        --------
        >>> Path("check.c").write_text(made + made.checks())
        """
        if self.lang != "c":
            raise CellError("checks are written for C only", hint='ask with lang="c"')
        return checks(self.source.btf, self._plan)

    @property
    def _rows(self) -> list[tuple[str, str, int | None, str]]:
        found = ((self.source.btf[entry.type_id], entry.why) for entry in self._plan.entries)
        return [(self._spelled(t.id), _kind(t.kind), _size(self.source, t.id), why) for t, why in found]

    def _spelled(self, type_id: int) -> str:
        t = self.source.btf[type_id]
        keyword = tag(t).partition(" ")[0] if t.kind is not Kind.TYPEDEF else ""
        return f"{keyword} {self._plan.names.of(t) if t.name else '{...}'}".strip()

    def __repr__(self) -> str:
        return text(self._document())

    def _repr_html_(self) -> str:
        lines = self.count("\n")
        if lines > _FOLDED:
            return html(self._document())
        folded = f"<details><summary>all {lines:,} lines</summary><pre>{escape(self)}</pre></details>"
        return f'{html(self._document())}<div class="ebpflab">{folded}</div>'

    def _document(self) -> list[Part]:
        asked = [row for row in self._rows if row[3] == "asked"]
        others = len(self._rows) - len(asked)
        counted = f"{number(self.count(chr(10)))} lines, {number(len(self.encode()))} bytes"
        table = Table(("type", "kind", "size"), tuple(row[:3] for row in asked[:_SHOWN]))
        asked_for = "1 type" if len(asked) == 1 else f"{len(asked)} types"
        also = f" and {others} that they need" if others else ""
        return [
            Head("bindings", self.lang, detail=f"{counted}, from {self.source.name}"),
            table,
            Note(f"{asked_for} asked for{also}: .types; print() shows the text, .save(path) writes it"),
            Code("\n".join(self.split("\n")[:_SHOWN]), language=self.lang),
        ]


def bindings(
    *names: str | Sequence[str],
    lang: str = "c",
    source: str | Path | BtfSource | None = None,
    stub: str | Path | None = None,
) -> Bindings:
    """Return the smallest text that defines some types of a kernel: a C header, or a Python module.

    The header includes nothing and compiles alone, for BPF and for the host, where members are at the offsets
    that BTF has (:meth:`Bindings.checks` asserts it). In BPF programs accesses to them are relocated (CO-RE).
    It stands in for ``vmlinux.h`` and has its guard: include it before libbpf's headers. A cell that includes it
    already has the running kernel's types, and the header stays empty; a cell that holds its text goes by that.

    Parameters
    ----------
    names
        Types as C names them, ``"task_struct"``, ``"enum pid_type"``, or lists of them.
    lang
        ``"c"``, or ``"python"`` for numpy dtypes and ctypes.
    source
        Where the types are from, see :func:`~ebpflab.inspectors.btf_source.open_btf`.
    stub
        A C file, or its text, that uses the types: what it names, and what the members point at that it
        reads, is asked for as well.

    Raises
    ------
    TypeNotFoundError
        There is no type of a name; ``nearest`` has those that resemble it.
    CellError
        Nothing is asked for, there is no such language, or the stub cannot be read.
    DecodeError, KernelSupportError, PrivilegeError
        The types cannot be read.

    Examples
    --------
    >>> made = ebpflab.bindings("task_struct", "path")
    >>> made.save("task.h")
    """
    if lang not in _LANGUAGES:
        hint = did_you_mean(nearest(lang, _LANGUAGES)) or 'bindings are written for "c" and for "python"'
        raise CellError(f"there are no bindings for {lang!r}", hint=hint)
    found = open_btf(source)
    listed = [each for name in names for each in ([name] if isinstance(name, str) else name)]
    asked = dict.fromkeys(found.find(name) for name in listed)
    if stub is not None:
        asked |= dict.fromkeys(_stub.types_of(_read(stub), found))
    if not asked:
        hint = 'name types, as in bindings("task_struct", "path"), or give a stub that uses some'
        raise CellError("no type is asked for", hint=hint)
    planned = plan(found.btf, asked, core=lang == "c")
    made = Bindings(_text(found, tuple(asked), planned, lang))
    made.names = tuple(tag(found.btf[type_id]) for type_id in asked)
    made.lang, made.source, made._plan = lang, found, planned
    return made


def _text(source: BtfSource, asked: tuple[int, ...], planned: Plan, lang: str) -> str:
    if lang == "c":
        what = ", ".join(tag(source.btf[type_id]) for type_id in asked)
        note = f"{what}\n * as in {source.name}; written by ebpflab.bindings()"
        return written(source.btf, planned, core=True, guard=_GUARD, note=note)
    from .python_types import source as module

    return str(module(source.btf, list(asked)))


def _read(stub: str | Path) -> str:
    if isinstance(stub, str) and any(mark in stub for mark in ";{\n"):
        return stub
    try:
        return Path(stub).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        what = f"cannot read the stub {stub}: {getattr(error, 'strerror', error)}"
        raise CellError(what, hint="a stub is a C file, or its text") from None


def _kind(kind: Kind) -> str:
    return "enum" if kind in ENUMS else kind.name.lower()


def _size(source: BtfSource, type_id: int) -> int | None:
    # A typedef may stand for what has no size: void, a function.
    try:
        return source.btf.sizeof(type_id)
    except DecodeError:
        return None


@functools.lru_cache(maxsize=4)
def _whole(source: BtfSource) -> int:
    return len(header(source.btf, [t.id for t in source.btf.of_kind(*_NAMED) if t.name]).encode())
