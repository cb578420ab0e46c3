"""What a program prints with fewer bits than it has: ``%d`` takes 32 of the 64 of ``nsecs``, as C's does."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..errors import EbpflabError
from ..inspectors import tracefs
from . import script

_BUILTIN = re.compile(r"(?:nsecs|elapsed|cgroup|curtask)(?:\s*\(\w*\))?|cgroupid\s*\(.*\)", re.DOTALL)
_FIELD = re.compile(r"args\s*(?:->|\.)\s*(\w+)")
_TRACEPOINT = re.compile(r"\bt(?:racepoint)?:([\w-]+:[\w-]+)(?![\w*?-])")
# A system call's arguments are all stored in 64 bits (kernel/trace/trace_syscalls.c), whatever their type.
_WIDE_TYPE = re.compile(r"long|64|\*|size_t|off_t")
_LETTERS = "diuxX"


def cut(text: str) -> list[str]:
    """Return a sentence for each value of 64 bits that the program prints with a conversion of 32.

    Fields of ``args`` are looked up in the formats of the tracepoints; what is not known there is left out.

    Examples
    --------
    >>> cut('BEGIN { printf("%d", nsecs); }')
    ['nsecs is cut to 32 bits by %d: write %llu']
    """
    found: dict[str, None] = {}
    for head, body in script.probes(text):
        for line in script.lines(body):
            for letter, expression in _narrow(line):
                sign = _sign(expression, head)
                if sign:
                    better = letter if letter in "xX" else sign
                    found[f"{expression} is cut to 32 bits by %{letter}: write %ll{better}"] = None
    return list(found)


def _narrow(line: script.Line) -> Iterator[tuple[str, str]]:
    conversions = [match for match in script.CONVERSION.finditer(line.format or "") if match["letter"]]
    for match, expression in zip(conversions, line.arguments, strict=False):
        if match["letter"] in _LETTERS and match["size"] in (None, "h", "hh"):
            yield match["letter"], expression


def _sign(expression: str, head: str) -> str:
    # The letter for a value of 64 bits: d or u; empty if it has fewer, or nobody knows.
    if _BUILTIN.fullmatch(expression):
        return "u"
    asked, hook = _FIELD.fullmatch(expression), _TRACEPOINT.search(head)
    if asked is None or hook is None:
        return ""
    try:
        members = tracefs.format(hook[1]).members
    except EbpflabError:  # bpftrace knows it, we may not read of it
        return ""
    field = next((each for each in members if each.name == asked[1]), None)
    if (
        field is None
        or field.size != 8
        or field.length
        or (hook[1].startswith("syscalls:") and not _WIDE_TYPE.search(field.type))
    ):
        return ""
    return "d" if field.signed else "u"
