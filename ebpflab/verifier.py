"""What the verifier's log says, in a few lines: the cell's line, what was wrong, why, and what to do.

`explain` reads text and nothing else: no kernel, no object file, no cell. It takes the logs of Linux 5.10 to
7.3: the refusing line and the instruction before it (kernel/bpf/verifier.c), the C text that the kernel has
from BTF line records (``; v->n += 1; @ cell:15``; before Linux 6.9 without the place), and the report that
Linux 7.3 adds (kernel/bpf/diagnostics.c: ``Verification failed: CATEGORY: PROBLEM``, then Reason, At, Causal
path, Suggestion). Older logs are sorted into the same nine categories by the table `PATTERNS`.

A log can be 30 MB long, so only its last part is ever split into lines.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .verifier_messages import CATEGORIES, NULL, NUMBER, PATTERNS, Pattern

__all__ = ["CATEGORIES", "Explanation", "explain", "locate"]

_TAIL = 256 * 1024  # characters: the refusal, its instruction and its states are far shorter than this
_LINE = 2000  # characters of one line that the patterns look at
_MOST_WORDS = 40  # lines after the last instruction that are looked at
_WIDTH = 160  # a longer line is cut in `str(explanation)`


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
        One sentence each: what it means, what to do. Empty if the message is not known here.
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
    lines: int = 0
    truncated: bool = False
    insns_processed: int | None = None

    def __str__(self) -> str:
        parts = [self.message]
        if self.category:
            parts.append(f"  {self.category}")
        if self.line is not None or self.source:
            place = "in the cell" if self.line is None else f"line {self.line}"
            parts.append(f"  {place}: {self.source}" if self.source else f"  {place}")
        if self.instruction:
            parts.append("  instruction {}: {}".format(*self.instruction))
        if (name := _register_named(self.message)) in self.registers:
            parts.append(f"  {name} is {self.registers[name]}")
        if self.meaning:
            parts.append(f"  why: {self.meaning}")
        if self.fix:
            parts.append(f"  fix: {self.fix}")
        count = "" if self.insns_processed is None else f"; instructions verified: {self.insns_processed:,}"
        parts.append(f"  (log: {self.lines:,} lines{', cut short' if self.truncated else ''}{count})")
        return "\n".join(_shorten(part) for part in parts)


_INSTRUCTION = re.compile(r"(\d{1,9}): (\([0-9a-f]{2}\) [^;]*?|<[^;]*?)\s*(?:;.*| \d+: (?:frame\d+: ?)?R\d.*)?$")
_STATE = re.compile(r"(?:^|[\s:])(?:frame\d+: ?)?(R\d+(?:_\w+)?=.*)$")
_VALUE = re.compile(r"\b(R\d+|fp-\d+)(?:_\w+)?=((?:[^\s()]|\((?:[^()]|\([^()]*\))*\))*)")
# A path begins, or an instruction may have changed registers that the kernel does not print: a call empties
# R1 to R5 and what it releases, a comparison narrows every copy of what it compares.
_UNCERTAIN = re.compile(r"from \d+ to \d+|\d+: (?:frame\d+: ?)?R\d|(?:caller|callee):|\d+: \(..\) (?:call|if) ")
_RECORD = re.compile(r"; ?(.*) @ ([^@]*):(\d{1,9})$")
_PROCESSED = re.compile(r"^processed (\d{1,12}) insns", re.MULTILINE)
# What the verifier prints beside its verdict: states, statistics, notes about functions; and libbpf's two
# lines around a log.
_ASIDE = re.compile(
    r"$|;| |processed \d+ insns|verification time|stack depth \d|(?:cur|old) state:|-- (?:BEGIN|END) "
    r"|mark_precise:|arg#\d+ reference type\(|(?:caller|callee):|from \d+ to \d+|Validating |Func#"
)
_NULL_TEST = re.compile(r"\(\w\w\) if r\d+ [!=]= (?:0x)?0 goto|^from \d+ to ")
_REPORT = "\nVerification failed: "


def explain(log: str, *, errno: int | None = None, file: str | None = None) -> Explanation:
    r"""Explain a verifier log; text of any kind is taken, nothing is raised.

    Parameters
    ----------
    log
        The text of the log buffer, whole or cut.
    errno
        What the load failed with; it is all there is to say when the log is empty.
    file
        The name that the cell has in the log's records, such as ``cell``. For an instruction of another file
        the last line of the cell before it is given. Without it, every file but headers (``.h``) is the cell.

    Examples
    --------
    >>> explain("0: (95) exit\nR0 !read_ok\nprocessed 1 insns (limit 1000000)").instruction
    (0, '(95) exit')
    """
    at = log.rfind(_REPORT)
    end = len(log) if at < 0 else at
    report = {} if at < 0 else _report(log[at + 1 :])
    tail = log[max(0, end - _TAIL) : end].split("\n")
    processed = _PROCESSED.findall(log[-_TAIL:])
    complete = bool(processed) or log.endswith("\n")
    said = _last_words(tail, complete) or report.get("problem", [])
    pattern, words = _recognise(said)
    if pattern is not None and "reg" in words and pattern.regex is NUMBER and _is_null(tail, words["reg"]):
        pattern = NULL
    # A cut log that ends in no refusal ends anywhere: its last instruction is not the refused one.
    placed = bool(said) if pattern is None else pattern.placed
    message = words.pop("message", "")
    line, source = _last_record(log, end, file) if placed else (None, None)
    known = Explanation(
        message=message or _no_verdict(log, errno),
        line=line,
        source=source,
        instruction=_last_instruction(tail) if placed else None,
        registers=_registers(tail, message) if placed else {},
        category=pattern.category if pattern else None,
        meaning=pattern.meaning.format(**words) if pattern else "",
        fix=pattern.fix.format(**words) if pattern else "" if said else "Load again with a larger log buffer.",
        lines=log.count("\n") + (not log.endswith("\n") and bool(log)),
        truncated=bool(log) and not processed,
        insns_processed=int(processed[-1]) if processed else None,
    )
    if not report:
        return known
    explained = _with_report(known, report, file)
    # Of a pointer found to be NULL the kernel, too, says only that it is a number: then the table knows better.
    return replace(explained, meaning=known.meaning, fix=known.fix) if pattern is NULL else explained


def locate(source_text: str, cell_text: str) -> int | None:
    r"""Return the 1-based line of a cell that holds this C text, or None if it is nowhere or not unique.

    Kernels before Linux 6.9 print the text of a line without its number, stripped of blanks at both ends.

    Examples
    --------
    >>> locate("return 0;", "int f(void) {\n  return 0;\n}")
    2
    """
    wanted = source_text.strip()
    found = [n for n, line in enumerate(cell_text.split("\n"), 1) if line.strip() == wanted]
    return found[0] if wanted and len(found) == 1 else None


def _last_words(tail: list[str], complete: bool) -> list[str]:
    # The lines after the last instruction, without asides. Half a line, where the log was cut, says nothing.
    said: list[str] = []
    for line in reversed(tail if complete else tail[:-1]):
        if _INSTRUCTION.match(line, 0, _LINE) or len(said) == _MOST_WORDS:
            break
        if not _ASIDE.match(line) and not _STATE.search(line):
            said.append(line.strip())
    return said[::-1]


def _recognise(said: list[str]) -> tuple[Pattern | None, dict[str, str]]:
    # The row of the table for these lines, and its groups; "message" is the line that matched, or the last.
    for pattern in PATTERNS:
        for line in reversed(said):
            if match := pattern.regex.search(line, 0, _LINE):
                return pattern, {"message": line} | {k: v or "" for k, v in match.groupdict().items()}
    return None, {"message": said[-1]} if said else {}


def _is_null(tail: list[str], register: str) -> bool:
    # Whether the register is a pointer that a test found to be NULL: on that path it is the number 0, and the
    # message says no more than "scalar". Back from the refusal it has to be 0 wherever it is shown, up to the test.
    # (Linux 6.3 and later show states behind instructions, older kernels on lines of their own.)
    shown = re.compile(rf"\b{register}(?:_\w+)?=(\S+)")
    written = re.compile(rf"\(\w\w\) [rw]{register[1:]} \S*= ")
    zero = False
    for line in reversed(tail):
        if match := shown.search(line, 0, _LINE):
            zero = match[1] in ("0", "inv0", "P0")
            if not zero:
                return False
        if zero and _NULL_TEST.search(line, 0, _LINE):
            return True
        if written.search(line, 0, _LINE):
            return False
    return False


def _no_verdict(log: str, errno: int | None) -> str:
    what = "the log was cut before the verifier's verdict" if log.strip() else "the kernel left no verifier log"
    return f"{os.strerror(abs(errno))}: {what}" if errno else what


def _last_instruction(tail: list[str]) -> tuple[int, str] | None:
    for line in reversed(tail):
        if match := _INSTRUCTION.match(line, 0, _LINE):
            return int(match[1]), match[2]
    return None


def _last_record(log: str, end: int, file: str | None) -> tuple[int | None, str | None]:
    # The kernel prints a record only when the line changes, so the last one can be far before the tail.
    # Compiler-made instructions have line 0, those of inlined helpers name a header: then the cell's line is
    # the one before, unless another path through the program lies between.
    floor, skipped = 0, False
    while (at := log.rfind("\n;", floor, end)) >= 0:
        stop = log.find("\n", at + 1, end)
        record = log[at + 1 : end if stop < 0 else stop]
        match = _RECORD.match(record)
        if match is None:
            return None, record[1:].strip() or None
        if int(match[3]) and _is_cell(match[2], file):
            return int(match[3]), match[1].strip() or None
        if not skipped:
            floor, skipped = max(0, log.rfind("\nfrom ", 0, end)), True
        end = at
    return None, None


def _is_cell(name: str, file: str | None) -> bool:
    # Line records have base names, reports of Linux 7.3 the whole path.
    return not name.endswith(".h") if file is None else name.rpartition("/")[2] == file.rpartition("/")[2]


def _register_named(message: str) -> str:
    match = re.search(r"\bR\d+\b", message)
    return match[0] if match else ""


def _registers(tail: list[str], message: str) -> dict[str, str]:
    # The last state shows only what the last instruction changed. The register at fault may have been set
    # earlier; it is looked for back to where its state would no longer be certain.
    wanted = "" if "!read_ok" in message else _register_named(message)
    shown: dict[str, str] = {}
    refused = True  # the last instruction itself was not carried out
    for line in reversed(tail):
        if line.startswith((";", "old state:")):
            continue
        if match := _STATE.search(line):
            state = dict(_VALUE.findall(match[1]))
            shown = shown or state
            if wanted in state:
                return shown | {wanted: state[wanted]}
        if shown and not wanted:
            break
        if _UNCERTAIN.match(line) and not refused:
            wanted = ""
        refused = refused and not _INSTRUCTION.match(line, 0, _LINE)
    return shown


def _report(text: str) -> dict[str, list[str]]:
    # The sections of a Linux 7.3 report, lines as they are; "category" and "problem" are its heading.
    heading, *rest = text.split("\n")
    category, _, problem = heading.partition(": ")[2].partition(": ")
    sections: dict[str, list[str]] = {"category": [category], "problem": [problem] if problem else []}
    lines: list[str] = []
    for line in rest:
        if line.startswith("processed "):
            break
        if match := re.match(r"([A-Z][A-Za-z ]+):$", line):
            lines = sections.setdefault(match[1], [])
        elif line.strip():
            lines.append(line)
    return sections


def _with_report(known: Explanation, report: dict[str, list[str]], file: str | None) -> Explanation:
    # The kernel's own explanation replaces the table's. "At" holds two excerpts with the faulty row marked.
    place, _, instructions = "\n".join(report.get("At", [])).partition("  Instruction context:")
    found = re.match(r"  (?:\S+ @ )?(.+):(\d{1,9}):(\d{1,9})$", place, re.MULTILINE)
    if found and int(found[2]) and _is_cell(found[1], file):
        row = re.search(r"^  >>> *\d+ \| (.*)$", place, re.MULTILINE)
        source = row[1].strip() if row else None
        known = replace(known, line=int(found[2]), column=int(found[3]) or None, source=source)
    insn = re.search(r"^  >>> *(\d{1,9}) \| (.*)$", instructions, re.MULTILINE)
    return replace(
        known,
        category=report["category"][0] or known.category,
        meaning=_joined(report.get("Reason")) or known.meaning,
        fix=_joined(report.get("Suggestion")) or known.fix,
        instruction=(int(insn[1]), insn[2]) if insn else known.instruction,
    )


def _joined(lines: list[str] | None) -> str:
    return " ".join(line.strip() for line in lines or [])


def _shorten(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
