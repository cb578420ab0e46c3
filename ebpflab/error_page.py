"""An error as a document: what happened, where in the cell, how it came about, what to do; in text and in HTML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .formatting import Code, Fold, Head, Note, Part, Table, html, text

if TYPE_CHECKING:
    from .errors import EbpflabError
    from .verifier import Explanation
    from .verifier.explanation import Step

_STEPS = 10  # of a story that are shown
_LAST = 10  # lines of the log that are shown, folded
_WIDTH = 150


def document(error: EbpflabError) -> list[Part]:
    """Describe an error: what happened, where in the cell, the tool's own words, what to do."""
    parts: list[Part] = [Head(error.what, error.stage, "error")]
    if error.where is not None:
        parts.append(Code(str(error.where)))
    explanation = getattr(error, "explanation", None)
    if explanation is not None:
        return parts + list(_refusal(error, explanation))
    if error.details:
        parts.append(Code("\n".join(error.details)))
    if error.hint:
        parts.append(Note(error.hint, "ok", "hint"))
    return parts


def error_text(error: EbpflabError, *, log: bool = True) -> str:
    """Render an error as text, with or without the last words of a log."""
    parts = document(error)
    return text(part if log or not isinstance(part, Fold) else Note(part.summary) for part in parts)


def advice(error: EbpflabError) -> str:
    """Say what to do in one line: in the cell's own names, where these are certain."""
    explained = getattr(error, "explanation", None)
    if explained is None or not explained.snippet:
        return error.hint or ""
    place = _place(explained).removeprefix("such as, ")
    return f"{place}: {' '.join(explained.snippet.split())}"


def error_html(error: EbpflabError) -> str:
    """Render an error as HTML."""
    return html(document(error))


def _refusal(error: EbpflabError, explained: Explanation) -> Iterator[Part]:
    # The last of the details is where the log is, and stands at the end.
    *said, log = error.details or ("",)
    for sentence in said:
        yield Note(sentence, "", "why" if sentence == explained.meaning else "")
    if explained.category:
        yield Note(explained.category, "muted", "category")
    if len(explained.story) > 1 or (explained.cause and explained.cause.line != explained.line):
        yield _story(explained.story)
    if error.hint:
        yield Note(error.hint, "ok", "fix")
    if explained.snippet:
        yield Code(explained.snippet, _place(explained), "c")
    if log:
        log += getattr(error, "search", "")
    yield Fold(log or "the verifier's last words", "\n".join(_last_words(getattr(error, "log", ""))))


def _story(story: tuple[Step, ...]) -> Table:
    # Of a long one the beginning and the end. Where nothing is known of any register, no columns for it.
    rows = [(step.line, step.what, step.register, _cut(step.state)) for step in story]
    if len(rows) > _STEPS:
        half = _STEPS // 2
        rows = [*rows[:half], (None, f"{len(rows) - _STEPS} steps more", "", ""), *rows[-half:]]
    columns = ("line", "how it came about", "register", "what is known of it")
    shown = len(columns) if any(state for *_, state in rows) else 2
    return Table(columns[:shown], tuple(row[:shown] for row in rows))


def _place(explained: Explanation) -> str:
    if explained.snippet_line is None:
        return "such as"
    if not explained.snippet_replaces:
        return f"such as, before line {explained.snippet_line}"
    last = explained.snippet_line + explained.snippet_replaces - 1
    lines = f"line {last}" if last == explained.snippet_line else f"lines {explained.snippet_line} to {last}"
    return f"such as, in place of {lines}"


def _last_words(log: str) -> list[str]:
    # The end of the log, without its statistics.
    lines = [line for line in log[-64_000:].split("\n") if line.strip() and not line.startswith("processed ")]
    return [_cut(line) for line in lines[-_LAST:]]


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"
