# Lines of a terminal: pieces of text with a tone, as wide as they look, and nothing in them that a terminal would obey.

from __future__ import annotations

import functools
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_COLOURS = {"ok": "32", "warning": "33", "error": "31", "muted": "2", "strong": "1", "bar": "36"}
_LEAST = 8  # letters that a column of text keeps before columns are left out
_GAP = "  "
_RIGHT = ("number", "duration")  # kinds of columns that are aligned to the right


class Span(NamedTuple):
    text: str
    tone: str = ""


Line = tuple[Span, ...]


def line(*pieces: str | Span) -> Line:
    return tuple(piece if isinstance(piece, Span) else Span(piece) for piece in pieces)


@functools.lru_cache(4096)
def clean(text: str) -> str:
    # A file may have a line break or a terminal's control sequence in its name: these are shown, not sent.
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text.expandtabs(8))


@functools.lru_cache(4096)
def width(text: str) -> int:
    # Return how many cells of a terminal a text fills.
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def cut(text: str, room: int) -> str:
    # Return as much of a text as fits, with … where it was cut.
    if width(text) <= room:
        return text
    kept, used = [], 0
    for letter in text:
        used += _cells(letter)
        if used >= room:
            break
        kept.append(letter)
    return "".join(kept) + "…" if room > 0 else ""


def pad(text: str, room: int, *, right: bool = False) -> str:
    blanks = " " * (room - width(text))
    return blanks + text if right else text + blanks


def rendered(shown: Line, room: int, *, colours: bool) -> str:
    # Return a line as it is sent, at most `room` cells wide.
    parts, left = [], room
    for text, tone in shown:
        piece = cut(clean(text), left)
        left -= width(piece)
        code = _COLOURS.get(tone) if colours else None
        parts.append(f"\x1b[{code}m{piece}\x1b[0m" if code and piece else piece)
        if left <= 0:
            break
    return "".join(parts).rstrip()


def sentence(text: str, tone: str, room: int) -> list[Line]:
    # What has to be read to its end is wrapped, not cut.
    return [line("  ", Span(each, tone)) for each in textwrap.wrap(clean(text), max(room - 3, 20))]


def flow(pieces: Iterable[Line], room: int, indent: str = "  ") -> list[Line]:
    # Put pieces side by side, and into further lines where they do not fit.
    lines: list[Line] = []
    used = room
    for piece in pieces:
        wide = sum(width(clean(span.text)) for span in piece)
        if used + len(_GAP) + wide > room or not lines:
            lines.append((Span(indent), *piece))
            used = len(indent) + wide
        else:
            lines[-1] += (Span(_GAP), *piece)
            used += len(_GAP) + wide
    return lines


def table(names: Sequence[str], rows: Sequence[Sequence[str]], kinds: Sequence[str], room: int) -> list[Line]:
    # A table that fits: first texts are cut, then columns are left out from the right, and that is said.
    cells = [[clean(cell) for cell in row] for row in (names, *rows)]
    wide = [max((width(row[i]) for row in cells), default=0) for i in range(len(names))]
    kept = _that_fit(wide, kinds, room - len(_GAP))
    right = [kind in _RIGHT for kind in kinds]
    shown, left_out = len(kept), len(names) - len(kept)
    lines = []
    for number, row in enumerate(cells):
        columns = zip(row[:shown], kept, right, strict=False)
        text = _GAP.join(pad(cut(cell, most), most, right=to_right) for cell, most, to_right in columns)
        lines.append(line("  ", Span(text.rstrip(), "" if number else "muted")))
    if left_out:
        what = f"{left_out} more column{'s' * (left_out > 1)}: {', '.join(names[shown:])}"
        lines.append(line("  ", Span(what, "muted")))
    return lines


def _that_fit(wide: Sequence[int], kinds: Sequence[str], room: int) -> list[int]:
    # Only texts are cut: a number or a time without its end is another one.
    for count in range(len(wide), 0, -1):
        fitted = list(wide[:count])
        texts = [i for i in range(count) if kinds[i] == "text"]
        over = sum(fitted) + len(_GAP) * (count - 1) - room
        while over > 0 and texts and fitted[widest := max(texts, key=fitted.__getitem__)] > _LEAST:
            fitted[widest] -= 1
            over -= 1
        if over <= 0:
            return fitted
    return [min(wide[0], max(room, 1))] if wide else []
