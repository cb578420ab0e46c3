# What BCC's compiler said, as diagnostics of the cell.

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable
from dataclasses import replace

from .. import diagnostics
from ..cell import Cell
from ..errors import CompileError, Diagnostic
from . import library, lines, macros, wording
from .rewriter import RewriteError

_FILE = "/virtual/main.c"
_NAME = "cell"
_REFUSED = re.compile(r"^could not open bpf map: (\w+), error: (.+)$", re.MULTILINE)
_PLACE = re.compile(rf"{re.escape(_FILE)}:(\d+)")
# The code generator puts the place behind the word, and the function's type before what it has to say.
_GENERATED = re.compile(rf"^error: ({re.escape(_FILE)}:\d+:\d+): in function (\w+) .*?\): ", re.MULTILINE)
# The struct of a tracepoint, which BCC inserts before the probe that names it.
_STRUCT = re.compile(r"struct tracepoint__(\w+) \{\n\tu64 __do_not_use__;\n(?:\t[^\n]*\n)*\};\n")
_PROBE = re.compile(r"\bTRACEPOINT_PROBE\s*\(\s*(\w+)\s*,\s*(\w+)\s*\)|\btracepoint__(\w+)")


def explained(error: RewriteError, cell: Cell) -> RewriteError:
    """Return the error with the cell's lines: the same frame as that of any other message of a compiler."""
    first = placed(error.log[: len(error.log) - error.generated], error.rewritten, cell)
    said = diagnostics.parse(first, cell.source, _NAME)
    if error.generated and not any("error" in d.severity for d in said):
        numbers = lines.align(cell.source, error.rewritten)
        changed = lines.changed(cell.source, error.rewritten, numbers)
        log = _GENERATED.sub(r"\1: error: in function \2: ", error.log[len(error.log) - error.generated :])
        log = _located(log, numbers)
        said = without_columns(diagnostics.parse(log, cell.source, _NAME), changed)
    found = wording.reworded(said)
    if not any("error" in d.severity for d in found):
        return _unmade(error, cell)
    typo = diagnostics.misspelt(said, cell, macros.defined_in(library.header("helpers.h")))
    summary = typo or diagnostics.summarise(found, helpers=_helpers(), bcc=True)
    main = next(d for d in found if "error" in d.severity)
    before = next(d for d in said if "error" in d.severity)
    better = RewriteError(
        summary.what,
        log=error.log,
        where=summary.where,
        hint=summary.hint if typo else wording.hint(before.message, main, cell.code) or own(summary),
        details=summary.details,
        diagnostics=found,
    )
    better.rewritten, better.generated = error.rewritten, error.generated
    return better


def _unmade(error: RewriteError, cell: Cell) -> RewriteError:
    # BCC makes the maps of a cell while it compiles, and a map that the kernel refuses ends that.
    if match := _REFUSED.search(error.log):
        declared, hint = wording.unmade(match[1], match[2], cell.code)
        error.what, error.hint, error.details = f"the kernel refuses the table {match[1]}: {match[2]}", hint, ()
        if declared:
            error.where = cell.line_of(declared.start(1), len(declared[1]))
    return error


@functools.cache
def _helpers() -> dict[str, str]:
    # The helper functions that BCC's header declares, with their prototypes.
    found = re.findall(
        r"^static\s+([\w\s]+\*?)\(\*\s*(bpf_\w+)\)\s*(\([^;=]*\))\s*=", library.header("helpers.h"), re.MULTILINE
    )
    return {name: f"{returns}{name}{' '.join(parameters.split())}" for returns, name, parameters in found}


def placed(log: str, rewritten: str, cell: Cell) -> str:
    """Return what the compiler said of the cell with the cell's lines, where BCC had inserted the tracepoints'."""
    sizes = {match[1]: match[0].count("\n") for match in _STRUCT.finditer(rewritten)}
    inserted: dict[int, int] = {}
    for match in _PROBE.finditer(cell.code):
        line = cell.line_of(match.start()).line
        inserted[line] = inserted.get(line, 0) + sizes.pop(match[3] or f"{match[1]}__{match[2]}", 0)
    count = cell.source.count("\n") + 1
    return _located(log, [line for line in range(1, count + 1) for _ in range(inserted.get(line, 0) + 1)])


def noted(said: str, cell: Cell) -> tuple[Diagnostic, ...]:
    """Return the warnings of BCC's compiler that ours cannot give, since BCC has changed the text before."""
    found = wording.reworded(diagnostics.parse(said, cell.source, _NAME))
    return tuple(d for d in found if wording.worth_telling(d))


def own(error: CompileError) -> str | None:
    """Return the hint of an error as it is for this dialect; None if it is to use this dialect."""
    if error.hint and "--engine bcc" in error.hint:
        return None
    return error.hint and error.hint.replace("use bpf_printk()", "use bpf_trace_printk()")


def _located(log: str, numbers: list[int]) -> str:
    def place(match: re.Match[str]) -> str:
        line = int(match[1])
        return f"{_NAME}:{numbers[line - 1] if 0 < line <= len(numbers) else line}"

    return _PLACE.sub(place, log)


def without_columns(found: Iterable[Diagnostic], changed: frozenset[int]) -> tuple[Diagnostic, ...]:
    """Return the messages, without a column on lines that BCC changed."""
    return tuple(
        replace(d, where=replace(d.where, column=None))
        if d.where is not None and d.where.file == _NAME and d.where.line in changed
        else d
        for d in found
    )


def foreign(release: str) -> Diagnostic:
    """Return the warning that the headers of another kernel were used, whose ``uname -r`` this is."""
    return Diagnostic(
        "warning",
        f"compiled with the headers of {release or 'an unnamed kernel'}, and {os.uname().release} is running: where a "
        "struct differs, its fields are read at wrong offsets, which gives wrong values and no error; leave out "
        "--headers to use the running kernel's own types",
    )
