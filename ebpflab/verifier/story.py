# The story of a refusal: from the refused instruction back to its first cause, and told from there on.

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from .cell_text import function_at, without_comments
from .explanation import Step
from .log import Path, Place, writes
from .values import short

_BYTES = re.compile(r"[m0r?]{8}")  # a slot that holds no register: misc, zero, unwritten bytes
_MOST = 40  # steps of one story


@dataclass
class Case:
    # What is known of a refusal before its story: the path, whose last instruction was refused, and the words.
    path: Path
    message: str
    said: Sequence[str] = ()
    cause: str = ""  # how the table of messages wants it walked
    words: dict[str, str] = field(default_factory=dict)
    is_cell: Callable[[str], bool] = lambda name: not name.endswith(".h")
    cell: str = ""

    @property
    def at(self) -> int:
        return len(self.path.insns) - 1

    def step(self, index: int, what: str, register: str = "", state: str = "") -> Step:
        # A step at an instruction. Where that was made from a header or by the compiler alone, the place is the
        # cell's line before it.
        insn = self.path.insns[index]
        place = self.place(index)
        if not state and register:
            words = self.path.result(index, register)
            if not words and not writes(insn, register):
                words = self.path.value(index, register)
            state = short(words) if words and not _BYTES.fullmatch(words) else ""
        line, source = (place.line, place.source) if place else (None, "")
        return Step(insn.number, line, None, source, register, state, what)

    def beginning(self, what: str) -> Step:
        # A step at the head of the program, where the cell shows it.
        first = self.step(0, what, "R1", "context")
        lines = without_comments(self.cell)
        found = function_at(lines, first.line) if self.cell and first.line else None
        return replace(first, line=found.first, source=lines[found.first - 1].strip()) if found else first

    def place(self, index: int) -> Place | None:
        # The cell's line that an instruction belongs to.
        for insn in reversed(self.path.insns[max(0, index - 500) : index + 1]):
            place = insn.place
            if place is None or place.line == 0 or (place.file is not None and not self.is_cell(place.file)):
                continue
            if place.source or place.line:
                return place
        return None


def tell(case: Case) -> tuple[Step, ...]:
    """Tell how a refusal came about, first cause first; empty where the log does not tell."""
    from . import causes

    if not case.path.insns:
        return ()
    told: Iterable[Step] = ()
    text = "\n".join(case.said) or case.message
    for regex, walk in causes.MESSAGES:
        if match := re.search(regex, text):
            told = walk(case, {k: v or "" for k, v in match.groupdict().items()})
            break
    else:
        told = causes.KINDS.get(case.cause, causes.OTHERS)(case, case.words)
    steps = list(told)
    return tuple(_merged(steps)[:_MOST])


def _merged(steps: Sequence[Step]) -> list[Step]:
    # Without the same sentence on the same line twice in a row.
    kept: list[Step] = []
    for step in steps:
        if not kept or (kept[-1].line, kept[-1].what) != (step.line, step.what):
            kept.append(step)
    return kept
