# Which line of the cell a line of the rewritten program comes from.
#
# BCC inserts lines (attributes, the structs of tracepoints, a line behind the brace of a function), joins others (the
# arguments of a map's method) and changes most that touch a map or follow a pointer. So lines that are alike are
# matched first, and those in between by the words that they share.

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Sequence

_WORD = re.compile(r"\w+")
_QUOTED_OR_COMMENT = re.compile(r'//[^\n]*|/\*.*?(?:\*/|\Z)|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
_INSERTED = re.compile(r'__attribute__\(\((?:section\("|always_inline\b)')
_LARGEST_GAP = 250_000  # pairs of lines


def align(source: str, rewritten: str) -> list[int]:
    """Return for each line of the rewritten program the line of the source, both counted from 1."""
    old, new = source.split("\n"), rewritten.split("\n")
    # The end is alike as a rule, and cheap to find; of many equal lines the matcher compares each with each.
    pairs = zip(reversed(old), reversed(new), strict=False)
    alike = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    end = len(old) - max(alike - 1, 0)  # what was inserted before it belongs to its first line
    return [*_matched(old[:end], new[: len(new) - len(old) + end]), *range(end + 1, len(old) + 1)]


def _matched(old: Sequence[str], new: Sequence[str]) -> list[int]:
    found = [0] * len(new)
    at_old = at_new = 0
    for block in difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
        _fill(found, old, new, (at_old, block.a), (at_new, block.b))
        for step in range(block.size):
            found[block.b + step] = block.a + step + 1
        at_old, at_new = block.a + block.size, block.b + block.size
    return found


def changed(source: str, rewritten: str, lines: Sequence[int]) -> frozenset[int]:
    """Return the lines of the source that BCC changed: a column in the rewritten program means nothing there."""
    old, new = source.split("\n"), rewritten.split("\n")
    pairs = zip(lines, new, strict=True)
    kept = {number for number, text in pairs if 0 < number <= len(old) and old[number - 1] == text}
    return frozenset(range(1, len(old) + 1)) - kept


def numbered(rewritten: str, lines: Sequence[int], name: str) -> str:
    """Return the program with a ``#line`` wherever the line of the source does not simply go on."""
    result, expected, depth = [], 0, 0
    closed = _outside(rewritten)
    for (text, plain, whole), line in zip(closed, lines, strict=True):
        if _INSERTED.match(text):
            depth = 0
        # A directive cannot stand in a comment, behind a backslash, or between the brackets of a macro's call.
        if whole and depth == 0 and line != expected:
            result.append(f'#line {line} "{name}"')
            expected = line
        result.append(text)
        expected += 1
        if not plain.lstrip().startswith("#"):
            depth = max(0, depth + plain.count("(") - plain.count(")"))
    return "\n".join(result)


def _outside(text: str) -> list[tuple[str, str, bool]]:
    # Each line, the line without strings and comments, and whether a directive may stand before it.
    plain = _QUOTED_OR_COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text).split("\n")
    inside: set[int] = set()
    for match in _QUOTED_OR_COMMENT.finditer(text):
        if match[0].startswith("/*"):
            first = text.count("\n", 0, match.start())
            inside.update(range(first + 1, first + 1 + match[0].count("\n")))
    lines = text.split("\n")
    before = ["", *lines]
    return [(line, plain[n], n not in inside and not before[n].endswith("\\")) for n, line in enumerate(lines)]


def _fill(
    found: list[int], old: Sequence[str], new: Sequence[str], olds: tuple[int, int], news: tuple[int, int]
) -> None:
    # The lines of a gap between two stretches that are alike.
    (first, last), (start, end) = olds, news
    if first == last or (last - first) * (end - start) > _LARGEST_GAP:
        for at in range(start, end):
            found[at] = min(last, len(old) - 1) + 1
        return
    words = [set(_WORD.findall(line)) for line in old[first:last]]
    scores, back = [0] * len(words), []
    for at in range(start, end):
        own = set(_WORD.findall(new[at]))
        best, row = 0, []
        for number, each in enumerate(words):
            best = number if scores[number] > scores[best] else best
            row.append(best)
            scores[number] = scores[best] + len(own & each)
            best = best if row[-1] == best else number
        back.append(row)
    number = max(range(len(words)), key=lambda n: (scores[n], -n))
    for at in range(end - 1, start - 1, -1):
        found[at] = first + number + 1
        number = back[at - start][number]
