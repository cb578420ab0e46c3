"""What a word of a cell means: types, members, helpers, macros, sections, and what the cell itself declares."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ..errors import EbpflabError, ToolMissingError, TypeNotFoundError
from ..formatting import Code, Head, Note, Part, html, text
from ..inspectors import contexts
from ..inspectors import types as kernel_types
from ..inspectors.btf_source import open_btf
from ..inspectors.helpers import reference
from ..inspectors.layout import vmlinux
from ..inspectors.types.paths import path_of
from ..program_types import parse_section
from . import allowed, attach_points, bcc_completing, bcc_words, expressions, magic_line, members, names, words
from .c_words import MEANINGS
from .place import Place, is_cell, place_at

if TYPE_CHECKING:
    from .declared import CType
    from .members import Field

_WORD = re.compile(r"\w*", re.ASCII)
_OPTION = re.compile(r"[^\s=]*")


class Explanation(NamedTuple):
    """The same words as plain text and as HTML."""

    text: str
    html: str


_Answer: TypeAlias = "Explanation | list[Part] | None"


def explain(cell: str, offset: int) -> Explanation | None:
    r"""Return what stands at an offset of a cell means; None where nothing can be said.

    Inside the parentheses of a call, that is the called function, unless there is a word at the cursor.

    Parameters
    ----------
    cell
        The whole cell, with its line ``%%bpf``.
    offset
        The cursor, in characters from the start.

    Examples
    --------
    >>> print(explain("%%bpf\nint f(struct file *f) { f->f_pos", 30).text.splitlines()[0])
    f_pos  loff_t  member of struct file
    """
    place = place_at(cell, _word_end(cell, offset))
    if place is None:
        return _explained([Code(magic_line.option_help(""))]) if is_cell(cell) else None
    try:
        found = _ANSWERS[place.kind](place) if place.kind in _ANSWERS else None
    except (EbpflabError, OSError):
        return None  # no BTF, no tracefs, no such hook: there is nothing to say
    return _explained(found) if isinstance(found, list) else found


def _explained(document: list[Part]) -> Explanation:
    return Explanation(text(document), html(document))


def _word_end(cell: str, offset: int) -> int:
    # Whoever asks about a word has the cursor in it; in a section the name goes on to its quotation mark.
    offset = min(max(offset, 0), len(cell))
    place = place_at(cell, offset)
    if place is not None and place.kind == "section":
        found = re.compile(r'[^"\n]*').match(cell, offset)
    elif place is not None and place.kind in ("line", "command"):
        found = _OPTION.match(cell, offset)
    else:
        found = _WORD.match(cell, offset)
    return found.end() if found else offset


def _line(place: Place) -> list[Part] | None:
    # The option at the cursor, or the one whose value is there.
    words_before = reversed(place.fragment.split())
    option = next((word.partition("=")[0] for word in words_before if word.startswith("-")), "")
    return [Code(magic_line.option_help(option))]


def _section(place: Place) -> Explanation | None:
    name = place.fragment.removeprefix("?")
    if not attach_points.kind_of(name):
        return None
    context = contexts.context(name)
    return Explanation(repr(context), context._repr_html_())


def _tag(place: Place) -> _Answer:
    return _own_type(place, f"{place.keyword} {place.fragment}") or _kernel_type(
        place, f"{place.keyword} {place.fragment}"
    )


def _member(place: Place) -> list[Part] | None:
    if table := bcc_completing.table_at(place):
        return bcc_completing.explain_method(place, table)
    owner = expressions.owner(place)
    return _field(place, owner) if owner else None


def _field(place: Place, owner: CType) -> list[Part] | None:
    assert place.source is not None
    field = members.find(place.source, owner, place.fragment)
    if field is None:
        return None
    named = words.spelled(owner.base, 0)
    parts: list[Part] = [Head(field.name, field.c_type, "ok", f"member of {named}")]
    if field.offset is not None:
        size = "" if field.size is None else f", {_counted(field.size, 'byte')}"
        bits = f", {_counted(field.bits, 'bit')}" if field.bits else ""
        parts.append(Note(f"byte {field.offset:,}{bits or size}", label="where"))
    read, notes = _reading(place, owner, field)
    parts += [Code(read, "how to read it", "c")] if read else []
    return [*parts, *(Note(note) for note in notes)]


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _reading(place: Place, owner: CType, field: Field) -> tuple[str, tuple[str, ...]]:
    # The context's members as the context inspector says, the kernel's by a path, the cell's as they stand.
    if place.kind == "member" and expressions.is_designator(place):
        return "", ()
    assert place.source is not None
    if place.section and place.source.bcc and owner == expressions.context_type(place.section):
        return bcc_completing.field_read(place, field.name), ()
    if place.section and owner == expressions.context_type(place.section):
        return contexts.context(place.section).read(field.name.removeprefix("__data_loc_")), ()
    number, start, way = members.type_number(owner.base), None, field.name
    root = expressions.root(place) if place.kind == "member" else None
    if number is not None and root and root[1].levels == 1 and members.type_number(root[1].base) is not None:
        number, start = members.type_number(root[1].base), root[0]
        way = f"{root[2]}.{way}" if root[2] else way
    if number is None:
        return "", ()
    try:
        path = path_of(open_btf(), number, way)
        # BCC's rewriter reads what plain C follows.
        return (path.c(start, direct=True), ()) if place.source.bcc else (path.c(start), path.notes)
    except TypeNotFoundError:  # without a size, or with an index that only the program knows
        return "", ()


def _word(place: Place) -> _Answer:
    assert place.source is not None
    name, call = place.fragment, place.call
    found: _Answer = None
    if place.source.bcc and name and (hook := bcc_completing.hook_at(place)):
        return Explanation(repr(hook), hook._repr_html_())
    if name and call and call.number and (owner := expressions.path(place, call)):
        found = _field(place, owner)
    if name and not found:
        found = next((answer for known in _KNOWN if (answer := known(place, name))), None)
    if found or call is None or call.name == name:
        return found
    # Nothing at the cursor: the call that it is in, right behind its parenthesis or a comma.
    if name and place.source.code.text(place.at - 1) not in ("(", ","):
        return None
    return next((answer for known in _CALLED if (answer := known(place, call.name))), None)


def _own(place: Place, name: str) -> list[Part] | None:
    # What the cell declares under this name: the nearest first.
    source = place.source
    assert source is not None
    if name in source.maps:
        found = source.maps[name]
        macro = found.settings.get("bcc", "")
        methods = [Note(", ".join(bcc_words.methods(macro)), label="methods")] if macro else []
        kind = found.settings.get("type", "").removeprefix("BPF_MAP_TYPE_").lower()
        return [
            Head(name, kind, "ok", "map of this cell"),
            Code(source.text[found.start : found.end] + ";", "", "c"),
            *methods,
        ]
    if name in place.variables:
        declared = place.variables[name]
        type_ = expressions.type_of(place, name)
        pointed = words.spelled(*type_) if type_ and type_ != declared.type else ""
        note = [Note(f"here a {pointed}")] if pointed else []
        return [Head(name, "", "ok", "variable of this cell"), Code(f"{declared.text};", "", "c"), *note]
    function = next((f for f in source.functions if f.name == name), None)
    if function:
        what = f'program, SEC("{function.section}")' if function.section else "function of this cell"
        return [Head(name, "", "ok", what), Code(f"{function.text};", "", "c")]
    return None


def _own_type(place: Place, name: str) -> list[Part] | None:
    source = place.source
    assert source is not None
    for key, what in ((name, "of this cell"), (source.enumerators.get(name, ""), "an enumerator of this cell")):
        if key in source.places:
            start, end = source.places[key]
            return [Head(name, "", "ok", what), Code(source.text[start:end].strip(), "", "c")]
    return None


def _reference(place: Place, name: str) -> _Answer:
    # Helpers, kfuncs, and the macros that are used like functions.
    try:
        found = reference(name)
    except ToolMissingError:  # libbpf's headers are not installed
        number = names.helper_numbers().get(name)
        return [Head(name, "helper", "ok", f"number {number}"), *_usable(place, name)] if number else None
    if found is None:
        return None
    notes = _usable(place, name) if found.kind != "macro" else []
    parts = (repr(found), text(notes)), (found._repr_html_(), html(notes) if notes else "")
    return Explanation(*("\n".join(filter(None, part)) for part in parts))


def _usable(place: Place, name: str) -> list[Part]:
    known = allowed.calls([place.section]) if place.section else None
    if known is None:
        return []
    program = attach_points.kind_of(place.section)
    if name in known.unknown:
        return [Note(f"whether {program} programs may call it, the kernel does not tell this process")]
    yes = name in known.helpers or name in known.kfuncs
    return [Note(f"{'may' if yes else 'may not'} be called by {program} programs", "muted" if yes else "warning")]


def _kernel_function(_place: Place, name: str) -> list[Part] | None:
    declared = members.function(name)
    return [Head(name, "", "ok", "function of the kernel"), Code(f"{declared};", "", "c")] if declared else None


def _macro(place: Place, name: str) -> list[Part] | None:
    source = place.source
    assert source is not None
    if name in source.macros:
        start, end = source.places[name]
        return [Head(name, "", "ok", "macro of this cell"), Code(source.text[start:end].strip(), "", "c")]
    if bcc_completing.is_wanted(place) and (of_bcc := bcc_completing.explain_macro(place, name)):
        return of_bcc
    macro = names.macros().get(name)
    if macro is None:
        return None
    defined = f"#define {macro.name}{macro.parameters} {macro.body}"
    return [
        Head(name, macro.parameters, "ok", "macro"),
        *([Code(macro.doc)] if macro.doc else []),
        Code(defined, "", "c"),
    ]


def _kernel_type(_place: Place, name: str) -> _Answer:
    if name in MEANINGS and name != "ktime_t":
        return [Head(name, "", "ok", "typedef of ebpflab"), Note(MEANINGS[name])]
    if name.partition(" ")[2].startswith("tracepoint__"):
        found = members.tracepoint(name.partition(" ")[2])
        return Explanation(repr(found), found._repr_html_()) if found else None
    if vmlinux().find(name.split()[-1]) is None:
        return None  # quicker than an error that names the nearest
    try:
        known = kernel_types.type(name)
    except TypeNotFoundError:
        return None
    return Explanation(repr(known), known._repr_html_())


def _constant(place: Place, name: str) -> list[Part] | None:
    enum = names.kernel().enumerators.get(name)
    if enum is None:
        return None
    number = members.enumerator(enum, name)
    parts: list[Part] = [Head(name, "" if number is None else str(number), "ok", f"of enum {enum or '{...}'}")]
    verdicts = parse_section(place.section).type.verdicts if attach_points.kind_of(place.section) else ()
    return [*parts, *(Note(verdict.meaning) for verdict in verdicts if verdict.name == name)]


# Who is asked about a word, and about the function of a call, in this order.
_CALLED: tuple[Callable[[Place, str], _Answer], ...] = (_own, _reference, _macro, _kernel_function)
_KNOWN: tuple[Callable[[Place, str], _Answer], ...] = (
    *(_own, _own_type, _reference, _macro, _kernel_function, _kernel_type, _constant),
)
_ANSWERS: dict[str, Callable[[Place], _Answer]] = {
    "line": _line,
    "section": _section,
    "member": _member,
    "tag": _tag,
    "map": _word,
    "word": _word,
}
