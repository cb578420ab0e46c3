# The report that Linux 7.3 adds to its log (kernel/bpf/diagnostics.c), brought into the same form as the rest:
# "Verification failed: CATEGORY: PROBLEM", then Reason, At, Causal path, Suggestion.

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from .explanation import Explanation, Step

HEADING = "\nVerification failed: "
_SECTION = re.compile(r"([A-Z][A-Za-z ]+):$")
_PLACE = re.compile(r"  (?:\S+ @ )?(\S.*):(\d{1,9}):(\d{1,9})$")
_SOURCE_ROW = re.compile(r"  >>> *\d{1,9} \| (.*)$")
_INSN_ROW = re.compile(r"  >>> *(\d{1,9}) \| (\(?.*)$")
_NOTE = re.compile(r" *\| *\^-- (?:([a-z ]+): )?(.*)$")
_MORE = re.compile(r" {9,}\| {6,}(\S.*)$")
_CHANGE = re.compile(r"(R\d+|fp-?\d+|stack slot \S+) changed from (.*) to (.*)$")
_MOST = 40  # steps of a causal path


@dataclass(frozen=True)
class Report:
    # The sections, lines as they are; `category` and `problem` are the heading.
    category: str
    problem: str
    sections: dict[str, list[str]]

    def text(self, section: str) -> str:
        return " ".join(line.strip() for line in self.sections.get(section, []))


def parse(text: str) -> Report:
    # Of a report that begins with its heading.
    heading, *rest = text.split("\n", 400)
    category, _, problem = heading.partition(": ")[2].partition(": ")
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in rest[:400]:
        if match := _SECTION.match(line):
            lines = sections.setdefault(match[1], [])
        elif line[:1].strip():  # the report is indented, and what follows it in the log is not
            break
        elif line.strip():
            lines.append(line)
    return Report(category, problem, sections)


def merge(known: Explanation, report: Report, is_cell: Callable[[str], bool]) -> Explanation:
    """Put the kernel's own words in place of the table's, and its places in place of the log's."""
    at = _events(report.sections.get("At", []), is_cell)
    steps = _events(report.sections.get("Causal path", []), is_cell)[:_MOST]
    steps = [(step, text) for step, text in steps if step.what]
    if at:
        where, text = at[0]
        if where.line:
            known = replace(known, line=where.line, column=where.column, source=where.source or None)
        if where.insn is not None and text:
            known = replace(known, instruction=(where.insn, text))
    columns = {(step.insn, step.line): step.column for step, _ in steps}
    story = [replace(step, column=columns.get((step.insn, step.line))) for step in known.story]
    return replace(
        known,
        category=report.category or known.category,
        meaning=report.text("Reason") or known.meaning,
        fix=_both(known.fix, report.text("Suggestion")),
        story=tuple(story) or tuple(step for step, _ in steps),
    )


def _both(fix: str, suggestion: str) -> str:
    # The table knows the call, and the kernel the case.
    return f"{fix} The kernel suggests: {suggestion}" if fix and suggestion else fix or suggestion


def _events(lines: list[str], is_cell: Callable[[str], bool]) -> list[tuple[Step, str]]:
    # "At" is one event, "Causal path" a list of them: a place, an excerpt of C and one of instructions.
    events: list[tuple[Step, str]] = []
    block: list[str] = []
    for line in lines:
        if _PLACE.match(line) and block:
            events += _event(block, is_cell)
            block = []
        block.append(line)
    return events + _event(block, is_cell)


def _event(lines: list[str], is_cell: Callable[[str], bool]) -> list[tuple[Step, str]]:
    # The step, and the text of its instruction.
    note, source, insn, text = _excerpts(lines)
    place = _PLACE.match(lines[0]) if lines else None
    line = column = None
    if place and int(place[2]) and is_cell(place[1]):
        line, column = int(place[2]), int(place[3]) or None
    if not note and insn is None and line is None:
        return []
    changed = _CHANGE.match(note)
    register, state = (changed[1], changed[3]) if changed else ("", "")
    return [(Step(insn, line, column, source if line else "", register, state, note.rstrip(".")), text)]


def _excerpts(lines: list[str]) -> tuple[str, str, int | None, str]:
    # The note behind the caret, the marked line of C, number and text of the marked instruction.
    note, source, insn, text = "", "", None, ""
    instructions = noting = False
    for row in lines:
        instructions = instructions or row.startswith("  Instruction context:")
        more = _MORE.match(row) if noting else None
        noting = more is not None
        if found := _NOTE.match(row):
            note, noting = found[2], True
        elif more is not None:
            note += f" {more[1]}"
        elif instructions and (found := _INSN_ROW.match(row)):
            insn, text = int(found[1]), found[2]
        elif not instructions and (found := _SOURCE_ROW.match(row)):
            source = found[1].strip()
    return note, source, insn, text
