"""Clang's messages as `Diagnostic`s of the cell, and the first thing to do about them.

Clang is run with `CLANG_FLAGS` on a text in which ``#line 1 "cell"`` stands before the user's lines, so that its
messages read ``cell:LINE:COLUMN: error: ...`` (the form is described in Clang's User's Manual, "Formatting of
Diagnostics"). Two things do not follow ``#line``: source ranges and fix-its carry lines of the whole input, so only
their columns are used here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from . import compiler_hints
from .cell import Cell
from .errors import CompileError, Diagnostic, Location

__all__ = ["CLANG_FLAGS", "misspelt", "parse", "summarise"]

# With source ranges on, clang indents every source line that it shows by a blank, so that no line of a user's
# text can look like a message. Fix-its are printed only together with source lines.
CLANG_FLAGS: tuple[str, ...] = (
    "-fno-color-diagnostics",
    "-fcaret-diagnostics",
    "-fdiagnostics-print-source-range-info",
    "-fdiagnostics-parseable-fixits",
    "-fmessage-length=0",
)

_MOST_DETAILS = 5
_INCLUDED_HERE = " is included here"
_MESSAGE = re.compile(
    r"(?:(?P<file>[^\s:][^:]*):(?P<line>\d{1,9}):(?:(?P<column>\d{1,9}):)?(?P<ranges>(?:\{[\d:-]+\})*):? )?"
    r"(?:clang[-\d.]*: )?(?P<severity>fatal error|error|warning|note|remark): (?P<message>.*)$"
)
_RANGE = re.compile(r"\{(\d{1,9}):(\d{1,9})-(\d{1,9}):(\d{1,9})\}")
_FIXIT = re.compile(r'fix-it:".*":\{(\d{1,9}):(\d{1,9})-(\d{1,9}):(\d{1,9})\}:"(.*)"$')
_INCLUDED = re.compile(r"In file included from (.+):(\d{1,9}):$")
_GUTTER = re.compile(r" *\d* \| ?|")  # line numbers beside source lines, since clang 17
# The code generator knows the function; the statement is in a note, as text, when clang cannot show it.
_STATEMENT = re.compile(r"could not determine the original source location for (.+):(\d{1,9}):(\d{1,9})$")
# An assembler that knows no source tells the line of the assembly, and shows it.
_ASSEMBLY = re.compile(r"<inline asm>:\d+:\d+: ")
# Notes about the inside of macros, and advice that is wrong in a kernel without libc.
_UNHELPFUL = re.compile(
    r"expanded from macro|\(skipping \d+ expansions|could not determine the original|include the header <"
)
# What the code generator prints of its own inside: a function without debug information, a call's target.
_TIDY = (
    (re.compile(r"^<unknown>:0:0: in function (\w+) .*?\): "), r"in \1: "),
    (re.compile(r"^too many args to 0x.*@(\w+)>.*$"), r"too many args to \1"),
)


@dataclass
class _Draft:
    # One message while its following lines are still being read.
    severity: str
    message: str
    file: str | None = None
    line: int = 0
    column: int = 0  # in bytes, as clang counts; 0 if unknown
    ranges: tuple[tuple[int, int, int, int], ...] = ()
    fixits: list[tuple[int, int, int, int, str]] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)  # the source line and the caret line
    included_at: int = 0  # the line of the cell that includes the file


def parse(stderr: str, cell_text: str, file: str = "cell") -> tuple[Diagnostic, ...]:
    """Turn clang's messages into diagnostics, in clang's order; text of any kind is taken, nothing is raised.

    Parameters
    ----------
    stderr
        What clang wrote, run with `CLANG_FLAGS`.
    cell_text
        The user's text, from which the shown lines are taken.
    file
        The name that the cell has in its ``#line``.

    Returns
    -------
    tuple
        Severities as clang has them: ``fatal error``, ``error``, ``warning``, ``note``. A message from inside a
        macro has the place where the cell uses it; one in an included file has that file's name, and is followed
        by a note at the cell's ``#include``.

    Examples
    --------
    >>> parse("cell:1:6: error: expected ';'", "int x")[0].where.line
    1
    """
    lines = cell_text.split("\n")
    found: dict[Diagnostic, None] = {}  # clang says some things twice
    for draft in _read(stderr, file):
        if _UNHELPFUL.search(draft.message):
            continue
        found.setdefault(_diagnostic(draft, lines, file))
        if draft.included_at:
            here = _cell_location(lines, draft.included_at, 0, file)
            found.setdefault(Diagnostic("note", f"{draft.file}{_INCLUDED_HERE}", here))
    return tuple(found)


def summarise(
    diagnostics: Sequence[Diagnostic], *, helpers: Mapping[str, str] | None = None, bcc: bool = False
) -> CompileError:
    """Make the error to raise when clang has refused a cell.

    Parameters
    ----------
    diagnostics
        What `parse` returned.
    helpers
        Prototypes of the functions that a cell can call, by name: the nearest to an unknown one are offered, and a
        call with too few or too many arguments is answered with what the function takes.
    bcc
        Whether the cell is written in BCC's dialect, and may be.

    Returns
    -------
    CompileError
        With the first error's message and place, a hint, and up to five further errors as details.

    Examples
    --------
    >>> print(summarise(parse("cell:1:6: error: expected ';' after x", "int x")).hint)
    a ';' is missing here, or at the end of the line before
    """
    errors = [d for d in diagnostics if "error" in d.severity and "too many errors emitted" not in d.message]
    if not errors:
        return CompileError("clang refused the cell without an error message", diagnostics=diagnostics)
    # Of a variable too large for the stack clang complains several times; one message says why.
    first = next((e for e in errors if compiler_hints.STACK.search(e.message)), errors[0])
    others = [e for e in errors if e is not first]
    plural = "s" if others else ""
    hint = compiler_hints.hint(first, helpers or {}, bcc=bcc) or _clangs_own(first)
    details = [_one_line(error) for error in others[:_MOST_DETAILS]]
    after = diagnostics[diagnostics.index(first) + 1 :][:1]
    details[:0] = [_one_line(note) for note in after if note.message.endswith(_INCLUDED_HERE)]
    if len(others) > _MOST_DETAILS:
        details.append(f"and {len(others) - _MOST_DETAILS} more")
    return CompileError(
        f"{len(errors)} error{plural}: {first.message}",
        where=first.where,
        hint=hint,
        details=details,
        diagnostics=diagnostics,
    )


def misspelt(diagnostics: Sequence[Diagnostic], cell: Cell, known: Iterable[str] = ()) -> CompileError | None:
    """Make the error for a macro outside of functions that nothing defines, if clang stumbled over one.

    Clang takes ``BPF_HAHS(counts, u32)`` for a function without a type, and complains of what is in its brackets.

    Parameters
    ----------
    diagnostics
        What `parse` returned.
    cell
        The cell that clang refused.
    known
        Macros that are defined elsewhere.

    Returns
    -------
    CompileError or None
        At the macro, with the name that it resembles; what clang said first is its detail.

    Examples
    --------
    >>> misspelt(parse("cell:1:6: error: wrong", "SCE()"), Cell("SCE()")).hint
    'did you mean SEC?'
    """
    lines = {d.where.line for d in diagnostics if d.where and d.where.file == "cell"}
    for start, end, name, near in compiler_hints.misspelt(cell.code, known):
        first, last = cell.line_of(start, len(name)), cell.line_of(end)
        if lines.intersection(range(first.line, last.line + 1)):
            said = [_one_line(d) for d in diagnostics if "error" in d.severity]
            hint = f"did you mean {near}?"
            return CompileError(f"{name} is unknown", where=first, hint=hint, details=said[:1], diagnostics=diagnostics)
    return None


def _read(stderr: str, file: str) -> Iterator[_Draft]:
    current: _Draft | None = None
    included_at = 0
    for line in stderr.split("\n"):
        if match := _MESSAGE.match(line):
            draft = _draft(match, included_at)
            included_at = 0
            if current and _place_statement(current, draft, file):
                continue
            if current:
                yield current
            current = draft
        elif match := _INCLUDED.match(line):
            if match[1] == file:
                included_at = int(match[2])
        elif current and (match := _FIXIT.match(line)):
            a, b, c, d = (int(number) for number in match.groups()[:4])
            current.fixits.append((a, b, c, d, _unescaped(match[5])))
        elif current and line.startswith(" ") and len(current.shown) < 2:
            current.shown.append(line[1:])
    if current:
        yield current


def _draft(match: re.Match[str], included_at: int) -> _Draft:
    severity, message = match["severity"], match["message"]
    if severity != "warning":  # the name of a warning is of use for silencing it, and then only
        message = re.sub(r" \[-W[^\]]*\]$", "", message)
    for pattern, replacement in _TIDY:
        message = pattern.sub(replacement, message)
    ranges = [tuple(int(n) for n in r) for r in _RANGE.findall(match["ranges"] or "")]
    return _Draft(
        severity,
        message,
        file=match["file"],
        line=int(match["line"] or 0),
        column=int(match["column"] or 0),
        ranges=tuple((a, b, c, d) for a, b, c, d in ranges),
        included_at=included_at,
    )


def _place_statement(error: _Draft, note: _Draft, file: str) -> bool:
    # Whether `note` is the code generator's note to `error`; if so the error moves to the statement that it names.
    # The stack limit is a matter of the whole function and stays there.
    match = _STATEMENT.match(note.message)
    if match is None or (note.file, note.line, note.column) != (error.file, error.line, error.column):
        return False
    if match[1] == file and int(match[2]) and not compiler_hints.STACK.search(error.message):
        error.line, error.column = int(match[2]), int(match[3])
    return True


def _diagnostic(draft: _Draft, lines: list[str], file: str) -> Diagnostic:
    where: Location | None = None
    if draft.file == file and draft.line:
        where = _cell_location(lines, draft.line, draft.column, file, draft.ranges)
    elif draft.file:
        where = _other_location(draft)
    elif draft.shown and (match := _ASSEMBLY.match(draft.message)):
        draft.message = f"{draft.message[match.end() :]}, in the assembly {draft.shown[0].strip()!r}"
        where = _assembly_location(draft.shown[0].strip(), lines, file)
    fixits = [_readable(draft, fixit, lines, file) for fixit in draft.fixits]
    if compiler_hints.STACK.search(draft.message) and (largest := compiler_hints.largest(lines, where)):
        fixits.append(f"move {largest} into a BPF_MAP_TYPE_PERCPU_ARRAY map")
    return Diagnostic(draft.severity, draft.message, where, tuple(fixits))


def _cell_location(
    lines: list[str], line: int, column: int, file: str, ranges: Sequence[tuple[int, int, int, int]] = ()
) -> Location:
    text = lines[line - 1].rstrip("\r") if line <= len(lines) else ""
    if not column:
        return Location(line, None, text, file=file)
    start = _characters(text, column)
    end = max((_characters(text, d) for a, b, c, d in ranges if a == c and b == column), default=0)
    if end <= start and (word := re.compile(r"\w+").match(text, start)):
        end = word.end()
    return Location(line, start + 1, text, max(1, min(end, len(text)) - start), file)


def _other_location(draft: _Draft) -> Location:
    # Another file's line is known only as clang shows it, with tabs turned into blanks: the caret has the column.
    file = draft.file or ""
    if len(draft.shown) < 2 or "^" not in draft.shown[1]:
        return Location(draft.line, draft.column or None, file=file)
    text, caret = (_GUTTER.sub("", line, count=1) for line in draft.shown)
    return Location(draft.line, caret.find("^") + 1, text, file=file)


def _assembly_location(text: str, lines: list[str], file: str) -> Location | None:
    # Where the cell has this assembly, if it is in one place and no operands were put in.
    found = [number for number, line in enumerate(lines, 1) if text in line]
    if not text or len(found) != 1:
        return None
    shown = lines[found[0] - 1].rstrip("\r")
    return Location(found[0], shown.index(text) + 1, shown, len(text), file)


def _characters(text: str, column: int) -> int:
    # Clang counts bytes of UTF-8 from 1; the number of characters before that byte.
    if text.isascii():
        return column - 1
    return len(text.encode("utf-8", "surrogatepass")[: column - 1].decode("utf-8", "ignore"))


def _unescaped(text: str) -> str:
    simple = {"n": "\n", "t": "\t"}
    return re.sub(
        r"\\([0-7]{3}|.)",
        lambda m: chr(int(m[1], 8)) if len(m[1]) == 3 else simple.get(m[1], m[1]),
        text,
    )


def _readable(draft: _Draft, fixit: tuple[int, int, int, int, str], lines: list[str], file: str) -> str:
    first_line, start, last_line, end, new = fixit
    if (first_line, start) == (last_line, end):
        return f"insert '{new}'"
    # The line of a fix-it is not the cell's; that it begins where the message does makes it the same line.
    known = draft.file == file and 0 < draft.line <= len(lines) and start == draft.column and first_line == last_line
    text = lines[draft.line - 1] if known else ""
    old = text[_characters(text, start) : _characters(text, end)]
    if not new:
        return f"remove '{old}'" if old else "remove this"
    return f"write '{new}' instead of '{old}'" if old else f"write '{new}' instead"


def _one_line(error: Diagnostic) -> str:
    if error.where is None:
        return error.message
    return f"{error.where.file}, line {error.where.line}: {error.message}"


def _clangs_own(error: Diagnostic) -> str | None:
    return "; ".join(error.fixits) or None
