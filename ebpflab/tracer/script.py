"""What the text of a bpftrace program says of its output: the keys of maps, and what its lines are made of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

_STRING = r'"(?:\\.|[^"\\])*"'
_SKIPPED = re.compile(rf"({_STRING})|//[^\n]*|/\*.*?\*/", re.DOTALL)
_TOKEN = re.compile(rf"{_STRING}|[^\"]", re.DOTALL)
_MAP = re.compile(rf"{_STRING}|(@\w*)\s*(\[)?", re.DOTALL)
_CALL = re.compile(rf"{_STRING}|\b(printf|print)\s*(\()", re.DOTALL)
_FILLED = re.compile(r"\s*=\s*(count|sum|min|max|avg|stats|hist|lhist|tseries)\s*\(")
_STEPPED = re.compile(r"\s*(\+\+|--|[-+]=)")
_OPEN, _CLOSE = "([{", ")]}"
_NAME = re.compile(r"(?:\$|\bargs(?:->|\.))?([A-Za-z_]\w*)$|.*(?:->|\.)([A-Za-z_]\w*)$", re.DOTALL)
_WRAPPED = re.compile(r"(?:str|ntop|usym|ksym|kptr|uptr|kaddr|uaddr|strerror|buf)\s*\(\s*([^,()]+)[^()]*\)$", re.DOTALL)
CONVERSION = re.compile(
    r"%(?:%|(?P<flags>[-+ #0]*)(?P<width>\d*)(?:\.\d+)?(?P<size>hh|h|ll|l|j|z|t)?(?P<letter>[a-zA-Z]))"
)
# What these give is text, even where it looks like a number.
_TEXTS = re.compile(r'^(?:comm|func|probe|kstack|ustack|username|"|(?:str|ntop|ksym|usym|kstack|ustack|cgroup_path|'
                    r'strftime|macaddr|buf|strerror|join)\s*\()|comm$')  # fmt: skip


@dataclass(frozen=True)
class MapUse:
    """How the text uses a map: the expressions of its key, and the function that fills it; empty if there is none."""

    keys: tuple[str, ...] = ()
    function: str = ""


class Line(NamedTuple):
    """A statement that prints: its format (None for ``print((a, b))``), and the expressions of its arguments."""

    format: str | None
    arguments: tuple[str, ...]


def maps(text: str) -> dict[str, MapUse]:
    """Return how the text uses each of its maps.

    Examples
    --------
    >>> maps("BEGIN { @n[pid, comm] = count(); }")
    {'@n': MapUse(keys=('pid', 'comm'), function='count')}
    """
    found: dict[str, MapUse] = {}
    text = _without_comments(text)
    for match in _MAP.finditer(text):
        if match[1] is None:
            continue
        keys, end = arguments(text, match.end() - 1) if match[2] else ((), match.end())
        filled = _FILLED.match(text, end)
        function = filled[1] if filled else "number" if _STEPPED.match(text, end) else ""
        known = found.get(match[1], MapUse())
        found[match[1]] = MapUse(known.keys or keys, known.function or function)
    return found


def lines(text: str) -> list[Line]:
    """Return the statements that print lines: ``printf(...)`` and ``print((...))``."""
    text, found = _without_comments(text), []
    for match in _CALL.finditer(text):
        if match[1] is None:
            continue
        given, _ = arguments(text, match.end() - 1)
        if match[1] == "printf" and given and given[0].startswith('"'):
            found.append(Line(_unquoted(given[0]), given[1:]))
        elif match[1] == "print" and len(given) == 1 and given[0].startswith("("):
            found.append(Line(None, arguments(given[0], 0)[0]))
    return found


def probes(text: str) -> list[tuple[str, str]]:
    """Return the probes of a program: what stands before the braces, and what is inside.

    Examples
    --------
    >>> probes("BEGIN { @ = 1; } interval:s:1 /@/ { exit(); }")
    [('BEGIN', ' @ = 1; '), ('interval:s:1 /@/', ' exit(); ')]
    """
    text, found = _without_comments(text), []
    depth, start, head = 0, 0, ""
    for token in _TOKEN.finditer(text):
        if token[0] == "{":
            if depth == 0:
                head, start = text[start : token.start()].strip(), token.end()
            depth += 1
        elif token[0] == "}" and depth > 0:
            depth -= 1
            if depth == 0:
                found.append((head, text[start : token.start()]))
                start = token.end()
    return found


def arguments(text: str, at: int) -> tuple[tuple[str, ...], int]:
    """Return the expressions between the bracket at a place and its counterpart, and the place behind that."""
    depth, start, found = 0, at + 1, []
    for token in _TOKEN.finditer(text, at):
        letter = token[0]
        depth += (letter in _OPEN) - (letter in _CLOSE)
        if depth == 0 or (depth == 1 and letter == ","):
            found.append(text[start : token.start()].strip())
            start = token.end()
        if depth == 0:
            return tuple(each for each in found if each), start
    return (), len(text)


def names(expressions: tuple[str, ...], other: str) -> list[str]:
    """Return a name for the column of each expression; one that has none of its own is called `other`.

    Examples
    --------
    >>> names(("pid", "str(args->filename)", "arg0 / 4"), "key")
    ['pid', 'filename', 'key2']
    """
    chosen: list[str] = []
    for place, expression in enumerate(expressions):
        name = _name(expression) or (other if len(expressions) == 1 else f"{other}{place}")
        chosen.append(name if name not in chosen else f"{name}{place}")
    return chosen


def is_text(expression: str) -> bool:
    """Tell whether an expression gives text, however much it may look like a number."""
    return _TEXTS.search(expression) is not None


def pattern(format: str) -> tuple[re.Pattern[str], str]:
    """Return an expression that takes the lines of a format apart, and the letters of its conversions.

    Examples
    --------
    >>> expression, letters = pattern("%d opens %s")
    >>> expression.fullmatch("17 opens /etc/hosts").groups(), letters
    (('17', '/etc/hosts'), 'ds')
    """
    parts, letters, at = [], "", 0
    for match in CONVERSION.finditer(format):
        parts.append(re.escape(format[at : match.start()]))
        at = match.end()
        if match["letter"] is None:
            parts.append("%")
            continue
        letters += match["letter"]
        blanks = r"\ *" if match["width"] else ""
        parts.append(blanks + _FIELDS.get(match["letter"], r"(.*?)") + blanks)
    parts.append(re.escape(format[at:]))
    return re.compile("".join(parts), re.DOTALL), letters


_FIELDS = {
    "d": r"([-+]?\d+)",
    "i": r"([-+]?\d+)",
    "u": r"(\d+)",
    "x": r"((?:0x)?[0-9a-fA-F]+)",
    "X": r"((?:0X)?[0-9A-F]+)",
}


def _name(expression: str) -> str:
    wrapped = _WRAPPED.match(expression)
    if wrapped:
        return _name(wrapped[1].strip())
    match = _NAME.match(expression)
    return (match[1] or match[2]) if match else ""


def _without_comments(text: str) -> str:
    return _SKIPPED.sub(lambda match: match[1] or " ", text)


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"'}


def _unquoted(literal: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[0]), literal[1:-1], flags=re.DOTALL)
