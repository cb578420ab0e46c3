"""The options of a ``%%bpf`` line, parsed without IPython."""

from __future__ import annotations

import argparse
import ast
import keyword
import re
import shlex
from dataclasses import dataclass, field
from typing import Any, NoReturn

from . import cflags
from .errors import CellError
from .similar import nearest


@dataclass(frozen=True)
class Options:
    """What a ``%%bpf`` line asks for; see :func:`parse`."""

    name: str | None = None
    engine: str = "auto"
    seconds: float | None = None
    watch: bool = False
    targets: dict[str, str | tuple[str, ...]] = field(default_factory=dict)
    vars: dict[str, Any] = field(default_factory=dict)
    keep: str | None = None
    events: dict[str, str] = field(default_factory=dict)
    buffers: dict[str, str] = field(default_factory=dict)
    attach: bool = True
    unsafe: bool = False
    headers: str | None = None
    cflags: tuple[str, ...] = ()


def duration(text: str) -> float:
    """Read a duration such as ``10s``, ``500ms``, ``2m`` or ``1.5`` (seconds).

    Raises
    ------
    CellError
        When the text is not a positive duration.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(ms|s|m|h|)", text.strip())
    seconds = float(match[1]) * {"ms": 0.001, "s": 1, "": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if seconds <= 0:
        raise CellError(f"'{text}' is not a duration", hint="write 10s, 500ms or 2m")
    return seconds


def value(text: str) -> Any:
    """Read the value of ``--var X=value``: a Python literal (``1``, ``0x1f``, ``true``, ``[1, 2]``), or else text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last two: nested too deeply for Python
        return text


class Parser(argparse.ArgumentParser):
    """A parser that raises CellError, where argparse would print to stderr and exit."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with a line, with a hint."""
        unknown = re.search(r"unrecognized arguments: (-\S+)", message)
        if unknown:
            known = [flag for action in self._actions for flag in action.option_strings]
            near = nearest(unknown[1].split("=")[0], known)
            hint = f"did you mean {' or '.join(near)}?" if near else self._all
            raise CellError(f"unknown option {unknown[1]}", hint=hint)
        raise CellError(message, hint=self._all)

    @property
    def _all(self) -> str:
        # A parser of a %bpf line has its options in its usage; those of a cell fill a page.
        return "see %%bpf? for all options" if self.prog == "%%bpf" else self.format_usage().strip()


def parser() -> argparse.ArgumentParser:
    """Make the parser of ``%%bpf`` lines; its help is the magic's documentation."""
    p = Parser(prog="%%bpf", add_help=False, allow_abbrev=False, formatter_class=argparse.RawTextHelpFormatter)
    add = p.add_argument
    add("name", nargs="?", metavar="NAME", help="the variable that will hold the session")
    add(
        "--engine",
        choices=("auto", "libbpf", "bcc"),
        default="auto",
        help="who compiles and loads (default: by dialect)",
    )
    add("--for", dest="seconds", type=duration, metavar="10s", help="run this long, then detach and show the rows")
    add("--watch", action="store_true", help="show the live view below the cell; in a terminal, until Ctrl-C")
    add(
        "--attach",
        action="append",
        default=[],
        metavar="SECTION=TARGET",
        help="attach this program elsewhere; may be repeated",
    )
    add("--var", action="append", default=[], metavar="X=1", help="set a global variable before the program is loaded")
    add("--keep", metavar="1e6|200MB|60s", help="how much history to keep: rows, bytes or seconds (default 1e6 rows)")
    add("--event", action="append", default=[], metavar="MAP=STRUCT", help="the record type of a buffer")
    add("--buffer", action="append", default=[], metavar="MAP=64MiB", help="the size of a ring or perf buffer")
    add(
        "--headers", metavar="DIR", help="real kernel headers for a cell of BCC's dialect (default: the kernel's types)"
    )
    add("--cflags", action="append", default=[], metavar='"-DX=1 -Idir"', help="options for the compiler")
    add("--no-attach", dest="attach_now", action="store_false", help="load and verify only")
    add("--unsafe", action="store_true", help="allow helpers that can harm the machine")
    return p


def _targets(items: list[str]) -> dict[str, str | tuple[str, ...]]:
    # A program may be attached to several.
    found: dict[str, tuple[str, ...]] = {}
    for item in items:
        ((name, place),) = _pairs([item], "--attach", "SECTION=TARGET").items()
        found[name] = (*found.get(name, ()), place)
    return {name: places[0] if len(places) == 1 else places for name, places in found.items()}


def _pairs(items: list[str], flag: str, example: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for item in items:
        key, separator, val = item.partition("=")
        if not (key and separator and val):
            raise CellError(f"{flag} {item}: expected {flag} {example}", hint="see %%bpf? for all options")
        # A second record type for the same map is one more way to read it, not a replacement.
        pairs[key] = f"{pairs[key]},{val}" if flag == "--event" and key in pairs else val
    return pairs


def _joined(words: list[str]) -> list[str]:
    # argparse takes what follows --cflags for an option of its own, as it begins with a hyphen.
    found: list[str] = []
    for word in words:
        if found and found[-1] == "--cflags":
            found[-1] += f"={word}"
        else:
            found.append(word)
    return found


def parse(line: str) -> Options:
    """Parse the line of a ``%%bpf`` cell.

    Raises
    ------
    CellError
        With the nearest real option, when one is misspelt.

    Examples
    --------
    >>> parse("opens --for 10s").seconds
    10.0
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise CellError(f"the line after %%bpf cannot be read: {error}", hint="check the quotes") from error
    args = parser().parse_args(_joined(words))
    check_name(args.name)
    return read(args)


def check_name(name: str | None) -> None:
    """Raise CellError if a session's name cannot be a variable's."""
    if name is not None and (not name.isidentifier() or keyword.iskeyword(name)):
        raise CellError(f"'{name}' cannot be a variable name", hint="use a Python identifier, such as %%bpf opens")


def read(args: argparse.Namespace) -> Options:
    """Return what a parser with the options of :func:`parser` found."""
    return Options(
        name=args.name,
        engine=args.engine,
        seconds=args.seconds,
        watch=args.watch,
        targets=_targets(args.attach),
        vars={k: value(v) for k, v in _pairs(args.var, "--var", "NAME=VALUE").items()},
        keep=args.keep,
        events=_pairs(args.event, "--event", "MAP=STRUCT"),
        buffers=_pairs(args.buffer, "--buffer", "MAP=SIZE"),
        attach=args.attach_now,
        unsafe=args.unsafe,
        headers=args.headers,
        cflags=tuple(flag for text in args.cflags for flag in cflags.parse(text)),
    )
