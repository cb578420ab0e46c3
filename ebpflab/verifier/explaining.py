"""What the verifier's log says, in a few lines: the cell's line, what was wrong, how it came about, what to do.

`explain` reads text and nothing else: no kernel, no object file. It takes the logs of Linux 5.10 to 7.3: the
refusing line and the instruction before it (kernel/bpf/verifier.c), the C text that the kernel has from BTF line
records (``; v->n += 1; @ cell:15``; before Linux 6.9 without the place), and the report that Linux 7.3 adds
(kernel/bpf/diagnostics.c). Older logs are sorted into the same nine categories by the table `PATTERNS`.

A log can be 30 MB long, so only its last part is ever split into lines.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import partial

from . import fix as fixes
from . import remedies
from . import report as reports
from .explanation import Explanation, Step, register_named
from .log import INSTRUCTION, RECORD, STATE, Path, read
from .messages import NULL, NUMBER, PATTERNS, Pattern
from .story import Case, tell
from .values import registers

_TAIL = 192 * 1024  # characters: the refusal, its instruction and its states are far shorter than this
_FAR = 512 * 1024  # how far back the story is looked for, where the tail does not hold its beginning
_WORDS = 400  # characters of one line that the patterns look at; no message of the kernel is longer
_MOST_WORDS = 16  # lines after the last instruction that are looked at

# A path begins, or an instruction may have changed registers that the kernel does not print: a call empties
# R1 to R5 and what it releases, a comparison narrows every copy of what it compares.
_UNCERTAIN = re.compile(r"from \d+ to \d+|\d+: (?:frame\d+: ?)?R\d|(?:caller|callee):|\d+: \(..\) (?:call|if) ")
_PROCESSED = re.compile(r"^processed (\d{1,12}) insns", re.MULTILINE)
_GLUED = re.compile(r"(?<=[^\n])processed (?=\d{1,12} insns \(limit )")  # behind a message that lacks its newline
# What the verifier prints beside its verdict: states, statistics, notes about functions; and libbpf's two
# lines around a log.
_ASIDE = re.compile(
    r"$|;| |processed \d+ insns|verification time|stack depth \d|(?:cur|old) state:|-- (?:BEGIN|END) "
    r"|mark_precise:|arg#\d+ reference type\(|(?:caller|callee):|from \d+ to \d+|Validating |Func#"
    r"|last_idx \d|regs=[0-9a-f]+ stack=|parent (?:didn't|already)"
)
_NULL_TEST = re.compile(r"\(\w\w\) if r\d+ [!=]= (?:0x)?0 goto|^from \d+ to ")


def explain(log: str, *, errno: int | None = None, file: str | None = None, cell: str | None = None) -> Explanation:
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
    cell
        The text of the cell. With it the steps of the story have lines on kernels before Linux 6.9, too, and
        there is a snippet where the mending is certain.

    Examples
    --------
    >>> explain("0: (95) exit\nR0 !read_ok\nprocessed 1 insns (limit 1000000)").instruction
    (0, '(95) exit')
    """
    log = _unglued(log)
    at = log.rfind(reports.HEADING)
    end = len(log) if at < 0 else at
    report = None if at < 0 else reports.parse(log[at + 1 :])
    known, case, pattern = _by_table(log, end, report.problem if report else "", errno, file)
    case = replace(case, cell=cell or "")
    # Of a pointer found to be NULL, or given back before, the kernel says only that it is a number.
    knows_better = pattern is NULL
    if case.said:
        case, story = _story(log, end, case)
        known = replace(known, story=story)
        if known.line is None and case.path.insns and (place := case.place(case.at)):
            known = replace(known, line=place.line, source=known.source or place.source)
        precise = remedies.applied(known, case)
        knows_better, known = knows_better or precise.meaning != known.meaning, precise
    if report is not None:
        kernel = reports.merge(known, report, case.is_cell)
        fix = known.fix if pattern is NULL else kernel.fix
        known = replace(kernel, meaning=known.meaning, fix=fix) if knows_better else kernel
    snippet = fixes.snippet(known, case)
    return replace(known, snippet=snippet.text, snippet_line=snippet.line, snippet_replaces=snippet.replaces)


def _by_table(
    log: str, end: int, problem: str, errno: int | None, file: str | None
) -> tuple[Explanation, Case, Pattern | None]:
    # What the last lines and the table of messages tell; the case has no `said` if the fault has no place.
    tail = log[max(0, end - _TAIL) : end].split("\n")
    processed = _PROCESSED.findall(log[-_TAIL:])
    said = _last_words(tail, bool(processed) or log.endswith("\n")) or ([problem] if problem else [])
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
    cause = pattern.cause if pattern else ""
    is_cell = partial(_is_cell, file=file)
    return known, Case(Path(), message, said if placed else [], cause, words, is_cell), pattern


def _unglued(log: str) -> str:
    start = log.rfind("processed ")
    return f"{log[:start]}\n{log[start:]}" if start > 0 and _GLUED.match(log, start) else log


def _story(log: str, end: int, case: Case) -> tuple[Case, tuple[Step, ...]]:
    # The path to the refusal, and its story; farther back where the tail does not hold the beginning.
    story: tuple[Step, ...] = ()
    for size in (_TAIL, _FAR):
        path = read(_whole_lines(log, end, size), partial(_nearest, cell_text=case.cell) if case.cell else None)
        case = replace(case, path=path)
        story = tell(case)
        if size >= end or not path.lost:
            break
    return case, story


def _whole_lines(log: str, end: int, size: int) -> str:
    start = max(0, end - size)
    return log[log.find("\n", start, end) + 1 if start else 0 : end]


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


def _nearest(text: str, before: int, cell_text: str) -> int | None:
    # The line with this text; of several the first that is not above the line before it on the path.
    found = [n for n, line in enumerate(cell_text.split("\n"), 1) if line.strip() == text] if text else []
    return next((n for n in found if n >= before), None) if len(found) != 1 else found[0]


def _last_words(tail: list[str], complete: bool) -> list[str]:
    # The lines after the last instruction, without asides. Half a line, where the log was cut, says nothing.
    said: list[str] = []
    for line in reversed(tail if complete else tail[:-1]):
        if INSTRUCTION.match(line, 0, _WORDS) or len(said) == _MOST_WORDS:
            break
        if not _ASIDE.match(line) and not STATE.search(line):
            said.append(line.strip())
    return said[::-1]


def _recognise(said: list[str]) -> tuple[Pattern | None, dict[str, str]]:
    # The row of the table for these lines, and its groups; "message" is the line that matched, or the last.
    for pattern in PATTERNS:
        for line in reversed(said):
            if match := pattern.regex.search(line, 0, _WORDS):
                return pattern, {"message": line} | {k: v or "" for k, v in match.groupdict().items()}
    return None, {"message": said[-1]} if said else {}


def _is_null(tail: list[str], register: str) -> bool:
    # Whether the register is a pointer that a test found to be NULL: on that path it is the number 0, and the
    # message says no more than "scalar". Back from the refusal it has to be 0 wherever it is shown, up to the test.
    # (Linux 6.3 and later show states behind instructions, older kernels on lines of their own.)
    shown = re.compile(rf"\b{re.escape(register)}(?:_\w+)?=(\S+)")
    written = re.compile(rf"\(\w\w\) [rw]{re.escape(register[1:])} \S*= ")
    zero = False
    for line in reversed(tail):
        if match := shown.search(line, 0, _WORDS):
            zero = match[1] in ("0", "inv0", "P0")
            if not zero:
                return False
        if zero and _NULL_TEST.search(line, 0, _WORDS):
            return True
        if written.search(line, 0, _WORDS):
            return False
    return False


def _no_verdict(log: str, errno: int | None) -> str:
    what = "the log was cut before the verifier's verdict" if log.strip() else "the kernel left no verifier log"
    return f"{os.strerror(abs(errno))}: {what}" if errno else what


def _last_instruction(tail: list[str]) -> tuple[int, str] | None:
    for line in reversed(tail):
        if match := INSTRUCTION.match(line, 0, _WORDS):
            return int(match[1]), match[2]
    return None


def _last_record(log: str, end: int, file: str | None) -> tuple[int | None, str | None]:
    # The kernel prints a record only when the line changes, so the last one can be far before the tail.
    # Compiler-made instructions have line 0, those of inlined helpers name a header: then the cell's line is
    # the one before, unless another path through the program lies between.
    floor, skipped = 0, False
    while end >= 0:
        at = log.rfind("\n;", floor, end)
        if at < 0 and (floor or not log.startswith(";", 0, end)):
            break
        stop = log.find("\n", at + 1, end)
        record = log[at + 1 : end if stop < 0 else stop]
        match = RECORD.match(record)
        if match is None:
            return None, record[1:].strip() or None
        if int(match[3]) and _is_cell(match[2], file):
            return int(match[3]), match[1].strip() or None
        if not skipped:
            floor, skipped = max(0, log.rfind("\nfrom ", 0, end)), True
        end = at  # -1 in front of a record on the log's first line
    return None, None


def _is_cell(name: str, file: str | None) -> bool:
    # Line records have base names, reports of Linux 7.3 the whole path.
    return not name.endswith(".h") if file is None else name.rpartition("/")[2] == file.rpartition("/")[2]


def _registers(tail: list[str], message: str) -> dict[str, str]:
    # The last state shows only what the last instruction changed. The register at fault may have been set
    # earlier; it is looked for back to where its state would no longer be certain.
    named = register_named(message)
    wanted = "" if "!read_ok" in message else named
    shown: dict[str, str] = {}
    refused = True  # the last instruction itself was not carried out
    for line in reversed(tail):
        if line.startswith((";", "old state:")):
            continue
        if match := STATE.search(line):
            state = registers(match[2])
            shown = shown or state
            if wanted in state:
                return shown | {wanted: state[wanted]}
        if shown and not wanted:
            break
        if _UNCERTAIN.match(line) and not refused:
            wanted = ""
        refused = refused and not INSTRUCTION.match(line, 0, _WORDS)
    return {name: words for name, words in shown.items() if name != named}
