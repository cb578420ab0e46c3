"""Types as the kernel, a module or a file has them in BTF: layout, values, C, numpy, ctypes, and search."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...btf import Kind
from ..btf_source import BtfSource, open_btf
from . import finding, tree
from .members import STRUCTS, Hole, Member, Node, at, children, holes, nodes, size_of

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd

    from ...btf import Enumerator
    from .paths import TypePath

_KINDS = {Kind.ENUM64: "enum", Kind.FWD: "declaration", Kind.PTR: "pointer"}


@dataclass(frozen=True, repr=False)
class TypeInfo:
    """One type; made by :func:`type`, and shows itself as a tree in a notebook.

    Attributes
    ----------
    name
        Without its keyword: "task_struct"; empty for an anonymous type.
    kind
        "struct", "union", "enum", "typedef", "int", "float"; of types without a name also "pointer", "array".
    size
        Bytes, or None where C knows none.
    source
        Where the type is from.
    type_id
        Its number there.
    """

    name: str
    kind: str
    size: int | None
    source: BtfSource
    type_id: int

    @classmethod
    def of(cls, source: BtfSource, type_id: int) -> TypeInfo:
        """Return what is known of the type with this id.

        Raises
        ------
        DecodeError
            There is no such type, or BTF contradicts itself about it.

        Examples
        --------
        >>> TypeInfo.of(source, source.find("pid_t")).kind
        'typedef'
        """
        found = source.btf[type_id]
        kind = _KINDS.get(found.kind, found.kind.name.lower())
        return cls(found.name, kind, size_of(source.btf, type_id), source, type_id)

    @property
    def c_type(self) -> str:
        """How C spells it: "struct task_struct"."""
        return self.source.btf.c_type(self.type_id)

    @property
    def namesakes(self) -> tuple[TypeInfo, ...]:
        """The other types of this name and kind, which other source files of the kernel define."""
        found = self.source.btf[self.type_id]
        others = self.source.btf.find_all(found.name, found.kind) if found.name else ()
        return tuple(TypeInfo.of(self.source, t.id) for t in others if t.id != self.type_id)

    @functools.cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The members with the nesting of anonymous structs and unions, in the order of the source."""
        return nodes(self.source.btf, self.type_id)

    @functools.cached_property
    def members(self) -> tuple[Member, ...]:
        """The members; those of anonymous structs and unions inside stand for these. A typedef has its type's."""
        return tuple(node.member for node in self.nodes if node.member.name)

    @property
    def values(self) -> tuple[Enumerator, ...]:
        """The names of an enum with their numbers."""
        return self.source.btf.strip(self.type_id).values

    @functools.cached_property
    def holes(self) -> tuple[Hole, ...]:
        """The bytes between members that none of them covers, such as alignment leaves: offset and size in bytes."""
        return tuple(gap for gap in self.gaps if gap.offset + gap.size != self.size)

    @property
    def padding(self) -> int:
        """The bytes behind the last member."""
        return sum(gap.size for gap in self.gaps if gap.offset + gap.size == self.size)

    @functools.cached_property
    def gaps(self) -> tuple[Hole, ...]:
        """The bytes that no member covers: the holes, and the padding if there is some."""
        return holes(self.nodes, self.size or 0) if self.source.btf.strip(self.type_id).kind in STRUCTS else ()

    @property
    def fields(self) -> pd.DataFrame:
        """The members: field, type, offset and size in bytes; bit and bits are NA unless it is a bitfield.

        A bitfield starts *bit* bits into the byte at its offset, and its size is that of the type that it is
        declared with. Of an enum, the values: name, value.
        """
        import pandas as pd

        if self.values:
            return pd.DataFrame(self.values, columns=["name", "value"])
        rows = [
            (m.name, m.c_type, m.offset, m.size, *((m.bit, m.bits) if m.bits else (None, None))) for m in self.members
        ]
        frame = pd.DataFrame(rows, columns=["field", "type", "offset", "size", "bit", "bits"])
        return frame.astype(
            {"field": str, "type": str, "offset": "int64", "size": "Int64", "bit": "Int64", "bits": "Int64"}
        )

    def c(self, whole: bool = False) -> str:
        """Return its definition in C, with offsets as comments.

        Parameters
        ----------
        whole
            A header that compiles alone: with all types that it needs, in order, and without comments.

        Examples
        --------
        >>> print(type("list_head").c())
        struct list_head { ...
        """
        from ... import btf_writer

        if whole:
            return btf_writer.header(self.source.btf, [self.type_id], core=False)
        return btf_writer.definition(self.source.btf, self.type_id, comments=True)

    def dtype(self) -> np.dtype[Any]:
        """Return the numpy dtype with every member where C has it; :func:`.python_types.dtype` tells the rules.

        Raises
        ------
        DecodeError
            The type has no size.

        Examples
        --------
        >>> type("list_head").dtype().itemsize
        16
        """
        from . import python_types

        return python_types.dtype(self.source.btf, self.type_id)

    def ctypes(self) -> Any:
        """Return the ctypes class with every member where C has it; :func:`.python_types.ctypes_class` tells the rules.

        Raises
        ------
        DecodeError
            The type has no size, or ctypes cannot lay it out so.

        Examples
        --------
        >>> type("list_head").ctypes().prev.offset
        8
        """
        from . import python_types

        return python_types.ctypes_class(self.source.btf, self.type_id)

    def find(self, pattern: str, depth: int = 3) -> pd.DataFrame:
        """Return every path whose last step matches, those that follow the fewest pointers first.

        Paths lead through embedded structs, and through pointers to structs; of an array they take the first
        element. None meets the same struct twice, so none runs in circles through ``list_head`` or ``parent``.

        Parameters
        ----------
        pattern
            A member's name; a glob with ``*``, ``?`` or ``[]``; or a regular expression between slashes.
        depth
            How many pointers a path may follow; embedded structs do not count.

        Returns
        -------
        pandas.DataFrame
            path, type, offset (bytes from where the last pointer on the way points to), dereferences. At most
            1000 rows: ``attrs["cut"]`` tells whether there are more, ``attrs["note"]`` what to do then.

        Raises
        ------
        CellError
            The regular expression is not one.

        Examples
        --------
        >>> type("task_struct").find("exe_file", depth=1)["path"].tolist()
        ['mm.exe_file', 'active_mm.exe_file']
        """
        import pandas as pd

        found, cut = finding.find(self.source.btf, self.type_id, pattern, depth)
        frame = pd.DataFrame(found, columns=["path", "type", "offset", "dereferences"])
        frame = frame.astype({"path": str, "type": str, "offset": "int64", "dereferences": "int64"})
        note = f"the first {len(found)} paths; there are more: search less deep, or for less" if cut else ""
        glob = f", or for *{pattern}*" if pattern.isidentifier() else ""
        note = note if found else f"no such path that follows at most {depth} pointers; look deeper{glob}"
        frame.attrs = {"cut": cut, "note": note}
        return frame

    def expand(self, path: str = "") -> tuple[Member, ...]:
        """Return the members of what stands at a path, through pointers and arrays; () if it has none.

        Parameters
        ----------
        path
            From this type: "mm.exe_file"; the offsets of the result count from the struct that it leads to.

        Raises
        ------
        TypeNotFoundError
            A step of the path does not exist; names the nearest that do.

        Examples
        --------
        >>> type("task_struct").expand("mm.exe_file")[0].path
        'mm.exe_file.f_lock'
        """
        btf = self.source.btf
        if not path.strip():
            return children(btf, self.type_id)
        member = at(btf, self.type_id, path)
        return children(btf, member.type_id, member.path)

    def path(self, text: str) -> TypePath:
        """Return the way to a member: what each step is, which ones dereference, and the C that reads it.

        Raises
        ------
        TypeNotFoundError
            A step does not exist; names the nearest that do.

        Examples
        --------
        >>> print(type("task_struct").path("real_parent.tgid").c())
        pid_t tgid = BPF_CORE_READ(task, real_parent, tgid);
        """
        from .paths import path_of

        return path_of(self.source, self.type_id, text)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON.

        Examples
        --------
        >>> type("list_head").to_dict()["members"][1]["offset"]
        8
        """
        return {
            "name": self.name,
            "type": self.c_type,
            "kind": self.kind,
            "size": self.size,
            "source": self.source.name,
            "members": [_plain(member) for member in self.members],
            "values": [value._asdict() for value in self.values],
            "holes": [hole._asdict() for hole in self.holes],
            "padding": self.padding,
            "namesakes": [other.type_id for other in self.namesakes],
        }

    def __repr__(self) -> str:
        return tree.as_text(self)

    def _repr_html_(self) -> str:
        return tree.as_html(self)


def type(name: str, source: str | Path | BtfSource | None = None) -> TypeInfo:
    """Return a type of the running kernel, of one of its modules, or of a file.

    Parameters
    ----------
    name
        As in C: "task_struct", "struct file", "enum pid_type", "u64".
    source
        Nothing for the running kernel; the name of a module; the path of a file with raw BTF or of an ELF file
        with a section ``.BTF``. See :func:`.btf_source.open_btf`.

    Raises
    ------
    TypeNotFoundError
        There is no such type; ``nearest`` has the names that resemble it.
    KernelSupportError, PrivilegeError, DecodeError
        The source has no BTF, or it cannot be read.

    Examples
    --------
    >>> type("list_head").fields["field"].tolist()
    ['next', 'prev']
    """
    opened = open_btf(source)
    return TypeInfo.of(opened, opened.find(name))


def _plain(member: Member) -> dict[str, Any]:
    said = {"name": member.name, "type": member.c_type, "offset": member.offset, "size": member.size}
    return said | ({"bit": member.bit, "bits": member.bits} if member.bits else {})
