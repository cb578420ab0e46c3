# Which line of the cell a line of the rewritten program comes from.
#
# BCC inserts lines (attributes, the structs of tracepoints, a line behind the brace of a function), joins others (the
# arguments of a map's method) and changes most that touch a map or follow a pointer. So lines that are alike are
# matched first, and those in between by the words that they share.

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from typing import Any

_WORD = re.compile(r"\w+")
_QUOTED_OR_COMMENT = re.compile(r'//[^\n]*|/\*.*?(?:\*/|\Z)|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
_INSERTED = re.compile(r'__attribute__\(\((?:section\("|always_inline\b)')
_LARGEST_GAP = 250_000  # pairs of lines

_Chain = tuple[tuple[int, int], Any]  # a pair, and the chain before it or None


def align(source: str, rewritten: str) -> list[int]:
    """Return for each line of the rewritten program the line of the source, both counted from 1."""
    old, new = source.split("\n"), rewritten.split("\n")
    found = [0] * len(new)
    at_old = at_new = 0
    for a, b in _alike(old, new):
        _fill(found, old, new, (at_old, a), (at_new, b))
        found[b] = a + 1
        at_old, at_new = a + 1, b + 1
    _fill(found, old, new, (at_old, len(old)), (at_new, len(new)))
    return found


def _alike(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    # Pairs of equal lines, in the order of both: at the ends first, then between the lines that are found already.
    found: list[tuple[int, int]] = []
    gaps = [(0, len(old), 0, len(new))]
    while gaps:
        first, last, start, end = gaps.pop()
        while first < last and start < end and old[first] == new[start]:
            found.append((first, start))
            first, start = first + 1, start + 1
        while first < last and start < end and old[last - 1] == new[end - 1]:
            last, end = last - 1, end - 1
            found.append((last, end))
        chosen = _rising(_candidates(old, new, range(first, last), range(start, end)))
        if chosen:
            found += chosen
            before, behind = [(first - 1, start - 1), *chosen], [*chosen, (last, end)]
            gaps += [(a + 1, c, b + 1, d) for (a, b), (c, d) in zip(before, behind, strict=True)]
    return sorted(found)


def _candidates(old: Sequence[str], new: Sequence[str], olds: range, news: range) -> list[tuple[int, int]]:
    # Pairs of equal lines of a gap. A line that occurs as often in both belongs to the one of its number, as in a
    # "patience diff"; only where there is none is each compared with each.
    left, right = _places(old, olds), _places(new, news)
    both = [(left[line], right[line]) for line in left.keys() & right.keys()]
    if same := [pair for a, b in both if len(a) == len(b) for pair in zip(a, b, strict=True)]:
        return sorted(same)
    if sum(len(a) * len(b) for a, b in both) > _LARGEST_GAP:
        return []
    return [(a, b) for a in olds for b in reversed(right.get(old[a], ()))]


def _places(lines: Sequence[str], within: range) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for at in within:
        places.setdefault(lines[at], []).append(at)
    return places


def _rising(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    # As many of these pairs as possible that rise in both numbers. They come sorted by the first, and those of one
    # first number fall in the second, so that no two of them are chosen.
    ends: list[int] = []
    chains: list[_Chain] = []
    for a, b in pairs:
        at = bisect.bisect_left(ends, b)
        ends[at : at + 1] = [b]
        chains[at : at + 1] = [((a, b), chains[at - 1] if at else None)]
    found = []
    chain = chains[-1] if chains else None
    while chain:
        found.append(chain[0])
        chain = chain[1]
    return found[::-1]


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
        for at in range(start, end):  # what is inserted belongs to the line behind it
            found[at] = min(first + (at - start) * (last - first) // (end - start), len(old) - 1) + 1
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
