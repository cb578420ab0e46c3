from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field

_WIDTH = 160  # a longer line is cut in `str(explanation)`
_STEPS = 8  # lines of the story in `str(explanation)`


@dataclass(frozen=True)
class Step:
    """One event in the story of a refusal: what happened to the register, buffer or reference at fault.

    Parameters
    ----------
    insn
        Number of the instruction; None for a place in the cell that has none, such as a declaration.
    line, column
        The place in the cell, 1-based; None where the log does not say.
    source
        The C text of that line, or empty.
    register
        The register or stack slot that it is about, such as ``R6`` or ``fp-8``; empty if there is none.
    state
        What the verifier knew of it from then on, in a few words; empty where the log does not show it.
    what
        One sentence, without the full stop.
    """

    insn: int | None
    line: int | None
    column: int | None
    source: str
    register: str
    state: str
    what: str

    def __str__(self) -> str:
        place = "" if self.line is None else f"line {self.line}: "
        state = f" ({self.register}: {self.state})" if self.state and self.register else ""
        return f"{place}{self.what}{state}"


@dataclass(frozen=True)
class Explanation:
    """Why the verifier refused a program, as far as its log tells.

    Parameters
    ----------
    message
        The kernel's refusing line, such as ``R0 invalid mem access 'map_value_or_null'``.
    line, column
        The place in the cell, 1-based; None where the log does not say. Only Linux 7.3 gives columns.
    source
        The C text of that line; None where clang had no file to read it from.
    instruction
        Number and text of the refused instruction, or None.
    registers
        The last state that the log shows: register, or stack slot such as ``fp-8``, to the kernel's words.
        The register that the message names is there too, if its state is certain.
    category
        One of `CATEGORIES`, the names of Linux 7.3; None if the message is not known here.
    meaning, fix
        What it means, what to do, in a sentence or two. Empty if the message is not known here. With Linux 7.3 the
        meaning is the kernel's own, and its suggestion stands behind the fix.
    story
        How it came about, from the first cause to the refusal; empty where the log does not tell.
    snippet
        C text that mends it, in the cell's own names; empty where it is not certain.
    snippet_line, snippet_replaces
        The line of the cell that the snippet goes before, and how many lines from there on it replaces.
    lines
        Number of lines of the log.
    truncated
        Whether the log was cut: it has no ``processed N insns``.
    insns_processed
        How many instructions the verifier had looked at; None if the log does not say.
    """

    message: str
    line: int | None = None
    column: int | None = None
    source: str | None = None
    instruction: tuple[int, str] | None = None
    registers: Mapping[str, str] = field(default_factory=dict)
    category: str | None = None
    meaning: str = ""
    fix: str = ""
    story: tuple[Step, ...] = ()
    snippet: str = ""
    snippet_line: int | None = None
    snippet_replaces: int = 0
    lines: int = 0
    truncated: bool = False
    insns_processed: int | None = None

    @property
    def cause(self) -> Step | None:
        """The first step of the story: where the fault began; None if there is no story."""
        return self.story[0] if self.story else None

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        parts = [self.message]
        if self.category:
            parts.append(f"  {self.category}")
        if self.line is not None or self.source:
            place = "in the cell" if self.line is None else f"line {self.line}"
            parts.append(f"  {place}: {self.source}" if self.source else f"  {place}")
        if self.instruction:
            parts.append("  instruction {}: {}".format(*self.instruction))
        if (name := register_named(self.message)) in self.registers:
            parts.append(f"  {name} is {self.registers[name]}")
        parts += self._told()
        if self.category is None and not self.fix:
            parts.append("  this message is not known here; the states are the last that the log shows")
        if self.meaning:
            parts += _wrapped("  why: ", self.meaning)
        if self.fix:
            parts += _wrapped("  fix: ", self.fix)
        if self.snippet:
            where = "in place of" if self.snippet_replaces else "before"
            code = textwrap.dedent(self.snippet).split("\n")[:6]
            parts += [f"  for example, {where} line {self.snippet_line}:", *(f"    {line}" for line in code)]
        count = "" if self.insns_processed is None else f"; instructions verified: {self.insns_processed:,}"
        parts.append(f"  (log: {self.lines:,} lines{', cut short' if self.truncated else ''}{count})")
        return "\n".join(_shorten(part) for part in parts)

    def _told(self) -> list[str]:
        # The story; of a long one the beginning and the end.
        steps = [f"    {step}" for step in self.story]
        if len(steps) > _STEPS:
            half = _STEPS // 2
            steps = [*steps[: half - 1], f"    ... {len(steps) - _STEPS + 1} more", *steps[-half:]]
        return ["  how it came about:", *steps] if steps else []


def register_named(message: str) -> str:
    match = re.search(r"\bR\d+\b", message)
    return match[0] if match else ""


def _wrapped(name: str, text: str) -> list[str]:
    # A few lines of a width: what the kernel itself says can be long.
    return textwrap.wrap(
        name + text[: 3 * _WIDTH], _WIDTH, subsequent_indent=" " * len(name), max_lines=3, placeholder=" …"
    )


def _shorten(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
