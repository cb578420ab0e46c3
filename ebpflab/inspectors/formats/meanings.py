"""What the values of a tracepoint's fields mean, as its print format tells: flags, symbols, and their text.

The text is that of ``trace_print_flags_seq`` and ``trace_print_symbols_seq`` in the kernel's
``kernel/trace/trace_output.c``: the names of the flags that are set, in the order of the table, what is left over in
hexadecimal, and a value without a name in hexadecimal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from . import c_numbers, c_words, print_format
from .c_numbers import Number
from .c_words import NotUnderstoodError
from .print_format import Call, Name, Operation, Place, Table, Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .c_words import Token
    from .print_format import Node

_CONVERSION = re.compile(
    r"%[-+ #0]*(?P<stars>(?:\*|\d+)?(?:\.(?:\*|\d+)?)?)(?:hh|h|ll|l|z|t|j|L|q)?(?P<letter>[a-zA-Z%])"
)
_ALL = (1 << 64) - 1  # both functions of the kernel take an unsigned long


@dataclass(frozen=True)
class Symbols:
    """The names of one field's values: ``kind`` is "flags" or "enum", entries are value and name.

    ``expression`` is what the values are values of: "" for the field itself, else C in which the field's name
    stands for its value, such as "ioprio >> 13 & 7". ``separator`` stands between the names of flags.
    """

    field: str
    kind: str
    entries: tuple[tuple[int, str], ...]
    separator: str
    expression: str
    subject: Node


@dataclass(frozen=True)
class Meaning:
    """What a print format says of a record's fields.

    ``symbols`` are its tables, in order; ``notes`` are sentences on what in it was not understood; ``texts`` are,
    by field, the expressions that the kernel prints side by side for it.
    """

    symbols: tuple[Symbols, ...]
    notes: tuple[str, ...]
    texts: Mapping[str, tuple[tuple[Node, ...], ...]]

    def text(self, field: str, record: Mapping[str, Number]) -> str | None:
        """Return the kernel's words for a field of a record, or None if it has none.

        A record may be of this field only. Then, where the words depend on other fields, too, they are those of
        every table that may be meant, with " / " between them.
        """
        for run in self.texts.get(field, ()):
            try:
                return "".join(_said(evaluate(node, record)) for node in run)
            except NotUnderstoodError:
                continue
        words = [_named(each, record) for each in self.symbols if each.field == field]
        return " / ".join(filter(None, words)) or None


def meaning(print_fmt: str, fields: Sequence[str], resolve: Callable[[Sequence[str]], Mapping[str, int]]) -> Meaning:
    """Return what a print format says of these fields.

    Parameters
    ----------
    print_fmt
        What follows ``print fmt:``.
    fields
        The names of the record's fields.
    resolve
        Is given the names that the print format does not explain, and returns the values of those it knows.

    Examples
    --------
    >>> said = meaning('"%s", __print_symbolic(REC->x, { 1, "one" })', ["x"], lambda names: {})
    >>> said.symbols[0].entries, said.text("x", {"x": Number(1)})
    (((1, 'one'),), 'one')
    """
    notes: list[str] = []
    try:
        words = c_words.arguments(c_words.tokens(print_fmt))
    except NotUnderstoodError as error:
        return Meaning((), (f"the print format is not understood: {error}",) if print_fmt.strip() else (), {})
    parsed = [_argument(each, notes) for each in words]
    trees = [tree for each in parsed for tree in each.trees]
    unknown = sorted({name for tree in trees for table in _tables(tree) for name in _names(table)})
    values = resolve(unknown) if unknown else {}
    trees_known = {id(tree): _with_values(tree, values) for tree in trees}
    found = [
        symbols
        for tree in trees
        for table in _tables(trees_known[id(tree)])
        if (symbols := _symbols(table, fields, notes))
    ]
    said = [trees_known[id(each.trees[0])] if each.whole else None for each in parsed]
    return Meaning(tuple(dict.fromkeys(found)), tuple(dict.fromkeys(notes)), _texts(said))


@dataclass(frozen=True)
class _Argument:
    # An argument's tree, or, where it is not understood as a whole, those of the calls in it.
    trees: tuple[Node, ...]
    whole: bool


def _argument(words: Sequence[Token], notes: list[str]) -> _Argument:
    try:
        return _Argument((print_format.parse(words),), whole=True)
    except NotUnderstoodError:
        trees = []
        for call in print_format.calls(words):
            try:
                trees.append(print_format.parse(call))
            except NotUnderstoodError as error:
                notes.append(f"{''.join(token.text for token in call[:5])}...: {error}")
        return _Argument(tuple(trees), whole=False)


def evaluate(node: Node, record: Mapping[str, Number]) -> Number | str:
    """Return what an expression is for a record: a number, or a string.

    Raises
    ------
    NotUnderstoodError
        It depends on something that is not known.
    """
    if isinstance(node, Number):
        return node
    if isinstance(node, Text):
        return node.value
    if isinstance(node, Place) and node.field in record:
        return record[node.field]
    if isinstance(node, Table):
        value = evaluate(node.subject, record)
        entries = [(_constant(each), name) for each, name in node.entries]
        known = [(value, name) for value, name in entries if value is not None]
        if not isinstance(value, Number) or len(known) < len(entries):
            raise NotUnderstoodError("a table with unknown values")
        return render(node.kind, known, node.separator, value.value)
    if isinstance(node, Operation):
        first = evaluate(node.operands[0], record)
        if node.sign in ("?", "&&", "||") and isinstance(first, Number):
            if node.sign == "?":
                return evaluate(node.operands[1 if first.value else 2], record)
            if bool(first.value) == (node.sign == "||"):
                return Number(int(node.sign == "||"))
        given = [first, *(evaluate(each, record) for each in node.operands[1:])]
        numbers = [each for each in given if isinstance(each, Number)]
        made = print_format.apply(node, numbers) if len(numbers) == len(given) else None
        if made is not None:
            return made
    raise NotUnderstoodError("a value that is not known")


def render(kind: str, entries: Sequence[tuple[int, str]], separator: str, value: int) -> str:
    """Return the kernel's text for a value: names of flags, or the name of the value.

    Examples
    --------
    >>> render("flags", [(1, "A"), (4, "B")], "|", 0x15)
    'A|B|0x10'
    """
    value &= _ALL
    if kind == "enum":
        return next((name for each, name in entries if each & _ALL == value), f"{value:#x}")
    words = []
    for each, name in entries:
        mask = each & _ALL
        if value and value & mask == mask:
            words.append(name)
            value &= ~mask
    return separator.join([*words, *([f"{value:#x}"] if value else [])])


def _symbols(table: Table, fields: Sequence[str], notes: list[str]) -> Symbols | None:
    what = "flags" if table.kind == "flags" else "symbols"
    inside = dict.fromkeys(_places(table.subject, conditions=False))
    if isinstance(table.subject, Number):
        return None  # the kernel prints the same word for every record
    if len(inside) != 1:
        about = " and ".join(inside) if inside else f"{_spelled(table.subject)}, which is no field"
        notes.append(f"a table of {what} is not about one field, but about {about}")
        return None
    (field,) = inside
    if field not in fields:
        notes.append(f"a table of {what} is about {field}, which the record has not")
        return None
    subject = _chosen(table.subject, field)
    entries, unknown = [], []
    for value, name in table.entries:
        constant = _constant(value)
        if constant is None:
            unknown.append(name)
        else:
            entries.append((constant, name))
    if unknown:
        listed = ", ".join(unknown[:6]) + (" ..." if len(unknown) > 6 else "")
        notes.append(f"the values of these {what} of {field} are not known: {listed}")
    if not entries:
        return None
    spelled = _spelled(subject)
    expression = "" if spelled == field else spelled
    return Symbols(field, table.kind, tuple(entries), table.separator, expression, subject)


def _named(symbols: Symbols, record: Mapping[str, Number]) -> str:
    try:
        value = evaluate(symbols.subject, record)
    except NotUnderstoodError:
        return ""
    if isinstance(value, str):
        return ""
    return render(symbols.kind, symbols.entries, symbols.separator, value.value)


def _texts(said: Sequence[Node | None]) -> dict[str, tuple[tuple[Node, ...], ...]]:
    # Neighbours in the format string that print strings made of the same fields: "%s%s" for R and +.
    head = said[0] if said else None
    found: dict[str, list[tuple[Node, ...]]] = {}
    if not isinstance(head, Text):
        return {}
    run: list[Node] = []
    about: set[str] = set()
    for letter, glued, at in [*_conversions(head.value), ("", False, 0)]:
        node = said[at] if 0 < at < len(said) else None
        inside = set(_places(node)) if node is not None and letter == "s" else set()
        if run and not (glued and inside == about):
            for field in about if any(_tables(each) for each in run) else ():
                found.setdefault(field, []).append(tuple(run))
            run = []
        if inside and node is not None:
            run, about = [*run, node], inside
    return {field: tuple(runs) for field, runs in found.items()}


def _conversions(text: str) -> Iterator[tuple[str, bool, int]]:
    # Of each conversion its letter, whether it follows the one before without a gap, and which argument it takes.
    number, end = 0, -1
    for match in _CONVERSION.finditer(text):
        if match["letter"] == "%":
            continue
        number += 1 + match["stars"].count("*")
        yield match["letter"], match.start() == end, number
        end = match.end()


def _parts(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Operation | Call):
        return node.operands
    return (node.subject,) if isinstance(node, Table) else ()


def _tables(node: Node) -> list[Table]:
    inner = [table for part in _parts(node) for table in _tables(part)]
    return [node, *inner] if isinstance(node, Table) else inner


def _names(node: Node) -> Iterator[str]:
    if isinstance(node, Name):
        yield node.name
    for part in (*_parts(node), *((value for value, _ in node.entries) if isinstance(node, Table) else ())):
        yield from _names(part)


def _places(node: Node, *, conditions: bool = True) -> Iterator[str]:
    if isinstance(node, Place):
        yield node.field
    skipped = 1 if isinstance(node, Operation) and node.sign == "?" and not conditions else 0
    for part in _parts(node)[skipped:]:
        yield from _places(part, conditions=conditions)


def _chosen(node: Node, field: str) -> Node:
    # Of a choice that depends on other fields, the side with this one.
    if not isinstance(node, Operation):
        return node
    if node.sign == "?" and set(_places(node.operands[0])) - {field}:
        side = next(each for each in node.operands[1:] if field in set(_places(each)))
        return _chosen(side, field)
    return replace(node, operands=tuple(_chosen(each, field) for each in node.operands))


def _with_values(node: Node, values: Mapping[str, int]) -> Node:
    if isinstance(node, Name) and node.name in values:
        return _of_enumerator(values[node.name])
    if isinstance(node, Operation):
        made = replace(node, operands=tuple(_with_values(each, values) for each in node.operands))
        numbers = [each for each in made.operands if isinstance(each, Number)]
        known = print_format.apply(made, numbers) if len(numbers) == len(made.operands) else None
        return made if known is None else known
    if isinstance(node, Call):
        return replace(node, operands=tuple(_with_values(each, values) for each in node.operands))
    if isinstance(node, Table):
        entries = tuple((_with_values(value, values), name) for value, name in node.entries)
        return replace(node, subject=_with_values(node.subject, values), entries=entries)
    return node


def _of_enumerator(value: int) -> Number:
    # An enumerator is an int where it fits one.
    bits = 32 if -(1 << 31) <= value < 1 << 31 else 64
    return c_numbers.number(value, bits, signed=value < 1 << 63)


def _constant(node: Node) -> int | None:
    return node.value if isinstance(node, Number) else None


def _said(value: Number | str) -> str:
    if isinstance(value, str):
        return value
    raise NotUnderstoodError("a number where a string is printed")


def _spelled(node: Node) -> str:
    # C for people: casts, which change nothing that matters here, are left out.
    if isinstance(node, Number):
        value = node.value
        return str(value) if -64 < value < 64 else f"{value:#x}" if value > 0 else f"~{~value:#x}"
    if isinstance(node, Place | Name):
        return node.field if isinstance(node, Place) else node.name
    if isinstance(node, Operation):
        parts = [_spelled(each) for each in node.operands]
        if node.sign == "cast":
            return parts[0]
        if node.sign == "?":
            return f"{parts[0]} ? {parts[1]} : {parts[2]}"
        inner = [f"({part})" if _compound(each) else part for each, part in zip(node.operands, parts, strict=True)]
        return f" {node.sign} ".join(inner) if len(inner) == 2 else f"{node.sign}{inner[0]}"
    return "..."


def _compound(node: Node) -> bool:
    while isinstance(node, Operation) and node.sign == "cast":
        node = node.operands[0]
    return isinstance(node, Operation) and len(node.operands) > 1
