"""What may stand on the lines of the magics: options of ``%%bpf`` and their values, commands of ``%bpf``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .. import options
from ..inspectors import bcc_names
from ..program_types import BY_KIND
from ..toolbox import arguments, shelf
from . import attach_points, names
from .declared import CType
from .members import members
from .names import Item
from .source import read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .declared import Function
    from .place import Place
    from .source import Source

_VALUES = {
    "--for": ("5s", "10s", "30s", "1m", "500ms"),
    "--keep": ("1e6", "200MB", "60s"),
}
_SIZES = ("256KiB", "1MiB", "4MiB", "16MiB", "64MiB")
_RINGS = ("BPF_MAP_TYPE_RINGBUF", "BPF_MAP_TYPE_PERF_EVENT_ARRAY")
_FEATURES = ('"program type"', '"map type"', "helper", "kfunc", "attach")
# Options of %bpf lines that take something of which there is no list.
_FREE = frozenset(("--base", "--compare", "--depth", "--find", "--from", "--into", "--name", "--out", "--stub"))


@dataclass(frozen=True)
class Notebook:
    """What only the notebook knows: the commands of ``%bpf``, each with its options, and the live sessions' names."""

    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sessions: tuple[str, ...] = ()


def line(place: Place, notebook: Notebook) -> tuple[str, list[Item]]:
    """Return the fragment that is replaced on a line after ``%%bpf``, and what may stand there."""
    assert place.source is not None
    *before, last = _split(place.fragment)
    actions = {flag: action for action in options.parser()._actions for flag in action.option_strings}
    flag, equals, value = last.partition("=")
    if equals and flag in actions and actions[flag].nargs != 0:
        return value, _value(flag, actions[flag], value, place.source)
    if before and before[-1] in actions and actions[before[-1]].nargs != 0:
        flag = before[-1]
        return last, _value(flag, actions[flag], last, place.source)
    found = []
    if not last.startswith("-") and not _has_name(before, actions):
        programs = [p.name for p in place.source.programs]
        found = [Item(name, "session") for name in dict.fromkeys([*notebook.sessions, *programs])]
    used = {word.partition("=")[0] for word in before}
    for flag, action in actions.items():
        if flag not in used or isinstance(action, argparse._AppendAction):
            found.append(Item(flag, "option", action.help or ""))
    return last, [item for item in found if item.text.startswith(last)]


def command(place: Place, notebook: Notebook) -> tuple[str, list[Item]]:
    """Return the fragment that is replaced on a line after ``%bpf``, and what may stand there."""
    *before, last = _split(place.fragment)
    if not before:
        return last, [Item(name, "command") for name in notebook.commands if name.startswith(last)]
    name, *rest = before
    if rest[-1:] == ["--kind"]:
        kinds = _FEATURES if name == "features" else tuple(BY_KIND)
        return last, [Item(kind, "kind") for kind in kinds if kind.startswith(last)]
    if rest[-1:] == ["--engine"]:
        return last, [Item(each, "value") for each in bcc_names.ENGINES if each.startswith(last)]
    if rest[-1:] == ["--lang"]:
        return last, [Item(each, "value") for each in ("c", "python") if each.startswith(last)]
    if rest and rest[-1] in _FREE:
        return last, []
    if name == "run":
        return last, [item for item in _tool(rest) if item.text.startswith(last)]
    if last.startswith("-"):
        return last, [Item(flag, "option") for flag in notebook.commands.get(name, ()) if flag.startswith(last)]
    if name == "stop":
        return last, [Item(each, "session") for each in notebook.sessions if each.startswith(last)]
    if name == "path":
        return _path([word for word in rest if not word.startswith("-")], last)
    answer = _ARGUMENTS.get(name)
    return last, answer(last) if answer else []


def option_help(written: str) -> str:
    """Return the help of an option of ``%%bpf``, of all of them where there is none of that name.

    Examples
    --------
    >>> option_help("--watch")
    '--watch: show the live view below the cell; in a terminal, until Ctrl-C'
    """
    parser = options.parser()
    for action in parser._actions:
        if written in action.option_strings:
            shown = f" {action.metavar}" if action.metavar else ""
            choices = f" ({', '.join(map(str, action.choices))})" if action.choices else ""
            return f"{written}{shown}: {action.help}{choices}"
    return parser.format_help()


def _split(written: str) -> list[str]:
    # The words, the last of them possibly "": what is being written.
    words = written.split()
    return words if written and not written[-1].isspace() else [*words, ""]


def _has_name(words: list[str], actions: dict[str, argparse.Action]) -> bool:
    takes = [False, *(word in actions and actions[word].nargs != 0 for word in words)]
    return any(not word.startswith("-") and not value for word, value in zip(words, takes, strict=False))


def _tool(words: list[str]) -> list[Item]:
    # The names of tools; behind one its parameters, and the options of every run.
    known = shelf.paths()
    name = next((word for word in words if word in known), "")
    if not name:
        return [Item(each, "tool") for each in sorted(known)]
    parameters = [Item(each.option, "option", each.meaning) for each in shelf.find(name).parameters]
    taken = {item.text for item in parameters}
    general = [Item(flag, "option", a.help or "") for a in arguments.general() for flag in a.option_strings]
    return [*parameters, *(item for item in general if item.text not in taken)]


def _value(flag: str, action: argparse.Action, written: str, source: Source) -> list[Item]:
    if action.choices:
        return [Item(str(choice), "value") for choice in action.choices if str(choice).startswith(written)]
    key, equals, value = written.partition("=")
    if flag == "--attach":
        found = _attachment(key, value, source) if equals else [Item(f"{p.name}=", "program") for p in source.programs]
    elif flag in ("--event", "--buffer"):
        rings = [m for m in source.maps.values() if m.settings.get("type") in _RINGS]
        after = [base.removeprefix("struct ") for base in source.structs if base.startswith("struct ")]
        second = after if flag == "--event" else _SIZES
        pairs = [Item(f"{key}={each}", "value") for each in second]
        found = pairs if equals else [Item(f"{m.name}=", "map") for m in rings]
    elif flag == "--var":
        listed = sorted(source.variables.values(), key=lambda d: not d.constant)
        found = [Item(f"{d.name}=", "variable", d.text) for d in listed if d.name not in source.maps]
    else:
        found = [Item(each, "value") for each in _VALUES.get(flag, ())]
    return [item for item in found if item.text.startswith(written)]


def _attachment(key: str, value: str, source: Source) -> list[Item]:
    program: Function | None = next((p for p in source.programs if key in (p.name, p.section)), None)
    if program is None:
        return []
    kind = attach_points.kind_of(program.section)
    found = attach_points.targets(kind, value) if kind else []
    return [item._replace(text=f"{key}={item.text}") for item in found]


def _sections(written: str) -> list[Item]:
    return [*attach_points.kinds(written), *attach_points.sections(written)] if written else attach_points.kinds("")


def _types(written: str) -> list[Item]:
    kernel = names.kernel()
    listed = {"struct": kernel.structs, "union": kernel.unions, "type": kernel.typedefs, "enum": kernel.enums}
    return [Item(name, kind) for kind, found in listed.items() for name in names.stems(found, written)][: names.MOST]


def _features(written: str) -> list[Item]:
    return [Item(name, "helper") for name in sorted(names.helper_numbers()) if name.startswith(written)]


def _path(before: list[str], last: str) -> tuple[str, list[Item]]:
    # `path task_struct real_parent.tgid`, or both in one word with a dot.
    if not before and "." not in last:
        return last, _types(last)
    base, dot, rest = (before[0], ".", last) if before else last.partition(".")
    nothing = read("")
    owner: CType | None = CType(base if " " in base else f"struct {base}")
    *steps, prefix = rest.replace("->", ".").split(".")
    for step in steps:
        owner = next((f.type for f in members(nothing, owner) if f.name == step), None) if owner else None
    found = members(nothing, owner) if owner and dot else ()
    return prefix, [Item(f.name, "field", f.c_type) for f in found if f.name.startswith(prefix)]


_ARGUMENTS: dict[str, Callable[[str], list[Item]]] = {
    "hooks": attach_points.events,
    "format": attach_points.events,
    "ctx": _sections,
    "template": lambda written: [*_sections(written), *(attach_points.events(written) if ":" in written else ())],
    "type": _types,
    "bind": _types,
    "features": _features,
    "helper": _features,
    "check": attach_points.events,
    "tools": lambda written: [Item(each, "tool") for each in sorted(shelf.paths()) if each.startswith(written)],
}
