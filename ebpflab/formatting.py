"""Our objects as plain text and as escaped HTML, from one description, so that both always say the same.

A *document* is a sequence of parts: :class:`Head`, :class:`Steps`, :class:`Table`, :class:`Code`, :class:`Note`,
:class:`Picture`.
"""

from __future__ import annotations

import base64
import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

_WIDEST = 60  # characters of a value in a summary


@dataclass(frozen=True)
class Head:
    """A title with a state and a few words beside it."""

    title: str
    state: str = ""
    tone: str = "ok"
    detail: str = ""


@dataclass(frozen=True)
class Steps:
    """The stages of a line, each with its milliseconds."""

    steps: tuple[tuple[str, float, str], ...]


@dataclass(frozen=True)
class Table:
    """Rows under column names; ``tones`` gives a tone for a cell by (row, column).

    With ``below``, text shows the last column under its row: commands are long, and terminals narrow. Columns of
    numbers are right-aligned, and those that ``right`` counts up although their cells are texts.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    title: str = ""
    tones: tuple[tuple[int, int, str], ...] = ()
    below: bool = False
    right: tuple[int, ...] = ()


@dataclass(frozen=True)
class Code:
    """Text whose shape matters: a line of the cell with its caret, a log; coloured if its language is said."""

    text: str
    title: str = ""
    language: str = ""


@dataclass(frozen=True)
class Note:
    """One sentence."""

    text: str
    tone: str = "muted"
    label: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG so many CSS pixels wide and high; in text, and where it cannot be seen, ``alt`` stands for it."""

    png: bytes
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class Fold:
    """A sentence, and text that HTML shows when one clicks on it."""

    summary: str
    text: str


Part = Head | Steps | Table | Code | Note | Picture | Fold


@functools.cache
def _style() -> str:
    return f"<style>{(Path(__file__).parent / 'style.css').read_text()}</style>"


def number(value: Any) -> str:
    """Show a number the way people read it: 1,234 and 12.3; None and NaN as "-"; anything else as it is."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def milliseconds(value: float) -> str:
    """Show a duration given in milliseconds."""
    if value >= 1000:
        return f"{value / 1000:.1f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def time_span(seconds: float) -> str:
    """Show a span of time in the unit that suits it: ``3.9 us``, ``12 ms``, ``2.5 s``."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(seconds) >= size:
            return f"{number(seconds / size)} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def text(document: Iterable[Part]) -> str:
    """Render a document as plain text."""
    return "\n".join(filter(None, (_text_part(part) for part in document)))


def html(document: Iterable[Part]) -> str:
    """Render a document as HTML; everything in it is escaped."""
    return f'{_style()}<div class="ebpflab">{"".join(_html_part(part) for part in document)}</div>'


def _text_part(part: Part) -> str:
    if isinstance(part, Head):
        return " ".join(filter(None, (part.title, f"[{part.state}]" if part.state else "", part.detail)))
    if isinstance(part, Steps):
        return "  " + " -> ".join(
            " ".join(filter(None, (n, milliseconds(ms), f"({d})" if d else ""))) for n, ms, d in part.steps
        )
    if isinstance(part, Table):
        return _text_table(part)
    if isinstance(part, Code):
        return "\n".join(filter(None, (part.title, *(f"  {line}" for line in part.text.split("\n")))))
    if isinstance(part, Picture):
        return f"  {part.alt}"
    if isinstance(part, Fold):
        return "\n".join([f"  {part.summary}", *(f"    {line}" for line in part.text.split("\n") if line)])
    return f"  {part.label}: {part.text}" if part.label else f"  {part.text}"


def _text_table(table: Table) -> str:
    rows = [tuple(number(cell) for cell in row) for row in table.rows]
    beside = len(table.columns) - table.below
    widths = [max(len(row[i]) for row in [table.columns, *rows]) for i in range(beside)]
    right = _numeric(table)

    def line(cells: Sequence[str]) -> str:
        shown = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=False))
        last = (
            f"\n      {table.columns[-1]}: {cells[-1]}"
            if table.below and cells[-1] and cells is not table.columns
            else ""
        )
        return ("  " + "  ".join(shown)).rstrip() + last

    return "\n".join(filter(None, (table.title, line(table.columns), *(line(row) for row in rows))))


def _html_part(part: Part) -> str:
    if isinstance(part, Head):
        state = f'<span class="pill {escape(part.tone)}">{escape(part.state)}</span>' if part.state else ""
        title, detail = f"<b>{escape(part.title)}</b>", f'<span class="muted">{escape(part.detail)}</span>'
        # Blanks between, for front ends that take our style away.
        return f'<div class="head">{" ".join(filter(None, (title, state, detail)))}</div>'
    if isinstance(part, Steps):
        steps = (
            f'<span class="step">{escape(name)} <b>{milliseconds(ms)}</b>'
            + (f' <span class="muted">{escape(detail)}</span>' if detail else "")
            + "</span>"
            for name, ms, detail in part.steps
        )
        return f'<div class="steps">{" <span class=arrow>→</span> ".join(steps)}</div>'
    if isinstance(part, Table):
        return _html_table(part)
    if isinstance(part, Code):
        title = f"<div>{escape(part.title)}</div>" if part.title else ""
        return f"{title}<pre>{_coloured(part)}</pre>"
    if isinstance(part, Picture):
        return _html_picture(part)
    if isinstance(part, Fold):
        return f"<details><summary>{escape(part.summary)}</summary><pre>{escape(part.text)}</pre></details>"
    label = f"<b>{escape(part.label)}:</b> " if part.label else ""
    return f'<div class="{escape(part.tone)}">{label}{escape(part.text)}</div>'


def _html_picture(picture: Picture) -> str:
    # Its size is said, so that nothing jumps when it is drawn; and it gives way where there is less room.
    size = f'width="{picture.width}" height="{picture.height}" style="max-width: 100%; height: auto"'
    source = f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"
    return f'<div><img src="{source}" alt="{escape(picture.alt)}" {size}></div>'


def _coloured(part: Code) -> str:
    if not part.language:
        return escape(part.text)
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    from .c_lexer import BpfLexer

    lexer = BpfLexer(stripnl=False) if part.language == "c" else get_lexer_by_name(part.language, stripnl=False)
    # Its short class names (k, s, c1) are what style.css gives colours to.
    return str(highlight(part.text, lexer, HtmlFormatter(nowrap=True))).rstrip("\n")


def _html_table(table: Table) -> str:
    right = _numeric(table)
    tones = {(row, column): tone for row, column, tone in table.tones}

    def cell(tag: str, value: str, column: int, tone: str = "") -> str:
        return _tag(tag, " ".join(filter(None, ("num" if right[column] else "", tone))), value)

    head = "".join(cell("th", name, i) for i, name in enumerate(table.columns))
    body = "".join(
        "<tr>" + "".join(cell("td", number(v), c, tones.get((r, c), "")) for c, v in enumerate(row)) + "</tr>"
        for r, row in enumerate(table.rows)
    )
    caption = f"<caption>{escape(table.title)}</caption>" if table.title else ""
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _tag(tag: str, names: str, value: str) -> str:
    return f'<{tag} class="{escape(names)}">{escape(value)}</{tag}>' if names else f"<{tag}>{escape(value)}</{tag}>"


def _numeric(table: Table) -> list[bool]:
    # A column is right-aligned when everything in it is a number, or when the table says so.
    def is_number(value: Any) -> bool:
        return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))

    return [
        i in table.right or (bool(table.rows) and all(is_number(row[i]) for row in table.rows))
        for i in range(len(table.columns))
    ]


def _cut(value: str) -> str:
    return value if len(value) <= _WIDEST else f"{value[: _WIDEST - 1]}…"


def frame_table(frame: Any, title: str = "", rows: int = 5) -> Table:
    """Make a table of the first rows of a DataFrame; long values are cut."""
    head = frame.head(rows)
    columns = [[shown(value) for value in head[name]] for name in head.columns]
    names = tuple(_one_line(str(name)) for name in head.columns)
    return Table(names, tuple(zip(*columns, strict=True)) if len(head) else (), title)


def shown(value: Any, widest: int = _WIDEST) -> str | float | bool | None:
    """Return a value of a DataFrame as tables show it: None if it is missing, else a number or text in one line.

    Parameters
    ----------
    value
        Of any type.
    widest
        How many characters of a text are shown.
    """
    import pandas as pd

    if pd.api.types.is_scalar(value) and pd.isna(value):  # None, NaN, NaT and NA
        return None
    if hasattr(value, "total_seconds"):
        # pandas computes the seconds of negative durations with an error: its nanoseconds are exact.
        return time_span(value.value / 1e9 if hasattr(value, "value") else value.total_seconds())
    if hasattr(value, "isoformat"):
        return str(value.isoformat(sep=" ", timespec="milliseconds")).removesuffix("+00:00")
    if hasattr(value, "tolist"):  # numpy's numbers and arrays
        value = value.tolist()
    # Identifiers such as pids read badly with thousands separators: whole numbers are shown as they are.
    return value if isinstance(value, (bool, float)) else _one_line(str(value)[:widest])


def _one_line(value: str) -> str:
    # A file may have a line break or a terminal's control sequence in its name: these are shown, not sent.
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
