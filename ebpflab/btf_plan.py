"""What a header of some types has to declare, in which order, and under which names.

C needs a type whole where it is a member by value, and only its tag where something points to it. Typedefs have
to be declared wherever they are named, and so do enums, which C cannot declare forward.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from .btf import Kind
from .btf_layout import RECORDS
from .errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .btf import Btf, Type

ENUMS = (Kind.ENUM, Kind.ENUM64)

_TAGS = {Kind.STRUCT: "struct", Kind.UNION: "union", Kind.ENUM: "enum", Kind.ENUM64: "enum"}
# A BTF can come from another language, and a name of C itself cannot be defined again.
_RESERVED = re.compile(
    "auto|break|case|char|const|continue|default|do|double|else|enum|extern|float|for|goto|if|inline|int|long|register|"
    "restrict|return|short|signed|sizeof|static|struct|switch|typedef|union|unsigned|void|volatile|while|asm|typeof|"
    "_Alignas|_Alignof|_Atomic|_Bool|_Complex|_Generic|_Imaginary|_Noreturn|_Static_assert|_Thread_local|__int128|"
    "__builtin_va_list|__builtin_ms_va_list|__float128|_Float16|__bf16"
).fullmatch
# What has no name of its own, and stands in a declaration as *, [] or ().
_ANONYMOUS = {
    *(Kind.PTR, Kind.ARRAY, Kind.FUNC_PROTO, Kind.CONST, Kind.VOLATILE, Kind.RESTRICT, Kind.TYPE_TAG),
    *(Kind.VAR, Kind.FUNC),
}
_LONGEST = 1000  # links from a type to one with a name
_DEEPEST = 100  # types in types, on the way to what the last one needs; 27 in a kernel


class Entry(NamedTuple):
    """A type that is declared whole, and the reason."""

    type_id: int
    why: str


class Names:
    """A name for each type and enumerator, no two alike in one of C's two name spaces.

    The kernel's BTF has several types of some names. The first that asks gets the name, another one
    ``NAME___2``: libbpf leaves away what follows three underscores when it looks for the kernel's type.
    """

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._owners: dict[str, object] = {}
        self._tags: dict[str, object] = {}
        self._given: dict[int, str] = {}
        self._enumerators: dict[int, tuple[str, ...]] = {}

    def of(self, t: Type) -> str:
        """Return the name of a record, enum, typedef or forward declaration."""
        if t.id not in self._given:
            space = self._owners if t.kind is Kind.TYPEDEF else self._tags
            self._given[t.id] = _claim(space, identifier(t.name), self._identity(t))
        return self._given[t.id]

    def enumerators(self, enum: Type) -> tuple[str, ...]:
        """Return the names of an enum's values."""
        if enum.id not in self._enumerators:
            names = (_claim(self._owners, identifier(value.name), (enum.id, value)) for value in enum.values)
            self._enumerators[enum.id] = tuple(names)
        return self._enumerators[enum.id]

    def _identity(self, t: Type) -> object:
        # Types that are the same in C share a name: typedefs of one spelling, a tag and its forward declaration.
        if t.kind is Kind.TYPEDEF:
            spelled = self._btf.c_type(t.type_id)
            return t.id if "{" in spelled else spelled
        if t.kind is Kind.FWD:
            known = self._btf.find(t.name, Kind.UNION if t.flag else Kind.STRUCT)
            return known.id if known else (t.name, t.flag)
        return t.id


class Plan:
    """The declarations of a header: ``entries`` whole and in order, ``forward`` the tags to declare before them.

    Parameters
    ----------
    btf
        The types.
    type_ids
        Those that are asked for.
    also
        Those that the header needs for another reason than being asked for: type id and reason.

    Raises
    ------
    DecodeError
        A type contains itself, or its parts are nested too deeply.

    Examples
    --------
    >>> [btf[entry.type_id].name for entry in Plan(btf, [list_head.id]).entries]
    ['list_head']
    """

    def __init__(self, btf: Btf, type_ids: Iterable[int], also: Iterable[Entry] = ()) -> None:
        self._btf = btf
        self._depth = 0
        self._done: set[tuple[str, str]] = set()
        self._whole: set[int] = set()  # records and typedefs, of which all is there; prototypes that were seen
        self._open: list[int] = []
        self.names = Names(btf)
        self.entries: list[Entry] = []
        self.forward: dict[str, None] = {}
        self._asked = dict.fromkeys(type_ids)
        for type_id in self._asked:  # they get the plain names
            if btf[type_id].name and btf[type_id].kind in (Kind.TYPEDEF, *_TAGS):
                self.names.of(btf[type_id])
        for type_id in self._asked:
            self._need(type_id, True, "asked")
        for entry in also:
            self._need(entry.type_id, False, entry.why)

    def _need(self, type_id: int, whole: bool, why: str, parameter: bool = False) -> None:
        # What has to stand before a declaration with this type. An array needs its elements whole, also behind a
        # pointer; a tag first seen among parameters would belong to these alone.
        self._depth += 1
        if self._depth > _DEEPEST:
            raise DecodeError(f"Type id {type_id} cannot be written in C: too many types are needed one for another.")
        for t in self._links(type_id):
            if t.kind in (Kind.PTR, Kind.FUNC_PROTO):
                whole = False
            if t.kind is Kind.ARRAY:
                whole = True
            if t.kind is Kind.FUNC_PROTO and t.id not in self._whole:
                self._whole.add(t.id)
                for param in t.params:
                    self._need(param.type_id, False, why, parameter=True)
        self._real(t, whole, why, parameter)
        self._depth -= 1

    def _links(self, type_id: int) -> Iterator[Type]:
        # The type, and what it refers to, down to one that a name stands for.
        for _ in range(_LONGEST):
            t = self._btf[type_id]
            yield t
            if t.kind not in _ANONYMOUS:
                return
            type_id = t.type_id
        raise DecodeError(f"Type id {type_id} cannot be written in C: it refers back to itself.")

    def _real(self, t: Type, whole: bool, why: str, parameter: bool) -> None:
        asked = t.id in self._asked
        if t.kind is Kind.TYPEDEF:
            self._typedef(t, whole, why)
        elif t.kind in ENUMS and (t.name or asked):
            self._add(t, why)
        elif t.kind in ENUMS:
            self.names.enumerators(t)
        elif t.kind in RECORDS and (whole or not t.name):
            self._record(t, why)
        elif (t.kind is Kind.FWD or t.kind in RECORDS) and (parameter or asked):
            self._declare(t)

    def _record(self, t: Type, why: str) -> None:
        # One without a name is written where it is used, and needs the same before it.
        if t.id in self._whole:
            return
        self._members(t, f"in {tag(t)}" if t.name else why)
        self._whole.add(t.id)
        if t.name:
            self._add(t, why)

    def _members(self, record: Type, why: str) -> None:
        self._enter(record)
        for member in record.members:
            core = self._btf.strip(member.type_id)
            if not member.name and core.kind in RECORDS:  # written as an anonymous one, whatever its name
                self._members(core, why)
            else:
                self._need(member.type_id, True, why)
        self._open.pop()

    def _enter(self, t: Type) -> None:
        if t.id in self._open or len(self._open) >= _DEEPEST:
            raise DecodeError(f"{tag(t)} (type id {t.id}) contains itself.")
        self._open.append(t.id)

    def _typedef(self, t: Type, whole: bool, why: str) -> None:
        key = ("", self.names.of(t))
        if key not in self._done:
            self._enter(t)
            self._need(t.type_id, False, f"in {tag(t)}")
            self._open.pop()
            self._add(t, why)
        if whole and t.id not in self._whole:
            self._whole.add(t.id)
            self._need(t.type_id, True, f"in {tag(t)}")

    def _declare(self, t: Type) -> None:
        kind, name = tag(t).partition(" ")[0], self.names.of(t)
        if (kind, name) not in self._done:
            self.forward[f"{kind} {name};"] = None

    def _add(self, t: Type, why: str) -> None:
        name = self.names.of(t) if t.name else str(t.id)
        key = (_TAGS.get(t.kind, ""), name)
        if key not in self._done:
            self._done.add(key)
            self.entries.append(Entry(t.id, "asked" if t.id in self._asked else why))


def tag(t: Type) -> str:
    """Return what C calls a type: ``struct file``, ``u32``; an anonymous one is ``struct {...}``."""
    keyword = ("union" if t.flag else "struct") if t.kind is Kind.FWD else _TAGS.get(t.kind, "")
    return f"{keyword} {t.name or '{...}'}".strip()


def identifier(name: str) -> str:
    """Return the name as one that C can take: nothing but letters, digits and underscores, and no keyword."""
    word = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"_{word}" if word[:1].isdigit() else word


def member_name(name: str) -> str:
    """Return the name of a member; C's keywords get an underscore at their end."""
    word = identifier(name)
    return f"{word}_" if _RESERVED(word) else word


def _claim(space: dict[str, object], name: str, owner: object) -> str:
    free, number = name, 1
    while _RESERVED(free) or space.setdefault(free, owner) != owner:
        number += 1
        free = f"{name}___{number}"
    return free
