"""The members of a type as a reader of C meets them, and the way to one of them through structs and pointers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ...btf import Kind
from ...errors import DecodeError, TypeNotFoundError
from ...similar import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...btf import Btf, Type

STRUCTS = (Kind.STRUCT, Kind.UNION)
_UNSIZED = (Kind.VOID, Kind.FWD, Kind.FUNC, Kind.FUNC_PROTO, Kind.DECL_TAG)
# What no kernel comes near, so that damaged BTF cannot make a reader go on for ever.
_MAX_MEMBERS = 1 << 16
_MAX_NESTED = 64
_STEP = re.compile(r"\.|->")


class Member(NamedTuple):
    """A member of a struct or union, or of an anonymous struct or union in it.

    Attributes
    ----------
    name
        Empty only for an anonymous struct or union itself, see :class:`Node`.
    c_type
        As C spells it: "char[16]".
    offset
        Bytes from the start of the struct whose member was asked for.
    size
        Bytes; of a bitfield, those of its declared type; None where C knows none.
    bit, bits
        A bitfield starts *bit* bits into the byte at ``offset`` (from its lowest bit in little endian, from its
        highest in big endian) and is *bits* wide; both are 0 for anything else.
    type_id
        Of its type.
    path
        The way to it from the type that was asked for: "mm.exe_file".
    """

    name: str
    c_type: str
    offset: int
    size: int | None
    bit: int
    bits: int
    type_id: int
    path: str


class Node(NamedTuple):
    """A line of a type as its source has it: a member, or an anonymous struct or union whose members follow.

    ``depth`` counts the anonymous structs and unions around it.
    """

    depth: int
    member: Member


class Hole(NamedTuple):
    """Bytes of a struct that none of its members covers."""

    offset: int
    size: int


class Target(NamedTuple):
    """Where a member leads: the struct or union, what to write after the member's name, and how often it is a pointer.

    An array leads to its first element: ``suffix`` is "[0]".
    """

    type: Type
    suffix: str
    dereferences: int


def nodes(btf: Btf, type_id: int, path: str = "") -> tuple[Node, ...]:
    """Return the members of a type in order, with the nesting of anonymous structs and unions.

    A type that is no struct or union, nor a typedef of one, has none.

    Parameters
    ----------
    path
        The way to this type, for :attr:`Member.path`.

    Raises
    ------
    DecodeError
        BTF contradicts itself about the type.

    Examples
    --------
    >>> [(n.depth, n.member.name) for n in nodes(btf, btf.find("file").id)][:3]
    [(0, 'f_lock'), (0, 'f_mode'), (0, 'f_op')]
    """
    found: list[Node] = []
    prefix = f"{path}." if path else ""
    core = btf.strip(type_id)
    if core.kind in STRUCTS:
        for node in _nodes(btf, core, 0, 0, prefix):
            found.append(node)
            if len(found) > _MAX_MEMBERS:
                raise DecodeError(f"{btf.c_type(core.id)} has more than {_MAX_MEMBERS} members.")
    return tuple(found)


def members(btf: Btf, type_id: int, path: str = "") -> tuple[Member, ...]:
    """Return the members of a type; those of anonymous structs and unions in it stand for these.

    Examples
    --------
    >>> members(btf, btf.find("list_head").id)[1]
    Member(name='prev', c_type='struct list_head *', offset=8, size=8, bit=0, bits=0, type_id=33, path='prev')
    """
    return tuple(node.member for node in nodes(btf, type_id, path) if node.member.name)


def _nodes(btf: Btf, core: Type, depth: int, base: int, prefix: str) -> Iterator[Node]:
    if depth > _MAX_NESTED:
        raise DecodeError(f"{btf.c_type(core.id)} (type id {core.id}) is nested more than {_MAX_NESTED} deep.")
    for member in core.members:
        bit_offset, bits = btf.bit_range(member)
        offset, bit = divmod(base * 8 + bit_offset, 8)
        size, c_type = size_of(btf, member.type_id), btf.c_type(member.type_id)
        line = Member(member.name, c_type, offset, size, bit, bits, member.type_id, prefix + member.name)
        inner = btf.strip(member.type_id)
        if member.name:
            yield Node(depth, line)
        elif inner.kind in STRUCTS:
            yield Node(depth, line._replace(path=""))
            yield from _nodes(btf, inner, depth + 1, offset, prefix)


def size_of(btf: Btf, type_id: int) -> int | None:
    """Return the size of a type in bytes, None for what C gives no size: void, a function, a declaration.

    Examples
    --------
    >>> size_of(btf, btf.find("list_head").id)
    16
    """
    element = btf.strip(type_id)
    for _ in range(_MAX_NESTED):
        if element.kind is not Kind.ARRAY:
            break
        element = btf.strip(element.type_id)
    return None if element.kind in _UNSIZED else btf.sizeof(type_id)


def target(btf: Btf, type_id: int) -> Target | None:
    """Return the struct or union that a type is, or is an array of, or points to; None if there is none.

    One pointer is followed, with arrays around it: ``struct file *fd_array[64]`` leads to ``struct file``.

    Examples
    --------
    >>> target(btf, member.type_id)
    Target(type=Type(id=229, ...), suffix='', dereferences=1)
    """
    core, suffix = btf.strip(type_id), ""
    while core.kind is Kind.ARRAY and len(suffix) < 3 * _MAX_NESTED:
        core, suffix = btf.strip(core.type_id), suffix + "[0]"
    followed = core.kind is Kind.PTR
    if followed:
        core = btf.strip(core.type_id)
    return Target(core, suffix, int(followed)) if core.kind in STRUCTS else None


def at(btf: Btf, type_id: int, path: str) -> Member:
    """Return the member at a path such as ``mm.exe_file``, ``mm->exe_file`` or ``signal.rlim[0].rlim_cur``.

    Parameters
    ----------
    path
        Names of members; what stands in brackets is not looked at.

    Raises
    ------
    TypeNotFoundError
        A step of the path does not exist; names the nearest that do.

    Examples
    --------
    >>> at(btf, btf.find("task_struct").id, "mm.exe_file").c_type
    'struct file *'
    """
    found: Member | None = None
    current, taken = type_id, ""
    for step in _STEP.split(path.strip()):
        name = step.partition("[")[0].strip()
        there = children(btf, current, taken)
        found = next((member for member in there if member.name == name), None)
        if found is None:
            leads = target(btf, current)
            raise _no_member(name, btf.c_type(leads.type.id if leads else current), there)
        current, taken = found.type_id, found.path
    assert found is not None  # splitting gives at least one step
    return found


def children(btf: Btf, type_id: int, path: str = "") -> tuple[Member, ...]:
    """Return the members of what a type leads to (see :func:`target`), none if that is no struct or union.

    Examples
    --------
    >>> children(btf, member.type_id, "mm")[0].path
    'mm.mm_count'
    """
    leads = target(btf, type_id)
    return members(btf, leads.type.id, path + leads.suffix if path else "") if leads else ()


def holes(found: tuple[Node, ...], size: int) -> tuple[Hole, ...]:
    """Return the whole bytes that no member covers, in order; padding is a hole that ends with the struct.

    Parameters
    ----------
    found
        The members, as :func:`nodes` gives them.
    size
        Of the struct or union, in bytes.

    Examples
    --------
    >>> holes(nodes(btf, struct.id), struct.size)
    (Hole(offset=4, size=4),)
    """
    end, gaps = 0, []
    for first, last in [*sorted(_extent(node.member) for node in found if node.member.name), (size, size)]:
        if first > end:
            gaps.append(Hole(end, first - end))
        end = max(end, last)
    return tuple(gaps)


def _extent(member: Member) -> tuple[int, int]:
    # The bytes that a member has a part of.
    length = (member.bit + member.bits + 7) // 8 if member.bits else member.size or 0
    return member.offset, member.offset + length


def _no_member(name: str, owner: str, there: tuple[Member, ...]) -> TypeNotFoundError:
    names = [member.name for member in there]
    near = nearest(name, names)
    if not names:
        return TypeNotFoundError(f"{owner} has no members, so none called {name!r}", hint="end the path before it")
    listed = ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
    return TypeNotFoundError(
        f"{owner} has no member {name!r}", nearest=near, hint=did_you_mean(near) or f"it has {listed}"
    )
