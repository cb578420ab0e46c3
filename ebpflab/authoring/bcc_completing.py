"""What may follow at the cursor of a cell in BCC's C, and what BCC's words mean."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import HookNotFoundError
from ..formatting import Code, Head, Note, Part
from ..inspectors import arguments, bcc_names, contexts, reading, tracefs
from ..program_types import parse_section
from . import attach_points, bcc_words, names
from .bcc_heads import table_of
from .bcc_words import PROBES
from .names import Item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .place import Call, Place

_WITH_PARAMETERS = ("KFUNC_PROBE", "KRETFUNC_PROBE", "KMOD_RET", "LSM_PROBE")
_OF_FIELD = ("TP_DATA_LOC_READ_STR", "TP_DATA_LOC_READ", "TP_DATA_LOC_READ_CONST")
# Kinds whose hooks are those of another, as far as their names go.
_SAME = {"fexit": "fentry", "kretprobe": "kprobe"}


def is_wanted(place: Place) -> bool:
    """Tell whether words of BCC's C fit: in a cell that has some, and in one that has no programs yet."""
    return place.source is not None and (place.source.bcc or not place.source.programs)


def table_at(place: Place) -> str:
    """Return the macro that declares the table whose method is at the cursor, "" where that is none."""
    code = place.source.code if place.source else None
    if code is None or code.text(place.at - 1) != ".":
        return ""
    return table_of(place.source, code.text(place.at - 2)) if place.source else ""


def methods(place: Place, macro: str) -> list[Item]:
    """Return the methods of a table that start with what has been written."""
    found = bcc_words.methods(macro).items()
    return [Item(name, "method", each.signature) for name, each in found if name.startswith(place.fragment)]


def macros(place: Place) -> list[Item]:
    """Return BCC's macros and functions that fit: those that declare something outside of functions alone."""
    outside = place.function is None
    listed = bcc_words.macros().items()
    declaring = bcc_words.TABLES.keys() | PROBES.keys()
    return [Item(name, "macro", parameters) for name, (parameters, _) in listed if (name in declaring) == outside]


def named(place: Place) -> list[Item]:
    """Return the names of functions that name a hook, where one has begun: ``kprobe__vfs_``."""
    if place.function is not None or not is_wanted(place):
        return []
    written = place.fragment
    prefix = next((each for each in bcc_names.PREFIXES if written.startswith(each)), "")
    if not prefix:
        return [Item(each, "hook") for each in bcc_names.PREFIXES if written and each.startswith(written)]
    if prefix == "tracepoint__":
        known = sorted(f"tracepoint__{name.replace(':', '__', 1)}" for name in tracefs.events())
        return [Item(name, "tracepoint") for name in names.stems(known, written)]
    kind = parse_section(f"{bcc_names.PREFIXES[prefix]}x").kind
    found = attach_points.targets(_SAME.get(kind, kind), written.removeprefix(prefix))
    return [Item(f"{prefix}{item.text}", kind) for item in found if re.fullmatch(r"\w+", item.text)]


def argument(place: Place, call: Call) -> list[Item] | None:
    """Return what may stand in a head that one of BCC's macros writes, or name a field; None elsewhere."""
    written = place.fragment
    if call.name in _OF_FIELD and call.number == 1:
        form = _format(place)
        return [Item(f.name, "field", f.type) for f in (form.members if form else ()) if f.data_loc]
    if call.name not in PROBES or place.function is not None or place.source is None:
        return None
    first = place.source.code.text(call.arguments[0])
    if call.name == "TRACEPOINT_PROBE" and call.number == 1:
        found = attach_points.targets("tracepoint", f"{first}/{written}")
        return [item._replace(text=item.text.partition("/")[2]) for item in found]
    if call.number == 0:
        kind = bcc_names.MACROS[call.name]
        return [i._replace(text=i.text.rstrip("/")) for i in attach_points.targets(_SAME.get(kind, kind), written)]
    return list(_parameters(call, first)) if call.name in _WITH_PARAMETERS else None


def _parameters(call: Call, hook: str) -> Iterator[Item]:
    # The next parameter, and all that are left.
    section = bcc_names.section_of(f"{call.name}({hook})")
    left = [reading.declared(a.c_type, a.name) for a in arguments.of(parse_section(section))[call.number - 1 :]]
    for text in dict.fromkeys([*left[:1], ", ".join(left)]):
        if text:
            yield Item(text, "parameter", section)


def _format(place: Place) -> tracefs.Format | None:
    section = place.section
    return tracefs.format(section.partition("/")[2]) if section.startswith("tp/") else None


def explain_method(place: Place, macro: str) -> list[Part] | None:
    """Return what a method of a table means, as a document."""
    found = bcc_words.methods(macro).get(place.fragment)
    if found is None or place.source is None:
        return None
    settings = place.source.maps[place.source.code.text(place.at - 2)].settings
    signature = re.sub(r"\bKEY\b", settings["key"], found.signature)
    signature = re.sub(r"\bLEAF\b", settings["value"], signature)
    return [Head(place.fragment, "", "ok", f"method of {macro}"), Code(f"{signature};", "", "c"), Note(found.doc)]


def explain_macro(_place: Place, name: str) -> list[Part] | None:
    """Return what one of BCC's macros or functions means, as a document."""
    if name not in bcc_words.macros():
        return None
    parameters, doc = bcc_words.macros()[name]
    parts: list[Part] = [Head(name, parameters, "ok", "BCC"), Note(doc)]
    if name in bcc_words.TABLES:
        parts.append(Note(", ".join(bcc_words.methods(name)), label="methods"))
    defined = bcc_words.definition(name)
    return [*parts, Code(defined, "", "c")] if defined and name not in bcc_words.TABLES else parts


def hook_at(place: Place) -> contexts.Context | None:
    """Return the context of the hook that the word at the cursor names in BCC's C, or None if it names none.

    Raises
    ------
    HookNotFoundError
        There is no such hook.
    """
    name, call = place.fragment, place.call
    section = bcc_names.section_of(name)
    if section == name and call and call.name in PROBES and place.function is None and place.source:
        code = place.source.code
        words = [code.text(at) for at in call.arguments[:1]]
        if call.name == "TRACEPOINT_PROBE":
            words.append(code.text(call.arguments[0] + 2))
        names_hook = call.number < len(words)
        section = bcc_names.section_of(f"{call.name}({', '.join(words)})") if names_hook else name
    return contexts.context(section, "bcc") if section != name else None


def field_read(place: Place, field: str) -> str:
    """Return how a field of the program's context is read in BCC's C.

    Raises
    ------
    HookNotFoundError
        The context has no such field.
    """
    found = contexts.context(place.section, "bcc")
    plain = field.removeprefix("data_loc_")
    if plain not in {member.name for member in found.members}:
        raise HookNotFoundError(f"{place.section} has no field {plain!r}", nearest=(), hint="look at %bpf ctx")
    return found.read(plain)
