"""BTF written as C: the definition of one type, and headers of several that compile alone.

The text is meant for clang, for BPF and for the host, and for GCC. Layouts come out as BTF has them
(:mod:`ebpflab.btf_layout`); what BTF does not record stays out: attributes of functions, ``__user`` and its like,
and whether an array without elements was ``[]`` or ``[0]``: it is written ``[0]``, which may stand anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .btf import Kind, Speller
from .btf_layout import RECORDS, Layouts
from .btf_plan import ENUMS, Entry, Plan, identifier, member_name, tag
from .errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .btf import Btf, Member, Type
    from .btf_layout import Row
    from .btf_plan import Names

# What libbpf's bpf_helper_defs.h, bpf_core_read.h and bpf_tracing.h need.
_LIBBPF_TYPES = {
    "__u8": "unsigned char",
    "__u16": "unsigned short",
    "__u32": "unsigned int",
    "__u64": "unsigned long long",
    "__s8": "signed char",
    "__s16": "short",
    "__s32": "int",
    "__s64": "long long",
    "__be16": "__u16",
    "__be32": "__u32",
    "__be64": "__u64",
    "__wsum": "__u32",
}
_INTEGERS = {1: "char", 2: "short", 4: "int", 8: "long long", 16: "__int128"}
_WIDTHS = {"char": 1, "short": 2, "long": 8, "__int128": 16}
_INTEGER_WORDS = frozenset({"signed", "unsigned", "int", *_WIDTHS})
_MODES = {1: "byte", 2: "HI", 4: "SI", 8: "DI"}  # GCC's names of the sizes of enums
_FILLERS = {1: "char", 2: "short", 4: "int", 8: "long"}
_C23_WORDS = frozenset({"bool", "true", "false", "nullptr", "constexpr", "static_assert", "thread_local", "alignas"})
_BEFORE_C23 = "#if !defined(__STDC_VERSION__) || __STDC_VERSION__ <= 201710L"
_MOST_STEPS = 50_000  # types that one definition may run through; a kernel's longest takes 2000
_DEEPEST = 48  # declarations in declarations; 4 in a kernel
_COLUMN = 72  # where comments start, if a line is not longer
_MARK = "\0"
_RELOCATED = "#if defined(__bpf__) && !defined(BPF_NO_PRESERVE_ACCESS_INDEX)"
_PUSH = f"""{_RELOCATED}
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif
"""
_POP = f"""{_RELOCATED}
#pragma clang attribute pop
#endif
"""


def definition(btf: Btf, type_id: int, *, comments: bool = False) -> str:
    """Return the C definition of one type, without those of the types that it names.

    Parameters
    ----------
    btf
        The types.
    type_id
        A struct, union, enum, typedef, function or forward declaration; anything else gives a comment.
    comments
        Whether each member has its offset and size in bytes behind it, as in pahole: ``/* 8  4 */``, and a
        bitfield its byte, bit and bits: ``/* 8:3  1 bit */``; holes get a line of their own.

    Raises
    ------
    DecodeError
        The BTF is damaged: members overlap, or a type contains itself.

    Examples
    --------
    >>> print(definition(btf, btf.find("list_head", Kind.STRUCT).id))
    struct list_head { ...
    """
    return _Writer(btf, Layouts(btf), comments=comments).definition(btf[type_id])


def header(
    btf: Btf, type_ids: Iterable[int], *, core: bool = True, guard: str = "__VMLINUX_H__", note: str = ""
) -> str:
    """Return a header of some types, with no more than what they need to compile.

    Members by value are declared whole, targets of pointers by their tag only. The header includes nothing.
    By its guard it stands in for ``vmlinux.h``: a program includes one of them, and where the other was
    included before, this one is empty.

    Parameters
    ----------
    btf
        The types.
    type_ids
        Those that are asked for.
    core
        Whether the header also serves BPF programs: there, accesses to members are relocated to the kernel that
        loads them (CO-RE), unless they define ``BPF_NO_PRESERVE_ACCESS_INDEX``, and the integer types are declared
        that libbpf's headers need.
    guard
        The name of the macro that keeps the header from being read twice.
    note
        A line of text that stands first, as a comment.

    Raises
    ------
    DecodeError
        See :func:`definition`.

    Examples
    --------
    >>> path = btf.find("path", Kind.STRUCT).id
    >>> Path("path.h").write_text(header(btf, [path]))
    """
    return written(btf, plan(btf, type_ids, core=core), core=core, guard=guard, note=note)


def plan(btf: Btf, type_ids: Iterable[int], *, core: bool = True) -> Plan:
    """Return what :func:`header` declares, and why: see there, and :class:`~ebpflab.btf_plan.Plan`."""
    # A program with a map names the map's type.
    also = [*(btf.find(name, Kind.TYPEDEF) for name in _LIBBPF_TYPES), btf.find("bpf_map_type", Kind.ENUM)]
    return Plan(btf, type_ids, [Entry(t.id, "for libbpf's headers") for t in also if t and core])


def written(btf: Btf, planned: Plan, *, core: bool, guard: str, note: str = "") -> str:
    """Return the header of a plan as text; parameters as of :func:`header`."""
    writer = _Writer(btf, Layouts(btf), planned.names)
    parts = [f"/* {note.replace('*/', '* /')} */\n" if note else "", f"#ifndef {guard}\n#define {guard}\n"]
    parts.append(_PUSH if core else "")
    present = {btf[entry.type_id].name for entry in planned.entries if btf[entry.type_id].kind is Kind.TYPEDEF}
    missing = [f"typedef {base} {name};\n" for name, base in _LIBBPF_TYPES.items() if core and name not in present]
    parts.append("".join(missing))
    parts.append("".join(f"{line}\n" for line in planned.forward))
    parts.append(writer.definitions(planned.entries))
    parts.append(_POP if core else "")
    parts.append(f"#endif /* {guard} */\n")
    return "\n".join(filter(None, parts))


def definitions(btf: Btf, planned: Plan) -> Iterator[str]:
    """Return the definition of each entry of a plan, in order; "" for an enum that an earlier one holds."""
    writer = _Writer(btf, Layouts(btf), planned.names)
    return (writer.definition(btf[entry.type_id]) for entry in planned.entries)


class _Writer(Speller):
    # Writes definitions. What has no name is written where it is used.

    def __init__(self, btf: Btf, layouts: Layouts, names: Names | None = None, *, comments: bool = False) -> None:
        super().__init__(btf, _MOST_STEPS)
        self._layouts = layouts
        self._names = names
        self._comments = comments
        self._tabs = self._depth = 0
        self._at = 0  # bits from the start of the outermost record to the one being written
        self._holes = 0
        self._seen: set[int] = set()  # enums without a name: their values can be defined only once

    def definitions(self, entries: Iterable[Entry]) -> str:
        # Typedefs of one line stand together; anything longer has an empty line around it.
        pieces: list[str] = []
        for text in filter(None, (self.definition(self._btf[entry.type_id]) for entry in entries)):
            together = pieces and pieces[-1].strip().count("\n") == text.strip().count("\n") == 0
            pieces.append(text if together or not pieces else f"\n{text}")
        return "".join(pieces)

    def definition(self, t: Type) -> str:
        # With its line end; "" for an enum that has been written where it was used.
        self._left, self._holes, self._at = _MOST_STEPS, 0, 0
        if t.kind in RECORDS:
            text = self._record(t, self._name(t))
        elif t.kind in ENUMS:
            if t.id in self._seen:
                return ""
            text = self._enum(t)
        elif t.kind is Kind.TYPEDEF:
            return self._typedef(t)
        elif t.kind is Kind.FUNC:
            text = self._function(t)
        elif t.kind is Kind.FWD:
            text = tag(t)
        else:
            return f"/* {self._btf.c_type(t.id)}: a type of C itself */\n"
        return f"{_aligned(text)};\n"

    def declare(self, type_id: int, inner: str, depth: int = 0) -> str:
        if self._depth >= _DEEPEST:
            raise DecodeError(f"Type id {type_id} cannot be written in C: it refers back to itself.")
        self._depth += 1
        declared = super().declare(type_id, inner, depth)
        self._depth -= 1
        return declared

    def base(self, t: Type) -> str:
        if t.kind in RECORDS and not t.name:
            return self._record(t, "")
        if t.kind in ENUMS and not t.name:
            if t.id in self._seen:
                return _integer(t.size, t.signed)
            return self._enum(t)
        if t.kind is Kind.INT:
            return _c_integer(t)
        keyword = tag(t).partition(" ")[0] if t.kind in (*RECORDS, *ENUMS, Kind.FWD) else ""
        return f"{keyword} {self._name(t)}".strip()

    def dimension(self, array: Type) -> str:
        return str(array.length)

    def _name(self, t: Type) -> str:
        if not t.name or t.kind not in (*RECORDS, *ENUMS, Kind.TYPEDEF, Kind.FWD):
            return t.name
        return self._names.of(t) if self._names else identifier(t.name)

    def _typedef(self, t: Type) -> str:
        name = self._name(t)
        line = _aligned(f"typedef {self.declare(t.type_id, name)};\n")
        return f"{_BEFORE_C23}\n{line}#endif\n" if name in _C23_WORDS else line

    def _function(self, t: Type) -> str:
        proto = self._btf[t.type_id]
        params = (self.declare(p.type_id, member_name(p.name)) if p.type_id else "..." for p in proto.params)
        return self.declare(proto.type_id, f"{identifier(t.name)}({', '.join(params) or 'void'})")

    def _enum(self, t: Type) -> str:
        if not t.name:
            self._seen.add(t.id)
        tabs = "\t" * self._tabs
        names = self._names.enumerators(t) if self._names else [identifier(value.name) for value in t.values]
        values = [value.value for value in t.values]
        if not values:  # only declared, which C does not allow where it is a member
            names, values = [f"{self._name(t) or 'enum'}___none"], [0]
        lines = "".join(f"{tabs}\t{name} = {_number(value)},\n" for name, value in zip(names, values, strict=True))
        return f"{f'enum {self._name(t)}'.strip()} {{\n{lines}{tabs}}}{_enum_attribute(t.size, values)}"

    def _record(self, t: Type, name: str) -> str:
        if self._tabs >= _DEEPEST:
            raise DecodeError(f"{tag(t)} (type id {t.id}) contains itself.")
        layout = self._layouts.of(t)
        start, tabs = self._at, "\t" * self._tabs
        lines: list[str] = []
        self._tabs += 1
        for row in layout.rows:
            self._at = start + row.offset
            if row.hole and row.member:
                lines.append(self._remark(f"{_bits(row.hole)} hole"))
            lines.append(f"{self._row(row)}{self._remark(self._place(row))}")
        self._at, self._tabs = start, self._tabs - 1
        if layout.tail and t.kind is Kind.STRUCT:
            lines.append(self._remark(f"{_bits(layout.tail)} padding"))
        if not self._tabs:
            lines.append(self._remark(f"size: {t.size}"))
        body = "".join(f"{tabs}\t{line}\n" for line in lines if line)
        head = f"{tag(t).partition(' ')[0]} {name}".strip()
        return f"{head} {{\n{body}{tabs}}}{_attribute(layout.packed, layout.aligned)}"

    def _remark(self, comment: str) -> str:
        return f"{_MARK}{comment}" if self._comments and comment else ""

    def _row(self, row: Row) -> str:
        if row.member is None:
            return self._filler(row)
        text = self._member(row.member)
        return f"{text}{f': {row.bits}' if row.bits else _attribute(False, row.aligned)};"

    def _member(self, member: Member) -> str:
        chain = self._btf.chain(member.type_id)
        if not member.name and chain[-1].kind in RECORDS:
            # Since 7.x the kernel has anonymous members with a tag, which C allows with -fms-extensions only.
            words = [t.kind.name.lower() for t in chain if t.kind in (Kind.CONST, Kind.VOLATILE)]
            return " ".join([*words, self._record(chain[-1], "")])
        if not member.name and not self._btf.bit_range(member)[1]:
            raise DecodeError(f"A member of the type {self._btf.c_type(member.type_id)} has no name.")
        start = self._at
        if self._btf.strip(member.type_id).kind is Kind.PTR:
            self._at = 0  # a record without a name behind a pointer has offsets of its own
        text = self.declare(member.type_id, member_name(member.name))
        self._at = start
        return text

    def _filler(self, row: Row) -> str:
        if row.bits > 64:
            self._holes += 1
            return f"char __hole_{self._holes}[{row.bits // 8}];"
        # On some machines unnamed bitfields count for the alignment, so none is wider than it must be.
        fits = (word for size, word in _FILLERS.items() if row.offset % (8 * size) + row.bits <= 8 * size)
        return f"{next(fits, 'long')}: {row.bits};"

    def _place(self, row: Row) -> str:
        if row.member is None:
            return ""
        byte, bit = divmod(self._at, 8)
        if row.bits:
            return f"{byte}:{bit}  {row.bits} bit{'s' if row.bits > 1 else ''}"
        return f"{byte}  {self._btf.sizeof(row.member.type_id)}"


def _aligned(text: str) -> str:
    # Comments, which stand behind a mark, below each other; a line of nothing else has its own indentation.
    rows = [line.partition(_MARK) for line in text.split("\n")]
    column = min(max((len(left.expandtabs(8)) for left, mark, _ in rows if mark and left.strip()), default=0), _COLUMN)
    return "\n".join(
        f"{left}{' ' * (column - len(left.expandtabs(8)) + 2) if left.strip() else ''}/* {comment} */" if mark else left
        for left, mark, comment in rows
    )


def _attribute(packed: bool, aligned: int) -> str:
    words = [*(["packed"] if packed else []), *([f"aligned({aligned})"] if aligned else [])]
    return f" __attribute__(({', '.join(words)}))" if words else ""


def _enum_attribute(size: int, values: list[int]) -> str:
    # C makes an enum as wide as an int, or as its values need; a packed one as narrow as they allow.
    low, high = min(values), max(values)
    narrowest = next(n for n in (1, 2, 4, 8) if (-(1 << 8 * n - 1) if low < 0 else 0) <= low and high < _above(n, low))
    if size == max(narrowest, 4):
        return ""
    if size == narrowest:
        return " __attribute__((packed))"
    if size not in _MODES:
        raise DecodeError(f"C has no enum of {size} bytes.")
    return f" __attribute__((mode({_MODES[size]})))"


def _above(size: int, low: int) -> int:
    return 1 << (8 * size - 1 if low < 0 else 8 * size)


def _number(value: int) -> str:
    # C reads -9223372036854775808 as the negative of a number that no signed type has.
    if value == -(1 << 63):
        return "(-9223372036854775807LL - 1)"
    suffix = "" if -(1 << 31) <= value < 1 << 32 else "LL" if value < 1 << 63 else "ULL"
    return f"{value}{suffix}"


def _c_integer(t: Type) -> str:
    # An integer's own name where it is one of C; other languages have others, and "char" of four bytes.
    words = sorted(t.name.split())
    if words in (["_Bool"], ["bool"]) and t.size == 1:
        return "_Bool"
    size = next((n for word, n in _WIDTHS.items() if word in words), 4)
    if size == t.size and words and not set(words) - _INTEGER_WORDS:
        return t.name
    return _integer(t.size, t.signed)


def _integer(size: int, signed: bool) -> str:
    word = _INTEGERS.get(size)
    if word is None:
        raise DecodeError(f"C has no integer of {size} bytes.")
    return f"unsigned {word}" if not signed else "signed char" if size == 1 else word


def _bits(count: int) -> str:
    number, unit = (count, "bit") if count % 8 else (count // 8, "byte")
    return f"{number} {unit}{'s' if number != 1 else ''}"
