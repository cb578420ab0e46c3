"""Every way from one struct to the members of a name, through the structs in it and those that it points to.

Two passes keep this quick. The first finds the structs within reach, and for each of them how many pointers lie
between it and a member that matches. The second spells out the ways, and takes only steps that can still arrive.
"""

from __future__ import annotations

import fnmatch
import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from ...btf import Kind
from ...errors import CellError, DecodeError
from .members import STRUCTS, target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...btf import Btf, Type

MAX_FOUND = 1000  # paths: more is nothing that a person could choose from
_MAX_WAYS = 50_000  # ways looked at; without paths that meet a type twice nearly each of them arrives
_MAX_MEMBERS = 1 << 16


class Found(NamedTuple):
    """A path whose last step matches.

    ``offset`` is in bytes from the start of the type, or from where the last pointer on the way points to.
    """

    path: str
    type: str
    offset: int
    dereferences: int


class Findings(NamedTuple):
    """What a search found, shortest way first; ``cut`` tells that there is more."""

    found: tuple[Found, ...]
    cut: bool


class _Step(NamedTuple):
    # A member, anonymous structs and unions taken apart; leads_to is 0 where it is no struct, nor points to one.
    name: str
    type_id: int
    offset: int
    leads_to: int
    suffix: str
    dereferences: int


class _Way(NamedTuple):
    path: str
    offset: int
    types: tuple[int, ...]  # met on the way, the last one is where it has come to


# The steps from each type of a BTF, worked out once.
_STEPS: WeakKeyDictionary[Btf, dict[int, tuple[_Step, ...]]] = WeakKeyDictionary()


def matcher(pattern: str) -> Callable[[str], object]:
    """Return what tells whether a name matches: itself, a glob with ``*``, ``?`` or ``[]``, or ``/expression/``.

    Raises
    ------
    CellError
        The regular expression is not one.

    Examples
    --------
    >>> bool(matcher("exe_*")("exe_file"))
    True
    """
    if len(pattern) > 2 and pattern[0] == pattern[-1] == "/":
        try:
            return re.compile(pattern[1:-1]).search
        except re.error as error:
            raise CellError(f"{pattern} is not a regular expression: {error}") from None
    if re.search(r"[*?[]", pattern):
        return re.compile(fnmatch.translate(pattern)).match
    return pattern.__eq__


def find(btf: Btf, type_id: int, pattern: str, depth: int, limit: int = MAX_FOUND) -> Findings:
    """Return the paths from a type whose last step matches, those through the fewest pointers first.

    No path meets the same struct twice, so none runs in circles through ``list_head`` or ``parent``.

    Parameters
    ----------
    pattern
        As :func:`matcher` takes it.
    depth
        How many pointers a path may follow.
    limit
        How many paths to return at most.

    Raises
    ------
    CellError
        The regular expression is not one.

    Examples
    --------
    >>> find(btf, btf.find("task_struct").id, "exe_file", 1).found
    (Found(path='mm.exe_file', type='struct file *', offset=840, dereferences=1), ...)
    """
    matches = matcher(pattern)
    if depth < 0:
        raise CellError(f"a depth of {depth} pointers makes no sense", hint="0 stays in the struct itself")
    start = btf.strip(type_id)
    if start.kind not in STRUCTS:
        return Findings((), False)
    reach = _reach(btf, start.id, depth)
    distance = _distances(reach, {t for t, steps in reach.items() if any(matches(s.name) for s in steps)})
    found: list[Found] = []
    budget = _Budget(_MAX_WAYS)
    # One pointer more each time: a search that is cut has then found all that is nearer.
    for pointers in range(depth + 1):
        for path, step, offset in _walk(reach, distance, start.id, pointers, matches, budget):
            if len(found) == limit:
                return Findings(tuple(found), True)
            found.append(Found(path, btf.c_type(step.type_id), offset, pointers))
        if budget.left < 0 or not budget.further:
            break
    return Findings(tuple(found), budget.left < 0)


def _reach(btf: Btf, start: int, depth: int) -> dict[int, tuple[_Step, ...]]:
    # The steps from each type that lies within so many dereferences.
    known = _STEPS.setdefault(btf, {})
    reach: dict[int, tuple[_Step, ...]] = {}
    level = [start]
    for _ in range(depth + 1):
        following: list[int] = []
        while level:
            type_id = level.pop()
            if type_id in reach:
                continue
            if type_id not in known:
                known[type_id] = tuple(_steps(btf, btf[type_id]))
            reach[type_id] = known[type_id]
            for step in reach[type_id]:
                if step.leads_to:
                    (following if step.dereferences else level).append(step.leads_to)
        level = following
        if not level:
            break
    return reach


def _steps(btf: Btf, struct: Type) -> Iterator[_Step]:
    # Anonymous members are put in the place where they stand, so that steps come in the order of the source.
    left, seen = deque((member, 0) for member in struct.members), 0
    while left:
        member, base = left.popleft()
        seen += 1
        if seen > _MAX_MEMBERS:
            raise DecodeError(f"{btf.c_type(struct.id)} has more than {_MAX_MEMBERS} members.")
        offset, core = base + btf.bit_range(member)[0] // 8, btf.strip(member.type_id)
        if member.name:
            leads = target(btf, member.type_id) if core.kind in (*STRUCTS, Kind.PTR, Kind.ARRAY) else None
            where = (leads.type.id, leads.suffix, leads.dereferences) if leads else (0, "", 0)
            yield _Step(member.name, member.type_id, offset, *where)
        elif core.kind in STRUCTS:
            left.extendleft((inner, offset) for inner in reversed(core.members))


def _distances(reach: dict[int, tuple[_Step, ...]], goals: set[int]) -> dict[int, int]:
    # How many pointers lie between each type and the nearest goal; types that reach none are left out.
    back: dict[int, list[tuple[int, int]]] = {}
    for type_id, steps in reach.items():
        for step in steps:
            back.setdefault(step.leads_to, []).append((type_id, step.dereferences))
    distance: dict[int, int] = {}
    waiting = deque((goal, 0) for goal in goals)
    while waiting:
        type_id, pointers = waiting.popleft()
        if type_id in distance:
            continue
        distance[type_id] = pointers
        for before, more in back.get(type_id, ()):
            (waiting.append if more else waiting.appendleft)((before, pointers + more))
    return distance


@dataclass
class _Budget:
    # How many ways may still be looked at, in all; whether the last walk would have gone further with more pointers.
    left: int
    further: bool = True


def _walk(
    reach: dict[int, tuple[_Step, ...]],
    distance: dict[int, int],
    start: int,
    depth: int,
    matches: Callable[[str], object],
    budget: _Budget,
) -> Iterator[tuple[str, _Step, int]]:
    # Breadth first: what takes one more pointer waits for the next level. What follows just `depth` pointers is found.
    level = deque([_Way("", 0, (start,))])
    budget.further = False
    for pointers in range(depth + 1):
        following: deque[_Way] = deque()
        while level:
            way = level.popleft()
            budget.left -= 1
            if budget.left < 0:
                return
            for step in reach[way.types[-1]]:
                path, offset = way.path + step.name, way.offset + step.offset
                if pointers == depth and matches(step.name):
                    yield path, step, offset
                ahead = distance.get(step.leads_to)
                more = step.dereferences
                if ahead is None or step.leads_to in way.types:
                    continue
                if pointers + more + ahead > depth:
                    budget.further = True
                    continue
                on = _Way(f"{path}{step.suffix}.", 0 if more else offset, (*way.types, step.leads_to))
                (following if more else level).append(on)
        level = following
