"""The type of what stands before the cursor: variables, members, casts, calls, and libbpf's CO-RE reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..btf import Kind
from ..errors import AttachError, HookNotFoundError
from ..inspectors.layout import vmlinux
from ..program_types import parse_section, tracepoint_target
from .c_words import REGISTER_HEADS, STATEMENTS, TYPE_WORDS
from .declared import CType
from .members import find, is_typedef, of_number
from .source import type_name

if TYPE_CHECKING:
    from .place import Call, Place

_FAR = 400  # tokens of one expression
_DEEPEST = 30
_CLOSING = (")", "]", "}")
# Where the source is among the arguments of a CO-RE read; all that follow are members, each of what the one before
# reaches (libbpf: src/bpf_core_read.h).
_READS = {
    **dict.fromkeys(("BPF_CORE_READ", "BPF_CORE_READ_USER", "BPF_PROBE_READ", "BPF_PROBE_READ_USER"), 0),
    **{f"BPF_{way}_READ{user}{into}": 1 for way in ("CORE", "PROBE") for user in ("", "_USER")
       for into in ("_INTO", "_STR_INTO")},
    **dict.fromkeys(("BPF_CORE_READ_BITFIELD", "BPF_CORE_READ_BITFIELD_PROBED"), 0),
}  # fmt: skip
# Calls whose argument of that number is a type, or an expression of one, and the next one a member of it.
_OF_TYPE = {
    "offsetof": 0,
    "container_of": 1,
    "bpf_core_field_exists": 0,
    "bpf_core_field_offset": 0,
    "bpf_core_field_size": 0,
}
# What helpers return whose C declaration says less, or that BTF does not know.
_RETURNED = {
    "bpf_get_current_task_btf": "struct task_struct",
    "bpf_get_current_task": "struct task_struct",
    "bpf_task_pt_regs": "struct pt_regs",
    "bpf_sk_lookup_tcp": "struct bpf_sock",
    "bpf_sk_lookup_udp": "struct bpf_sock",
    "bpf_skc_lookup_tcp": "struct bpf_sock",
    "bpf_sk_fullsock": "struct bpf_sock",
    "bpf_tcp_sock": "struct bpf_tcp_sock",
    "bpf_sock_from_file": "struct socket",
}
_OF_MAPS = re.compile(r"bpf_map_lookup\w*|bpf_ringbuf_reserve|bpf_\w+_storage_get")
_TO_SOCKET = re.compile(r"bpf_skc_to_(\w+)")


def owner(place: Place) -> CType | None:
    r"""Return the type whose members may follow, for a place behind ``->`` or ``.``; None where it is not known.

    Examples
    --------
    >>> owner(place_at('%%bpf\nint f(struct file *f) { f->', 31)).base
    'struct file'
    """
    reader, end = _Reader(place), place.at - 1
    first = reader.start(end)
    if reader.designates(first):
        found = reader.steps(reader.initialised(first), first, end)
        return found if found and not found.levels else None
    call = place.call
    if call and first in call.arguments and (begin := path(place, call)) is not None:
        return reader.steps(begin, first, end)
    return reader.type(first, end)


def path(place: Place, call: Call) -> CType | None:
    """Return the type whose members an argument of a CO-RE read, offsetof and the like may name, or None.

    Raises
    ------
    KernelSupportError, PrivilegeError
        The kernel carries no BTF, or it cannot be read.
    """
    reader, (first, last) = _Reader(place), (call.arguments[0], call.arguments[-1])
    if call.name in _OF_TYPE and call.number == _OF_TYPE[call.name] + 1:
        return reader.type(call.arguments[call.number - 1], last - 1)
    source = _READS.get(call.name)
    if source is None or call.number <= source:
        return None
    first = call.arguments[source]
    found = reader.type(first, call.arguments[source + 1] - 1)
    for begin, end in zip(call.arguments[source + 1 :], call.arguments[source + 2 :], strict=False):
        found = reader.steps(found, begin, end - 1) if found else None
    return found


def root(place: Place) -> tuple[str, CType, str] | None:
    """Return the variable that a chain of members starts with, its type, and the members up to the cursor's.

    Examples
    --------
    >>> root(place_at(cell, cell.index("t->mm->exe_file") + 15))
    ('t', CType(base='struct task_struct', levels=1), 'mm')
    """
    reader, end = _Reader(place), place.at - 1
    first = reader.start(end)
    name = reader.code.text(first)
    found = reader.variable(name) if first < end and reader.code.text(first + 1) != "(" else None
    return (name, found, "".join(t.text for t in reader.code.tokens[first + 2 : end])) if found else None


def is_designator(place: Place) -> bool:
    r"""Tell whether a member is one that an initialiser names, which writes it.

    Examples
    --------
    >>> is_designator(place_at("%%bpf\nstruct event e = { .pid", 29))
    True
    """
    reader = _Reader(place)
    return reader.designates(reader.start(place.at - 1))


def type_of(place: Place, name: str) -> CType | None:
    """Return the type of a variable at this place, or None if there is none of that name."""
    return _Reader(place).variable(name)


def context_type(section: str) -> CType | None:
    """Return the type of the context pointer of a program of this section, or None where it is not one struct.

    Examples
    --------
    >>> context_type("tp/syscalls/sys_enter_openat").base
    'struct tracepoint__syscalls__sys_enter_openat'
    """
    try:
        found = parse_section(section)
        if found.kind == "tracepoint":
            words = "__".join(tracepoint_target(found.target))
            return CType("struct tracepoint__" + re.sub(r"\W", "_", words, flags=re.ASCII), 1)
    except (HookNotFoundError, AttachError):  # not finished yet
        return None
    if found.kind == "iter":
        return CType(f"struct bpf_iter__{found.target}", 1) if found.target else None
    context = found.type.context
    return CType(context, 1) if re.fullmatch(r"struct \w+", context) else None


class _Reader:
    # Reads expressions by the indices of their tokens.

    def __init__(self, place: Place) -> None:
        assert place.source is not None
        self.place = place
        self.source = place.source
        self.code = place.source.code

    def start(self, end: int) -> int:
        # Where the expression begins that ends before this token: names, members, calls, indices.
        at = end - 1
        while at >= max(0, end - _FAR):
            if self.code.text(at) in (")", "]"):
                if at not in self.code.begins:
                    return at + 1
                at = self.code.begins[at]
                before = self.code.text(at - 1)
                if self.code.text(at) == "[" and before in (")", "]"):
                    at -= 1
                    continue
                if self.code.kind(at - 1) != "word" or before in STATEMENTS:
                    return at
                at -= 1
            elif self.code.kind(at) != "word":
                return at + 1
            if self.code.text(at - 1) not in ("->", "."):
                return at
            at -= 2
        return at + 1

    def type(self, at: int, end: int, depth: int = 0) -> CType | None:
        if at >= end or depth > _DEEPEST:
            return None
        word = self.code.text(at)
        if word in ("*", "&"):
            found = self.type(at + 1, end, depth + 1)
            return found.point(-1 if word == "*" else 1) if found else None
        if self._is_type(at):
            return type_name(self.source, at, end)
        if word == "(":
            closed = self.code.ends[at]
            if closed >= end:
                return None
            found = self.type(at + 1, closed, depth + 1)
            if self._is_type(at + 1):
                return found  # a cast is all that matters of what it is in front of
            return self.steps(found, closed + 1, end) if found else None
        if self.code.kind(at) != "word":
            return None
        if self.code.text(at + 1) == "(":
            closed = self.code.ends[at + 1]
            found = self._called(word, at + 2, closed, depth)
            return self.steps(found, closed + 1, end) if found else None
        found = self.variable(word)
        return self.steps(found, at + 1, end) if found else None

    def steps(self, found: CType | None, at: int, end: int) -> CType | None:
        # Members and indices from here on; the first name may stand without an arrow, as in BPF_CORE_READ.
        while at < end and found is not None:
            word = self.code.text(at)
            if word == "[":
                found, at = found.point(-1), self.code.ends[at] + 1
            elif word in ("->", "."):
                at += 1
            elif self.code.kind(at) == "word":
                field = find(self.source, found, word)
                found, at = (field.type if field else None), at + 1
            else:
                break
        return found

    def designates(self, at: int) -> bool:
        # Whether a designator of an initialiser begins here: `{ .a`, `, [3]`.
        return self.code.text(at) in (".", "[") and self.code.text(at - 1) in ("{", ",")

    def initialised(self, at: int, depth: int = 0) -> CType | None:
        # The type of what the braces around a token initialise: a declaration, `(struct x){`, a member, an element.
        opened = self._opened(at)
        if opened is None or depth > _DEEPEST:
            return None
        before = self.code.text(opened - 1)
        if before == ")":
            cast = self.code.begins.get(opened - 1)
            if cast is None or not self._is_type(cast + 1) or self._heads(cast):
                return None
            return self.type(cast + 1, opened - 1)
        if before == "=":
            first = self.start(opened - 1)
            if self.designates(first):
                return self.steps(self.initialised(first, depth + 1), first, opened - 1)
            return self.variable(self.code.text(first))
        outer = self.initialised(opened, depth + 1) if before in ("{", ",") else None
        return outer.point(-1) if outer and outer.levels else None

    def _heads(self, at: int) -> bool:
        # Whether a parenthesis belongs to what is in front of it, as that of a function does: no cast.
        return self.code.kind(at - 1) == "word" and self.code.text(at - 1) != "return"

    def _opened(self, at: int) -> int | None:
        # The brace that a token is directly in.
        at -= 1
        for _ in range(_FAR):
            word = self.code.text(at)
            if word == "{":
                return at
            if word in ("", ";", "(", "[") or (word in _CLOSING and at not in self.code.begins):
                return None
            at = self.code.begins.get(at, at) - 1
        return None

    def variable(self, name: str) -> CType | None:
        function, declared = self.place.function, self.place.variables.get(name)
        if function and declared is None and name == "ctx" and function.head in REGISTER_HEADS:
            return CType("struct pt_regs", 1)
        if function and declared and declared.type.base == "void" and declared in function.parameters[:1]:
            return context_type(function.section) or declared.type
        return declared.type if declared else None

    def _is_type(self, at: int) -> bool:
        word = self.code.text(at)
        if word in TYPE_WORDS:
            return True
        after = self.code.text(at + 1)
        named = self.code.kind(at) == "word" and after in ("*", ")", ",") and word not in self.place.variables
        return named and is_typedef(self.source, word)

    def _called(self, name: str, at: int, end: int, depth: int) -> CType | None:
        arguments = self._arguments(at, end)
        if name in _READS and len(arguments) > _READS[name] + 1:
            (first, last), *rest = arguments[_READS[name] :]
            found = self.type(first, last, depth + 1)
            for begin, stop in rest:
                found = self.steps(found, begin, stop)
            return found
        if name in ("container_of", "bpf_core_cast") and len(arguments) > 1:
            return type_name(self.source, *arguments[1]).point()
        if _OF_MAPS.fullmatch(name) and arguments and self.code.text(at) == "&":
            known = self.source.maps.get(self.code.text(at + 1))
            return known.types["value"].point() if known and "value" in known.types else None
        own = next((f.returns for f in self.source.functions if f.name == name), None)
        return own or _returned(name)

    def _arguments(self, at: int, end: int) -> list[tuple[int, int]]:
        found, begin = list[tuple[int, int]](), at
        while at < end:
            if self.code.text(at) == ",":
                found.append((begin, at))
                begin = at + 1
            at = self.code.ends.get(at, at) + 1
        return [*found, (begin, end)]


def _returned(name: str) -> CType | None:
    if name in _RETURNED:
        return CType(_RETURNED[name], 1)
    if socket := _TO_SOCKET.fullmatch(name):
        return CType(f"struct {socket[1]}", 1)
    btf = vmlinux()
    function = btf.find(name, Kind.FUNC)
    return of_number(btf[function.type_id].type_id) if function else None
