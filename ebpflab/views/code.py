"""What the tab "code" shows: the cell's lines, each with the instructions that the kernel has of it."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import EbpflabError

if TYPE_CHECKING:
    from ..disassembly import Disassembly, Instruction
    from ..session import Session
    from . import Look

_MOST = 30_000  # bytes of text in a listing
_MOST_OF_A_LINE = 40  # instructions shown of one line: an unrolled loop has thousands
_WIDTH = 160  # characters of a source line
_CELL = "cell"  # the name of the cell's text in line info, see compile.clang.CELL


@dataclass(frozen=True)
class Row:
    """A line of source and what became of it.

    Attributes
    ----------
    line
        Its number; None for a heading, which names the file that the rows below it are from. The first rows are the
        cell's and have no heading.
    source
        Its text, or the heading's.
    insns
        How many instructions it became, of a heading those of the rows below it.
    text
        Instructions as ``5: (61) r2 = *(u32 *)(r1 +0)``.
    """

    line: int | None
    source: str
    insns: int = 0
    text: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """A program's source with its instructions.

    Attributes
    ----------
    program, programs
        Which program is shown, and the names of all.
    rows
        The cell's lines in order, then those of other files.
    cut
        How many instructions are not in the rows: a listing holds 30 kB.
    problem
        Why there are no instructions, or names are missing; else empty.
    """

    program: str
    programs: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    cut: int = 0
    problem: str = ""


_made: weakref.WeakKeyDictionary[Session, dict[str, Listing]] = weakref.WeakKeyDictionary()


def listing(session: Session, look: Look) -> Listing:
    """Return the source of the program that is looked at, with its instructions.

    The kernel is asked once for each program; what was shown stays there when the session is over. Without
    instructions (a recording, a session that was closed before) the source is shown, and ``problem`` says why.

    Examples
    --------
    >>> [row.insns for row in listing(s, Look(program="on_open")).rows if row.line == 12]
    [4]
    """
    programs = tuple(p.name for p in session._programs)
    program = look.program or next(iter(programs), "")
    known = _made.setdefault(session, {})
    if program in known:
        return known[program]
    lines = session.source.removesuffix("\n").split("\n") if session.source else []
    try:
        found = session.disasm(program)
    except EbpflabError as error:
        problem = f"{error.what}: {error.hint}" if error.hint else error.what
        return _within(Listing(program, programs, tuple(_rows(lines, ())), problem=problem))
    known[program] = made = _within(_with(found, lines, programs))
    return made


def _with(found: Disassembly, lines: list[str], programs: tuple[str, ...]) -> Listing:
    return Listing(found.program, programs, tuple(_rows(lines, found.instructions)), problem=found.problem)


def _rows(lines: list[str], instructions: Iterable[Instruction]) -> Iterator[Row]:
    cell: dict[int, list[Instruction]] = {}
    others: dict[str, dict[int, list[Instruction]]] = {}
    for insn in instructions:
        name = insn.file.rpartition("/")[2] if insn.line else "no line"
        inside = name == _CELL and insn.line <= len(lines)
        file = cell if inside else others.setdefault(name, {})
        file.setdefault(insn.line, []).append(insn)
    for at, source in enumerate(lines, 1):
        yield _row(at, source, cell.get(at, []))
    for name, found in others.items():
        yield Row(None, name, sum(map(len, found.values())))
        for at in sorted(found):
            yield _row(at, found[at][0].source, found[at])


def _row(line: int, source: str, instructions: list[Instruction]) -> Row:
    text = tuple(f"{insn.insn}: {insn.text}" for insn in instructions)
    shown = _plain(source)
    return Row(line, shown if len(shown) <= _WIDTH else f"{shown[: _WIDTH - 1]}…", len(text), text)


def _plain(source: str) -> str:
    # Tabs as blanks, and control characters as Python writes them: the rows travel between such characters.
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in source.expandtabs(4).rstrip())


def _within(whole: Listing) -> Listing:
    # Source first: half of the room, and what it leaves is for the instructions, from the top.
    rows, room = [], _MOST // 2
    for row in whole.rows:
        room -= _bytes(row.source)
        if room < 0:
            break
        rows.append(row)
    room = max(room, 0) + _MOST - _MOST // 2
    for at, row in enumerate(rows):
        text = []
        for each in row.text[:_MOST_OF_A_LINE]:
            room -= _bytes(each)
            if room < 0:
                break
            text.append(each)
        rows[at] = replace(row, text=tuple(text))
    shown = sum(len(row.text) for row in rows)
    return replace(whole, rows=tuple(rows), cut=sum(len(row.text) for row in whole.rows) - shown)


def _bytes(text: str) -> int:
    return len(text.encode()) + 1
