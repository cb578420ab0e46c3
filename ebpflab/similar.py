"""The nearest real names to one that does not exist, for "did you mean" hints."""

from __future__ import annotations

import heapq
import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Similarity is difflib's ratio, 0 to 1, plus one of these where the whole wanted name is in the candidate:
# somebody who writes "openat" means "sys_enter_openat" rather than a name with as many letters in common.
_WORD, _START, _INSIDE = 0.5, 0.45, 0.4
_CUTOFF = 0.6
# difflib takes about 50 microseconds a pair, so only this many candidates get that far.
_SHORTLIST = 200
_MOST_PIECES = 16


def nearest(name: str, candidates: Iterable[str], n: int = 3) -> tuple[str, ...]:
    """Return up to *n* of *candidates* that resemble *name*, most similar first.

    Letter case does not matter. Names that contain all of *name*, best as a whole word between underscores or
    other separators, come before names that differ from it by a few letters. Nothing resembling it gives ().

    Examples
    --------
    >>> nearest("sys_enter_opnat", ["sys_enter_openat", "sched_switch"])
    ('sys_enter_openat',)
    """
    wanted = name.strip().lower()
    if not wanted or n < 1:
        return ()
    matcher = SequenceMatcher(None, "", wanted, autojunk=False)
    scored = ((_score(matcher, wanted, c.lower()), c) for c in _shortlist(wanted, candidates))
    best = heapq.nsmallest(n, ((-score, c) for score, c in scored if score >= _CUTOFF))
    return tuple(candidate for _, candidate in best)


def did_you_mean(names: Iterable[str]) -> str | None:
    """Return the hint ``did you mean a, b or c?``, or None without names.

    Examples
    --------
    >>> did_you_mean(["tp", "tp_btf"])
    'did you mean tp or tp_btf?'
    """
    listed = list(names)
    if not listed:
        return None
    *others, last = listed
    start = f"{', '.join(others)} or " if others else ""
    return f"did you mean {start}{last}?"


def _shortlist(wanted: str, candidates: Iterable[str]) -> list[str]:
    # A cheap first look: how many short pieces of the name a candidate has, then how close in length it is.
    size = 3 if len(wanted) > 5 else min(2, len(wanted))
    pieces = sorted({wanted[i : i + size] for i in range(len(wanted) - size + 1)})
    step = -(-len(pieces) // _MOST_PIECES)
    pieces, length = pieces[::step], len(wanted)
    distinct = dict.fromkeys(candidates)
    if len(distinct) <= _SHORTLIST:
        return list(distinct)
    ranked = []
    for candidate in distinct:
        folded = candidate.lower()
        shared = 0
        for piece in pieces:
            if piece in folded:
                shared += 1
        if shared:
            ranked.append((-shared, abs(len(candidate) - length), candidate))
    return [candidate for *_, candidate in heapq.nsmallest(_SHORTLIST, ranked)]


def _score(matcher: SequenceMatcher[str], wanted: str, candidate: str) -> float:
    matcher.set_seq1(candidate)
    score = matcher.ratio()
    at = candidate.find(wanted)
    if at < 0:
        return score
    # The cutoff is for typos; a name that is wholly there is worth showing however long the rest is.
    if re.search(rf"(?<![a-z0-9]){re.escape(wanted)}(?![a-z0-9])", candidate):
        return max(score + _WORD, _CUTOFF)
    return max(score + (_INSIDE if at else _START), _CUTOFF)
