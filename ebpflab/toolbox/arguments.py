"""The words after ``%bpf run`` and ``ebpflab run``: a tool, the options of a cell, and the tool's own parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .. import options, tables
from ..errors import CellError
from ..options import Options, Parser
from ..similar import did_you_mean, nearest
from . import shelf

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Sequence

    from .tool import Parameter, Tool

_OF_TEXT = {"--engine", "--headers", "--cflags", "--event"}  # a tool is in libbpf's C, and its records have types


@dataclass(frozen=True)
class Request:
    """Which tool to run, and how; ``given`` has the values of other options, those of the command that asks."""

    tool: Tool
    options: Options
    given: argparse.Namespace


def parse(
    words: Sequence[str],
    prog: str,
    extra: Sequence[tuple[str, dict[str, Any]]] = (),
    without: Collection[str] = (),
) -> Request:
    """Read the words of a command that runs a tool.

    Parameters
    ----------
    words
        The tool's name and the options, in any order.
    prog
        What the command is called in messages.
    extra
        Further options of the command, as for ``add_argument``.
    without
        Options that every tool has, but not with this command.

    Raises
    ------
    CellError
        There is no such tool or option, or a target is missing that the tool cannot choose itself.

    Examples
    --------
    >>> parse(["opensnoop", "--only-failed", "--for", "5s"], "%bpf run").options.vars
    {'only_failed': True}
    """
    tool = tool_of(words, prog)
    given = _parser(tool, prog, extra, without).parse_args(list(words))
    found = options.read(given)
    values = {
        p.name: _value(p, getattr(given, _place(p))) for p in tool.parameters if getattr(given, _place(p)) is not None
    }
    missing = [option for option, program in zip(tool.places, tool.wanted, strict=True) if program not in found.targets]
    if missing and found.attach:
        raise CellError(
            f"{tool.name} has to be told where", hint=f"add {' '.join(missing)}, in the place of the capitals"
        )
    return Request(tool, replace(found, vars={**found.vars, **values}), given)


def tool_of(words: Sequence[str], prog: str) -> Tool:
    """Return the tool that the words of a command name; raises CellError if they name none.

    Examples
    --------
    >>> tool_of(["--for", "5s", "opensnoop"], "%bpf run").name
    'opensnoop'
    """
    known = shelf.paths()
    bare = [word for word in words if not word.startswith("-")]  # among them the values of options
    name = next((word for word in bare if word in known), bare[0] if bare else "")
    if not name:
        raise CellError(
            f"{prog} needs the name of a tool",
            hint=f"for example {prog} opensnoop --for 5s; {prog.split()[0]} tools lists them",
        )
    return shelf.find(name)


def general() -> list[argparse.Action]:
    """Return the options that every tool has: those of a cell, but what is about the cell's text.

    Examples
    --------
    >>> general()[0].option_strings
    ['--for']
    """
    return [a for a in options.parser()._actions if a.option_strings and not _OF_TEXT & set(a.option_strings)]


def _parser(
    tool: Tool, prog: str, extra: Sequence[tuple[str, dict[str, Any]]], without: Collection[str]
) -> argparse.ArgumentParser:
    parser = Parser(prog=f"{prog} {tool.name}", add_help=False, allow_abbrev=False)
    parser.add_argument("tool")
    for flag, details in extra:
        parser.add_argument(flag, **details)
    for parameter in tool.parameters:
        bare: dict[str, Any] = {"nargs": "?", "const": "true"} if parameter.type == "bool" else {}
        names = sorted({parameter.option, f"--{parameter.name}"})
        parser.add_argument(*names, dest=_place(parameter), metavar=parameter.type, help=parameter.meaning, **bare)
    taken = {flag for action in parser._actions for flag in action.option_strings}
    for action in general():
        if not (taken | set(without)) & set(action.option_strings):
            parser._add_action(action)
    parser.set_defaults(name=None, watch=False, attach_now=True, engine="auto", headers=None, cflags=[], event=[])
    return parser


def _place(parameter: Parameter) -> str:
    return f"parameter {parameter.name}"


def _value(parameter: Parameter, text: str) -> Any:
    # A name such as 0123 is a text where the parameter is one.
    if parameter.type.startswith("char["):
        return text
    value = options.value(text)
    if parameter.type == "syscall_t" and isinstance(value, str):
        return _system_call(value)
    if parameter.type != "bool" and not isinstance(value, int):
        raise CellError(f"{parameter.option} {text}: that is no whole number", hint=parameter.meaning or None)
    return value


def _system_call(name: str) -> int:
    numbers = {known: number for number, known in tables.system_calls().items()}
    if name not in numbers:
        near = nearest(name, sorted(numbers))
        raise CellError(f"there is no system call {name!r}", hint=did_you_mean(near) or "give its number")
    return numbers[name]
