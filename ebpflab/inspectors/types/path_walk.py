"""One step after another along a path, each checked against BTF."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, NamedTuple

from ...btf import Kind
from ...errors import TypeNotFoundError
from ...similar import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...btf import Btf, Member, Type

RECORDS = (Kind.STRUCT, Kind.UNION)
QUALIFIERS = (Kind.CONST, Kind.VOLATILE, Kind.RESTRICT, Kind.TYPE_TAG)

_INDEX = r"0[xX][0-9a-fA-F]{1,8}|0|[1-9][0-9]{0,9}"
_STEP = re.compile(rf"\s*(?P<link>\.|->)?\s*(?:(?P<name>[A-Za-z_]\w*)|\[\s*(?P<index>{_INDEX})\s*\])\s*")
_USER, _PERCPU, _RCU = "user", "percpu", "rcu"  # of include/linux/compiler_types.h; only clang writes them to BTF


class Step(NamedTuple):
    """A member or an element on the way.

    ``offset`` is bytes within its struct, or behind the pointer that an index follows; ``bits`` is the width of a
    bitfield, which starts ``bit`` bits into the byte at ``offset``, and 0 for anything else. ``dereferences`` says
    whether this step follows the pointer that the step before it ends in.
    """

    name: str
    type_id: int
    offset: int
    bit: int
    bits: int
    dereferences: bool
    note: str


class Hop(NamedTuple):
    """The steps from one pointer to the next, which are one read.

    ``accessor`` is what C writes behind the pointer and its arrow, ``f_path.dentry``; or behind the pointer alone
    where it is ``indexed``: ``[3].name``. ``owner`` is the id of what the pointer points to, ``user`` says that
    this lies in a process' own memory.
    """

    owner: int
    accessor: str
    type_id: int
    bits: int
    indexed: bool
    user: bool


def parsed(written: str) -> Iterator[str | int]:
    """Return the names and indices of a path; what stands between two names may be ``.`` or ``->``."""
    at = 0
    while at < len(written) or not at:
        found = _STEP.match(written, at)
        linked = found is not None and (found["link"] is not None or at == 0)
        if found is None or not (linked if found["name"] else found["link"] is None and at):
            what = f"{written!r} is not a path: {written[at:]!r} is no member"
            raise TypeNotFoundError(what, hint="write real_parent.tgid, mm->exe_file or cpus_mask.bits[0]")
        yield found["name"] or int(found["index"], 0)
        at = found.end()


class Walk:
    """Where a path has got to, and how: its steps, the same by pointers, and how C spells it."""

    def __init__(self, btf: Btf, start: int) -> None:
        self.btf = btf
        self.steps: list[Step] = []
        self.hops: list[Hop] = []
        self.spelled = ""
        self._at = start

    def member(self, name: str) -> None:
        """Go on to a member, through the pointer at hand if it is one."""
        follows = self._core().kind is Kind.PTR
        owner_id = self._follow("a member") if follows else self._at
        owner = self.btf.strip(owner_id)
        if owner.kind not in RECORDS:
            what = f"{self._here()} is {self.btf.c_type(self._at)} and has no member {name!r}"
            raise TypeNotFoundError(what, hint=self._hint(owner))
        found = _member(self.btf, owner, name)
        if found is None:
            near = nearest(name, (names := [n for n in _names(self.btf, owner) if n]))
            hint = did_you_mean(near) or f"members: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
            what = f"{self._owner(owner)} has no member {name!r}"
            raise TypeNotFoundError(what, nearest=near, hint=hint)
        member, base, shared = found
        bit, bits = self.btf.bit_range(member)
        note = f"bits {bit % 8} to {bit % 8 + bits - 1}" if bits > 1 else f"bit {bit % 8}" if bits else ""
        notes = [note, "shares its bytes: a union" if shared else "", self._pointer_note(member.type_id)]
        step = Step(name, member.type_id, (base + bit) // 8, bit % 8, bits, follows, "; ".join(filter(None, notes)))
        self._take(step, owner_id, name, indexed=False)

    def index(self, number: int) -> None:
        """Go on to an element of an array, or behind a pointer."""
        core = self._core()
        if core.kind is Kind.PTR:
            owner = self._follow("an element")
            self._take(self._element(number, owner, follows=True), owner, f"[{number}]", indexed=True)
            return
        if core.kind is not Kind.ARRAY:
            what = f"{self._here()} is {self.btf.c_type(self._at)} and has no elements"
            raise TypeNotFoundError(what, hint="[N] is for arrays and for pointers")
        if core.length and number >= core.length:
            what = f"{self._here()} has {core.length} elements, and none at [{number}]"
            raise TypeNotFoundError(what, hint=f"the last is [{core.length - 1}]")
        self._take(self._element(number, core.type_id, follows=False), 0, f"[{number}]", indexed=False)

    def _element(self, number: int, type_id: int, *, follows: bool) -> Step:
        known = self._core().length or follows
        note = self._pointer_note(type_id) or ("" if known else "a flexible array: nobody checks the index")
        return Step(f"[{number}]", type_id, number * self.btf.sizeof(type_id), 0, 0, follows, note)

    def _take(self, step: Step, owner: int, written: str, *, indexed: bool) -> None:
        if step.dereferences or not self.hops:
            user = bool(self.hops) and in_user_memory(self.btf, self.hops[-1])
            self.hops.append(Hop(owner, written, step.type_id, step.bits, indexed, user))
            link = "" if indexed or not self.steps else "->"
        else:
            link = "" if written.startswith("[") else "."
            last = self.hops[-1]
            self.hops[-1] = last._replace(
                accessor=f"{last.accessor}{link}{written}", type_id=step.type_id, bits=step.bits
            )
        self.spelled += f"{link}{written}"
        self.steps.append(step)
        self._at = step.type_id

    def _follow(self, what: str) -> int:
        # What the pointer at hand points to; a struct that is only declared here may be defined under its name.
        target_id = unqualified(self.btf, self._core().type_id)
        target = self.btf.strip(target_id)
        if _PERCPU in _tags(self.btf, self._at):
            hint = "bpf_per_cpu_ptr(pointer, cpu) and bpf_this_cpu_ptr(pointer) give that of one CPU"
            raise TypeNotFoundError(f"{self._here()} is a per-CPU pointer: {what} behind it is another", hint=hint)
        if target.kind is Kind.FWD:
            kind = Kind.UNION if target.flag else Kind.STRUCT
            target = self.btf.find(target.name, kind) or target
            target_id = target.id
        if target.kind in (Kind.VOID, Kind.FWD, Kind.FUNC_PROTO):
            what = f"the path ends at {self._here()}, which is {self.btf.c_type(self._at)}"
            raise TypeNotFoundError(what, hint=_DEAD_ENDS[target.kind])
        return target_id

    def _pointer_note(self, type_id: int) -> str:
        core = self.btf.strip(type_id)
        if core.kind is Kind.PTR and self.btf.strip(core.type_id).kind is Kind.FUNC_PROTO:
            return "a function"
        return next((_TAGS[tag] for tag in _tags(self.btf, type_id) if tag in _TAGS), "")

    def _core(self) -> Type:
        return self.btf.strip(self._at)

    def _here(self) -> str:
        return self.spelled or self.btf.c_type(self._at)

    def _owner(self, owner: Type) -> str:
        return self.btf.c_type(owner.id) if owner.name else (self.spelled or "the struct")

    def _hint(self, owner: Type) -> str:
        if owner.kind is Kind.PTR:
            return f"it points to a pointer: write {self._here()}[0]"
        return "an element of it has: write [0]" if owner.kind is Kind.ARRAY else "the path ends here"


_DEAD_ENDS = {
    Kind.VOID: "nothing says what a void * points to: cast it in C, and start a path from that type",
    Kind.FWD: "the struct is only declared in this BTF: a module may define it, or it is opaque",
    Kind.FUNC_PROTO: "it points to code: print it as a ksym_t, which shows the function's name",
}
_TAGS = {
    _USER: "in the memory of a process (__user)",
    _PERCPU: "one for each CPU (__percpu)",
    _RCU: "protected by RCU (__rcu)",
}


def _member(btf: Btf, owner: Type, name: str, base: int = 0, union: bool = False) -> tuple[Member, int, bool] | None:
    # The member, the bits in front of the anonymous struct that it is in, and whether it shares its place.
    union = union or (owner.kind is Kind.UNION and len(owner.members) > 1)
    for member in owner.members:
        if member.name == name:
            return member, base, union
        core = btf.strip(member.type_id)
        if not member.name and core.kind in RECORDS:
            found = _member(btf, core, name, base + member.bit_offset, union)
            if found is not None:
                return found
    return None


def _names(btf: Btf, owner: Type) -> Iterator[str]:
    for member in owner.members:
        core = btf.strip(member.type_id)
        yield from (member.name,) if member.name or core.kind not in RECORDS else _names(btf, core)


def _tags(btf: Btf, type_id: int) -> tuple[str, ...]:
    # Tags stand between a pointer and what it points to.
    core = btf.strip(type_id)
    links = btf.chain(core.type_id) if core.kind is Kind.PTR else ()
    return tuple(link.name for link in links if link.kind is Kind.TYPE_TAG)


@functools.lru_cache(maxsize=8)
def tells_memory(btf: Btf) -> bool:
    """Tell whether a BTF says which pointers lead to a process' memory, or to that of a CPU."""
    return any(tag.name in (_USER, _PERCPU) for tag in btf.of_kind(Kind.TYPE_TAG))


def in_user_memory(btf: Btf, hop: Hop) -> bool:
    """Tell whether the pointer that a hop ends in points into a process: so do all that are found there."""
    return hop.user or _USER in _tags(btf, hop.type_id)


def unqualified(btf: Btf, type_id: int) -> int:
    """Return the type without the qualifiers and tags in front of it; a typedef stays."""
    return next(link.id for link in btf.chain(type_id) if link.kind not in QUALIFIERS)


def is_text(btf: Btf, type_id: int) -> bool:
    """Tell whether a type is one of C's characters; ``u8`` and its like are bytes."""
    chain = btf.chain(type_id)
    core = chain[-1]
    return core.kind is Kind.INT and core.name.endswith("char") and all(t.kind is not Kind.TYPEDEF for t in chain)


def is_string(btf: Btf, type_id: int) -> bool:
    """Tell whether a type is an array of characters or a pointer to them."""
    core = btf.strip(type_id)
    return core.kind in (Kind.ARRAY, Kind.PTR) and is_text(btf, core.type_id)
