"""Walking from a struct to a value behind its pointers, with each step checked against BTF.

A path is what C has after the first arrow: ``real_parent->tgid``, ``mm.exe_file.f_path.dentry.d_name.name``,
``cpus_mask.bits[0]``. The C that reads it uses libbpf's ``bpf/bpf_core_read.h``, so that libbpf finds the fields
anew on each kernel (CO-RE).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...btf import POINTER_SIZE, Kind
from ...errors import EbpflabError, TypeNotFoundError
from ...formatting import Code, Head, Note, Part, Table, html, text
from .path_walk import RECORDS, Walk, is_string, parsed, tells_memory, unqualified

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from ..btf_source import BtfSource
    from .path_walk import Hop, Step

STACK = 512  # bytes, of a program and the functions that it calls (the kernel's MAX_BPF_STACK)
LARGE = 256  # bytes: what is larger is read into a map
STRING = 64  # bytes: the buffer for a string whose length nobody knows

_HOLDERS = {"task_struct": "task", "sk_buff": "skb", "sock": "sk", "mm_struct": "mm", "net_device": "dev"}
MOST_PER_CPU = 32 << 10  # bytes of a value in a per-CPU map: the kernel's PCPU_MIN_UNIT_SIZE
_STEP = ("step", "type", "offset", "dereferences", "note")


@dataclass(frozen=True, repr=False)
class TypePath:
    """A path from a struct to a value; made by :func:`path_of`.

    Attributes
    ----------
    source
        Where the types are from.
    type_id
        The struct that the path starts in.
    text
        The path as C writes it, with ``->`` where a pointer is followed.
    walked
        Its steps, as :class:`Step`; ``steps`` shows them as a DataFrame.
    hops
        The same by pointers, as :class:`Hop`: each is one read.
    """

    source: BtfSource
    type_id: int
    text: str
    walked: tuple[Step, ...]
    hops: tuple[Hop, ...]

    @property
    def steps(self) -> pd.DataFrame:
        """The way: step, type, offset in bytes within its struct, whether it follows a pointer, and a note.

        A bitfield's offset is that of its first byte; the note has its bits.
        """
        import pandas as pd

        return pd.DataFrame(self._rows(), columns=list(_STEP))

    @property
    def type(self) -> str:
        """The type of the value as C spells it."""
        return self.source.btf.c_type(self.hops[-1].type_id)

    @property
    def size(self) -> int:
        """Bytes of the value, as C's ``sizeof``: 0 for a flexible array; for a bitfield those of its integer."""
        return self.source.btf.sizeof(self.hops[-1].type_id)

    @property
    def dereferences(self) -> int:
        """How many pointers are followed; the one that the path starts from does not count."""
        return len(self.hops) - 1

    @property
    def large(self) -> bool:
        """Whether the value is too large for the stack: C then reads it into a map, see :attr:`before`."""
        return self.size > LARGE

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know before using it."""
        return tuple(_notes(self))

    @property
    def before(self) -> str:
        """What C needs in front of the program: the map for a large value, "" for any other."""
        from .path_writer import scratch

        return scratch(self) if self.large else ""

    def c(
        self,
        base: str | None = None,
        into: str | None = None,
        *,
        errors: bool = False,
        guarded: bool = False,
        direct: bool = False,
    ) -> str:
        """Return the C statements that read the value, for the body of a program's function.

        They declare every variable that they use, the one for the value included. A value of more than 256 bytes
        goes into a map, and the variable then points to it, or is NULL; :attr:`before` is that map.

        Parameters
        ----------
        base
            The variable that points to the struct; named after the struct if not given.
        into
            The variable for the value; the last member's name if not given.
        errors
            Check each read and each pointer on the way. ``err`` is then 0, -2 (ENOENT) where a pointer is NULL, or
            the negative error of the read that failed (a bitfield's own read reports none); with *direct*, the value
            is 0 where a pointer is NULL.
        guarded
            Ask first whether the kernel that the program is loaded on has these members; the value is 0 if not.
        direct
            Follow the pointers in plain C, as programs of the kinds tp_btf, fentry, fexit, lsm, iter and
            struct_ops may: the verifier knows the types of what they are handed.

        Raises
        ------
        TypeNotFoundError
            The value has no size: a struct without members, or a flexible array.
        KernelSupportError
            With *direct*: the verifier does not follow such a pointer.

        Examples
        --------
        >>> print(ebpflab.type("task_struct").path("real_parent.tgid").c())
        pid_t tgid = BPF_CORE_READ(task, real_parent, tgid);
        """
        from .path_writer import statements

        base, into = self._names(base, into)
        return statements(self, base, into, errors=errors, guarded=guarded, direct=direct)

    def _names(self, base: str | None, into: str | None) -> tuple[str, str]:
        holder = self.source.btf[self.type_id].name
        base = base or _HOLDERS.get(holder) or holder.removesuffix("_struct") or "base"
        if not into:
            into = next(step.name for step in reversed(self.walked) if not step.name.startswith("["))
        return base, f"{into}_value" if into == base else into

    def to_dict(self) -> dict[str, object]:
        """Return the facts as plain values, for JSON; ``c`` is what :meth:`c` gives without arguments."""
        before, body, refused = self._reads()
        return {
            "start": self.source.btf.c_type(self.type_id),
            "path": self.text,
            "type": self.type,
            "size": self.size,
            "dereferences": self.dereferences,
            "steps": [dict(zip(_STEP, row, strict=True)) for row in self._rows()],
            "before": before,
            "c": body,
            "notes": [*refused, *self.notes],
        }

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return text(self._document())

    def _repr_html_(self) -> str:
        return html(self._document())

    def _rows(self) -> list[tuple[str, str, int, bool, str]]:
        c_type = self.source.btf.c_type
        return [(s.name, c_type(s.type_id), s.offset, s.dereferences, s.note) for s in self.walked]

    def _document(self) -> list[Part]:
        start = self.source.btf.c_type(self.type_id)
        followed = {0: "in the struct itself", 1: "1 pointer followed"}
        state = followed.get(self.dereferences, f"{self.dereferences} pointers followed")
        parts: list[Part] = [Head(f"{start}: {self.text}", state, "ok", f"{self.type}, {_bytes(self.size)}")]
        shown = [(f"->{n}" if follows else n, kind, at, note) for n, kind, at, follows, note in self._rows()]
        parts.append(Table(("step", "type", "offset", "note"), tuple(shown)))
        before, body, refused = self._reads()
        parts += [Code(before, "before the program", "c")] if before else []
        parts += [Code(body, "in the program", "c")] if body else []
        return parts + [Note(note) for note in (*refused, *self.notes)]

    def _reads(self) -> tuple[str, str, tuple[str, ...]]:
        # The C, or why there is none: no size, a bitfield in a process' memory.
        try:
            return self.before, self.c(), ()
        except EbpflabError as error:
            return "", "", (f"{error.what}{f': {error.hint}' if error.hint else ''}",)


def path_of(source: BtfSource, type_id: int, text: str) -> TypePath:
    """Walk a path from a struct, and check each step.

    Parameters
    ----------
    source
        The types.
    type_id
        The struct or union to start in, or a typedef of it or a pointer to it.
    text
        Members with ``.`` or ``->`` between them, which mean the same here, and ``[N]`` for an element of an array
        or behind a pointer. Members of anonymous structs and unions are named as if they were the outer one's.

    Raises
    ------
    TypeNotFoundError
        A member does not exist (names the nearest), an index lies outside of its array, or a step cannot be
        taken: a pointer to something unknown, a number that has no members.

    Examples
    --------
    >>> path_of(source, source.find("task_struct"), "real_parent.tgid").dereferences
    1
    """
    btf = source.btf
    core = btf.strip(type_id)
    start = unqualified(btf, core.type_id if core.kind is Kind.PTR else type_id)
    if btf.strip(start).kind not in RECORDS:
        hint = "a path starts in a struct or union"
        raise TypeNotFoundError(f"{btf.c_type(type_id)} has no members", hint=hint)
    walk = Walk(btf, start)
    for name in parsed(text):
        if isinstance(name, int):
            walk.index(name)
        else:
            walk.member(name)
    return TypePath(source, start, walk.spelled, tuple(walk.steps), tuple(walk.hops))


def _bytes(size: int) -> str:
    return "1 byte" if size == 1 else f"{size:,} bytes"


def _notes(path: TypePath) -> Iterator[str]:
    btf, last = path.source.btf, path.hops[-1]
    core = btf.strip(last.type_id)
    if path.dereferences:
        yield (
            "Where a pointer on the way is NULL or cannot be read, the value is 0: .c(errors=True) or --errors tells. "
            "tp_btf, fentry, fexit, lsm, iter and struct_ops programs may write it in plain C: direct=True, --direct."
        )
    if path.dereferences and not tells_memory(btf):
        yield "This BTF does not say which pointers are __user or __percpu; what is behind such a one reads as 0."
    if last.bits:
        yield "A bitfield has no address: only the BPF_CORE_READ_BITFIELD macros read it, and they report no error."
    if path.large:
        places = "a place for each CPU" if path.size <= MOST_PER_CPU else "one place, which all CPUs write to"
        yield (
            f"{path.size:,} bytes are too much for the stack, which has {STACK}: they go into a map with {places}, "
            "or straight into a record from bpf_ringbuf_reserve(), which takes the place of the variable."
        )
    elif path.size > POINTER_SIZE and not is_string(btf, last.type_id):
        yield f"{path.size:,} of the {STACK} bytes of stack go to it."
    if is_string(btf, last.type_id) and (core.kind is Kind.PTR or not core.length):
        yield f"Strings are cut after {STRING - 1} characters; a larger buffer holds more."
    if any(hop.user for hop in path.hops):
        yield "Part of the way lies in the memory of a process: it can be read while that process runs, if paged in."
    if path.source.base is not None:
        yield f"vmlinux.h has no types of {path.source.name}: ebpflab.bindings() writes them."
