"""What a word of C may become: variables, functions, helpers, macros, types, constants, keywords."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..inspectors import arguments, contexts, tracefs
from ..inspectors.layout import vmlinux
from ..program_types import parse_section
from . import allowed, bcc_completing, bcc_words, expressions, names
from .c_words import HEADS, KEYWORDS, MAP_SETTINGS, MEANINGS, NUMBERS
from .members import members
from .names import Item

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .declared import CType
    from .place import Call, Place

_MAP_TYPES, _MAP_FLAGS, _PINNING = "BPF_MAP_TYPE_", "BPF_F_", "LIBBPF_PIN_"
_FORMATTED = "__data_loc_"


def after_member(place: Place) -> list[Item]:
    """Return the members that may follow an arrow or a dot."""
    if table := bcc_completing.table_at(place):
        return bcc_completing.methods(place, table)
    owner = expressions.owner(place)
    return _fields(place, owner) if owner else []


def tags(place: Place) -> list[Item]:
    """Return what may follow ``struct``, ``union`` or ``enum``: the cell's own, the context's, the kernel's."""
    assert place.source is not None
    prefix, keyword = place.fragment, place.keyword
    found = [Item(base.partition(" ")[2], keyword) for base in place.source.places if base.startswith(f"{keyword} ")]
    context = expressions.context_type(place.section) if place.section else None
    if context and context.base.startswith(f"{keyword} "):
        found.insert(0, Item(context.base.partition(" ")[2], keyword, "the context of this program"))
    kernel = names.kernel()
    listed = {"struct": kernel.structs, "union": kernel.unions, "enum": kernel.enums}[keyword]
    found += [Item(name, keyword) for name in names.stems(listed, prefix)]
    if keyword == "struct" and prefix.startswith("tracepoint__"):
        made = sorted(f"tracepoint__{name.replace(':', '__', 1).replace('-', '_')}" for name in tracefs.events())
        found += [Item(name, keyword) for name in names.stems(made, prefix)]
    return _unique(item for item in found if item.text.startswith(prefix))


def after_ampersand(place: Place) -> list[Item]:
    """Return what an address is taken of: maps first, then variables."""
    return _unique(item for item in (*_maps(place), *_variables(place)) if item.text.startswith(place.fragment))


def words(place: Place) -> list[Item]:
    """Return what a word may become, the nearest first."""
    special = _special(place)
    if special is not None:
        return special
    found = [*_expected(place), *_variables(place), *_functions(place)]
    assert place.source is not None
    if place.function is None and not place.source.bcc:
        found += [Item("SEC", "macro"), *(Item(head, "macro") for head in sorted(HEADS))]
    found = [*found, *_calls(place), *_macros(place), *_types(place), *(Item(word, "keyword") for word in KEYWORDS)]
    prefix = place.fragment
    named = bcc_completing.named(place)  # a name that names a hook is not yet that of a function
    found = [*named, *(item for item in found if item.text.startswith(prefix) and not (named and item.text == prefix))]
    if len(prefix) > 1:
        found += _constants(prefix)
    return _unique(found)[: names.MOST]


def _special(place: Place) -> list[Item] | None:
    # Where only a few words fit; None where any may stand.
    call, prefix = place.call, place.fragment
    if call is None:
        return None
    if call.name in MAP_SETTINGS:
        return _map_setting(place, call)
    if (of_bcc := bcc_completing.argument(place, call)) is not None:
        return [item for item in of_bcc if item.text.startswith(prefix)]
    if call.number and (owner := expressions.path(place, call)) is not None:
        return _fields(place, owner)
    if call.name == "TP_DATA_LOC_STR" and call.number == 3:
        context = expressions.context_type(place.section)
        found = _fields(place, context, _FORMATTED) if context else []
        return [item._replace(text=item.text.removeprefix(_FORMATTED)) for item in found]
    if place.function is None and place.section and place.at == call.arguments[-1]:
        return [item for item in _parameters(place, call) if item.text.startswith(prefix)] or None
    return None


def _map_setting(place: Place, call: Call) -> list[Item]:
    assert place.source is not None
    prefix = place.fragment
    if call.number == 0:
        return [Item(name, "keyword") for name in MAP_SETTINGS[call.name] if name.startswith(prefix)]
    setting = place.source.code.text(call.arguments[0])
    if setting in ("key", "value"):
        return _unique(item for item in _types(place) if item.text.startswith(prefix))
    begin = {"type": _MAP_TYPES, "map_flags": _MAP_FLAGS, "pinning": _PINNING}.get(setting)
    if begin is None or not (begin.startswith(prefix) or prefix.startswith(begin)):
        return []
    if setting == "pinning":
        return [Item(name, "constant") for name in ("LIBBPF_PIN_BY_NAME", "LIBBPF_PIN_NONE") if name.startswith(prefix)]
    listed = names.starting(names.kernel().constants, max(begin, prefix, key=len))
    return [Item(name, "constant") for name in listed if not name.endswith("_DEPRECATED")]


def _parameters(place: Place, call: Call) -> list[Item]:
    # The head of a program: its context, or with one of libbpf's macros the arguments of its hook.
    if call.name in HEADS:
        hook = arguments.of(parse_section(place.section)) if call.number else ()
        known = hook[call.number - 1 :]
        declared = [_declared(argument.c_type, argument.name) for argument in known]
        rest = ", ".join(declared)
        return [Item(text, "parameter", place.section) for text in dict.fromkeys([*declared[:1], rest]) if text]
    if call.number:
        return []
    context = contexts.context(place.section)
    c_type = context.c_type
    return [Item(_declared(c_type, "ctx"), "parameter", place.section)] if c_type.endswith("*") else []


def _declared(c_type: str, name: str) -> str:
    return f"{c_type}{name}" if c_type.endswith("*") else f"{c_type} {name}"


def _fields(place: Place, owner: CType, begin: str = "") -> list[Item]:
    assert place.source is not None
    found = members(place.source, owner)
    return [Item(f.name, "field", f.c_type) for f in found if f.name.startswith(begin + place.fragment)]


def _expected(place: Place) -> list[Item]:
    # What a program may return, and the maps where a helper wants one.
    assert place.source is not None
    if place.source.code.text(place.at - 1) == "return" and place.section:
        verdicts = parse_section(place.section).type.verdicts
        return [Item(v.name, "constant", v.meaning) for v in verdicts if v.name]
    return []


def _variables(place: Place) -> list[Item]:
    found = [Item(d.name, "variable", d.text) for d in reversed(place.variables.values())]
    if place.function and place.function.head in HEADS and "ctx" not in place.variables:
        found.append(Item("ctx", "variable"))
    return found


def _maps(place: Place) -> list[Item]:
    assert place.source is not None
    return [Item(m.name, "map", m.settings.get("type", "")) for m in place.source.maps.values()]


def _functions(place: Place) -> list[Item]:
    assert place.source is not None
    own = [Item(f.name, "function", f.text) for f in place.source.functions if not f.section]
    return [*own, *_maps(place), *(Item(name, "macro") for name in place.source.macros), *_own_constants(place)]


def _own_constants(place: Place) -> Iterator[Item]:
    assert place.source is not None
    return (Item(name, "constant", enum) for name, enum in place.source.enumerators.items())


def _calls(place: Place) -> list[Item]:
    # Helpers and kfuncs of the program at the cursor; those of all programs of the cell in a function that they share.
    assert place.source is not None
    sections = [place.section] if place.section else [f.section for f in place.source.programs]
    known = allowed.calls(sections)
    helpers = sorted(names.helper_numbers()) if known is None else known.helpers
    found = [Item(name, "helper", names.signatures().get(name, "")) for name in helpers]
    if place.source.bcc:
        return [item for item in found if bcc_words.has_helper(item.text)]
    return [*found, *(Item(name, "kfunc") for name in known.kfuncs)] if known else found


def _macros(place: Place) -> list[Item]:
    assert place.source is not None
    of_bcc = bcc_completing.macros(place) if bcc_completing.is_wanted(place) else []
    if place.source.bcc:
        return of_bcc
    known = names.macros()
    listed = names.starting(names.macro_names(), place.fragment)
    return [*of_bcc, *(Item(name, "macro", known[name].parameters) for name in listed)]


def _types(place: Place) -> list[Item]:
    assert place.source is not None
    found = [Item(name, "type") for name in place.source.typedefs]
    found += [Item(name, "type") for name in NUMBERS]
    found += [Item(name, "type", said) for name, said in MEANINGS.items()]
    if place.fragment:
        found += [Item(name, "type") for name in names.starting(names.kernel().typedefs, place.fragment)]
    return found


def _constants(prefix: str) -> list[Item]:
    kernel = names.kernel()
    return [Item(name, "constant", kernel.enumerators.get(name, "")) for name in names.stems(kernel.constants, prefix)]


def _unique(items: Iterable[Item]) -> list[Item]:
    # The first of each text.
    found: dict[str, Item] = {}
    for item in items:
        found.setdefault(item.text, item)
    return list(found.values())


def spelled(base: str, levels: int) -> str:
    """Return how C spells a type of an expression."""
    named = base
    if base.startswith("#"):
        named = vmlinux().c_type(int(base[1:]))
    elif base.startswith("{"):
        named = "struct {...}"
    return f"{named} {'*' * levels}".strip() if named else ""
