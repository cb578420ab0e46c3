"""The entries of a map, or the global variables of a program, as a table of texts that can be edited."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import EbpflabError, MapError
from ..maps import BpfMap, _entries, histogram
from ..maps._structs import StructNode
from ..maps._values import BoolNode, FloatNode, IntegerNode, Node, TextNode
from ..maps.codec import Codec
from ..maps.queues import QueueMap
from ..maps.references import MapOfMaps, ProgArray, SocketMap
from ..maps.stacks import StackTraces
from ..maps.table import total
from ..similar import did_you_mean, nearest
from .cells import Column, cells_of, columns_of, cut
from .literals import LONGEST, changed, text_of, value_of

if TYPE_CHECKING:
    from ..session import Session
    from . import Look

__all__ = ["MOST", "VARIABLES", "Column", "Entries", "delete", "entries", "names", "write"]

MOST = 200  # entries
VARIABLES = "variables"  # the name that the global variables go by here


@dataclass(frozen=True)
class Entries:
    """Some entries of one map.

    Attributes
    ----------
    map, type
        Its name, and the kernel's name of its type.
    columns
        Name and kind of each; the first is the key, and the last the value where it is `editable`.
    cells
        A tuple of texts for each entry, in the order of the columns.
    count
        How many entries there are; None if there are more than are here and nobody counts them.
    editable
        Whether :func:`write` takes what the first and the last column show.
    constants
        The keys whose value it does not take all the same: constants of the loaded program.
    problem
        A sentence when they cannot be shown; empty otherwise.
    """

    map: str
    type: str = ""
    columns: tuple[Column, ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()
    count: int | None = None
    editable: bool = False
    constants: tuple[str, ...] = ()
    problem: str = ""


def names(session: Session) -> tuple[str, ...]:
    """Return what :func:`entries` can show: the maps, and ``variables`` if the program has global ones."""
    found = list(session.maps)
    return (*found, VARIABLES) if len(session.vars) and VARIABLES not in found else tuple(found)


def entries(session: Session, look: Look) -> Entries:
    """Return the first 200 entries of the map that is looked at; nothing is raised, ``problem`` says what is wrong.

    A histogram shows its slots, a per-CPU map sums as well, a queue its next value.

    Parameters
    ----------
    session
        A session, live, closed or replayed.
    look
        Its ``map`` is used: a map's name, ``variables``, or empty for the first that can be listed.

    Examples
    --------
    >>> entries(session, Look(map="counts")).cells
    (('bash', '17'), ('sshd', '3'))
    """
    name = look.map or _first(session)
    known = names(session)
    if name not in known:
        near = did_you_mean(nearest(name, known)) if name else None
        what = f"there is no map {name}" if name else f"{session.name} has no maps and no global variables"
        return Entries(name, problem=f"{what}: {near}" if near else what)
    try:
        return _variables(session) if _are_variables(session, name) else _of_map(session.maps[name])
    except (EbpflabError, KeyError) as error:  # a map that came and went beside us is no reason to fail
        kind = VARIABLES if _are_variables(session, name) else session.maps[name].type
        return Entries(name, kind, problem=_sentence(error))


def write(session: Session, map: str, key_text: str, value_text: str, shown_text: str = "") -> None:
    """Write one entry of a map, or a global variable.

    Of a struct that is there only the members that differ from those shown are written: a program may have changed the
    others since, and members of a union share their bytes.

    Parameters
    ----------
    session
        A live session.
    map
        The map's name, or ``variables``.
    key_text, value_text
        Python literals such as ``17``, ``[1, 2]``, ``{'pid': 17}``; anything else is a word.
    shown_text
        The value as it was shown to who changed it; without it, that is the value as it is now.

    Raises
    ------
    EbpflabError
        When there is no such map or variable, the text does not fit, or the kernel refuses.

    Examples
    --------
    >>> write(session, "limits", "bash", "17")
    """

    def do() -> None:
        if _are_variables(session, map):
            name = key_text.strip()
            codec = session.vars._find(name).codec if len(session.vars) else None
            given = value_of(value_text, wants_text=_is_text(codec))
            session.vars[name] = _put_over(codec, lambda: _bytes_of(session, name), given, shown_text)
            return
        wanted = session.maps[map]
        facts = wanted._facts
        key = value_of(key_text, wants_text=_is_text(facts.key))
        value = value_of(value_text, wants_text=_is_text(facts.value))
        if isinstance(wanted, MapOfMaps):
            value = session.maps.get(value, value)
        wanted[key] = _put_over(facts.value, lambda: wanted._lookup(key), value, shown_text)

    _done(map, do)


def delete(session: Session, map: str, key_text: str) -> None:
    """Delete one entry of a map.

    Raises
    ------
    EbpflabError
        When there is no such map or entry, or the map keeps its entries.

    Examples
    --------
    >>> delete(session, "limits", "bash")
    """

    def do() -> None:
        if _are_variables(session, map):
            del session.vars[key_text.strip()]
            return
        wanted = session.maps[map]
        del wanted[value_of(key_text, wants_text=_is_text(wanted._facts.key))]

    _done(map, do)


def _done(map: str, do: Callable[[], None]) -> None:
    # Mappings raise KeyError for what is not there.
    try:
        do()
    except KeyError as error:
        raise MapError(_sentence(error)) from None
    except (TypeError, ValueError, OverflowError) as error:  # a literal that nothing in a map can be, such as {1: {2}}
        raise MapError(f"{map}: this is no value for it: {error}", hint="give a value of its C type") from None


def _are_variables(session: Session, name: str) -> bool:
    return name == VARIABLES and name not in list(session.maps)


def _bytes_of(session: Session, name: str) -> bytes:
    variable = session.vars._find(name)
    return bytes(session.vars._bytes(variable)[variable.place])


def _put_over(codec: Codec | None, read: Callable[[], bytes], given: Any, shown_text: str) -> Any:
    # Members of a struct over those that it has now, as bytes; any other value as it is.
    if codec is None or not isinstance(codec.node, StructNode) or not isinstance(given, Mapping):
        return given
    try:
        now = read()[: codec.size]
    except (KeyError, MapError):  # nothing is there, or nobody can read it
        return given
    try:
        shown = value_of(shown_text, wants_text=False)
    except MapError:  # it was cut
        shown = ""
    if not isinstance(shown, Mapping):
        shown = value_of(text_of(codec.decode(now)), wants_text=False)
    raw = bytearray(now)
    codec.node.write(raw, 0, changed(given, shown), "value")
    return bytes(raw)


def _is_text(codec: Codec | None) -> bool:
    return codec is not None and isinstance(codec.node, TextNode)


def _first(session: Session) -> str:
    listed = [name for name, each in session.maps.items() if "list" not in each._facts.type.cannot]
    return next(iter([*listed, *names(session)[::-1]]), "")


def _variables(session: Session) -> Entries:
    found = []
    for name in list(session.vars):
        variable = session.vars._find(name)
        section = "constant" if variable.section.startswith(".rodata") else variable.section
        found.append((name, cut(variable.c_type), section, cut(text_of(session.vars[name]), LONGEST)))
    columns = tuple(Column(name, "text") for name in ("name", "type", "section", "value"))
    writable = session.state != "closed" and any(row[2] != "constant" for row in found)
    constants = tuple(row[0] for row in found[:MOST] if row[2] == "constant")
    return Entries(VARIABLES, "variables", columns, tuple(found[:MOST]), len(found), writable, constants)


def _of_map(shown: BpfMap) -> Entries:
    if isinstance(shown, QueueMap):
        return _next_value(shown)
    if histogram.find(shown._facts) is not None:
        return _histogram(shown)
    if isinstance(shown, StackTraces):
        return _stacks(shown)
    if _has_symbols(shown):
        return _resolved(shown)
    pairs = shown._first(MOST + 1)
    per_cpu = shown._facts.type.per_cpu
    rows = [
        (text_of(key), *([text_of(total(value))] if per_cpu else []), _value_text(shown, value))
        for key, value in _sorted(pairs[:MOST])
    ]
    kinds = [_kind(shown._facts.key.node if shown._facts.key else None)]
    value_kind = _kind(shown._facts.value.node if shown._facts.value else None)
    columns = [Column("key", kinds[0])]
    columns += [Column("sum", value_kind), Column("value", "text")] if per_cpu else [Column("value", value_kind)]
    cells = tuple(tuple(cut(text, LONGEST) for text in row) for row in rows)
    return Entries(shown.name, shown.type, tuple(columns), cells, _count(shown, len(pairs)), _is_editable(shown))


def _sorted(pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    # A hash table has an order of its own, in which a key that comes or goes moves nothing but is hard to find.
    try:
        return sorted(pairs, key=lambda pair: (isinstance(pair[0], float) and math.isnan(pair[0]), pair[0]))
    except TypeError:  # keys that have no order
        return pairs


def _value_text(shown: BpfMap, value: Any) -> str:
    # Of a program array its name is what can be written.
    return text_of(value.name if isinstance(shown, ProgArray) else value)


def _kind(node: Node | None) -> str:
    if isinstance(node, BoolNode):
        return "bool"
    return "number" if isinstance(node, (IntegerNode, FloatNode)) else "text"


def _count(shown: BpfMap, seen: int) -> int | None:
    if shown._facts.type.full:
        return shown.max_entries
    return seen if seen <= MOST else None


def _is_editable(shown: BpfMap) -> bool:
    # Inner maps and sockets are objects, which nobody can type.
    return "write" not in shown._facts.type.cannot and not isinstance(shown, (MapOfMaps, SocketMap))


def _next_value(shown: QueueMap) -> Entries:
    try:
        rows: tuple[tuple[str, ...], ...] = ((cut(text_of(shown.peek()), LONGEST),),)
    except IndexError:
        return Entries(shown.name, shown.type, (Column("next value", "text"),), (), 0)
    problem = "the kernel shows only the next value: pop() takes it"
    return Entries(shown.name, shown.type, (Column("next value", "text"),), rows, problem=problem)


def _histogram(shown: BpfMap) -> Entries:
    facts = shown._facts
    some = shown._listed(lambda: _entries.some(facts, shown._fd, MOST + 1))
    frame = histogram.frame(facts, some)
    count, problem = None if len(some.keys) > MOST else len(frame), ""
    if len(frame) > MOST or count is None:
        # Each begins at 0. Of the last one that has room all slots are shown: without its end it would be another.
        starts = np.append(np.flatnonzero(frame.iloc[:, -3].to_numpy() == 0), len(frame))
        whole = int(np.searchsorted(starts, MOST, side="right")) - 1
        frame, count = frame.head(int(starts[whole])), None
        problem = f"the first {whole:,} of the map's histograms"
    kind = f"{shown.type} (histogram)"
    return Entries(shown.name, kind, columns_of(frame), cells_of(frame), count, problem=problem)


def _has_symbols(shown: BpfMap) -> bool:
    codecs = [codec for codec in (shown._facts.key, shown._facts.value) if codec is not None]
    return any(column.rule.reference is not None for codec in codecs for column in codec.record.columns)


def _resolved(shown: BpfMap) -> Entries:
    # Stack ids and addresses mean something only as functions: the columns of the frame, which nobody can write.
    some = shown._listed(lambda: _entries.some(shown._facts, shown._fd, MOST + 1))
    frame = shown._shown(some)
    cells = cells_of(frame.head(MOST), LONGEST)
    return Entries(shown.name, shown.type, columns_of(frame), cells, _count(shown, len(frame)))


def _stacks(shown: StackTraces) -> Entries:
    pairs = shown._first(MOST + 1)
    rows = []
    for key, stack in pairs[:MOST]:
        frames = [f"{f:#x}" if isinstance(f, int) else f"{f.build_id[:8]}+{f.offset:#x}" for f in stack]
        rows.append((str(key), str(len(stack)), cut(" ".join(frames), LONGEST)))
    columns = Column("id", "number"), Column("depth", "number"), Column("addresses, the innermost first", "text")
    return Entries(shown.name, shown.type, columns, tuple(rows), _count(shown, len(pairs)))


def _sentence(error: EbpflabError | KeyError) -> str:
    if isinstance(error, KeyError):
        return str(error.args[0])
    return f"{error.what}: {error.hint}" if error.hint else error.what
