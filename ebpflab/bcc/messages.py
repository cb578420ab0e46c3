# What BCC's compiler said, as diagnostics of the cell.

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from .. import diagnostics
from ..cell import Cell
from ..errors import CompileError, Diagnostic
from . import lines
from .rewriter import RewriteError

_FILE = "/virtual/main.c"
_NAME = "cell"
_FRAME = re.compile(rf"{re.escape(_FILE)}:(\d+):(\d+): ")


def explained(error: RewriteError, cell: Cell) -> RewriteError:
    """Return the error with the cell's lines: the same frame as that of any other message of a compiler."""
    first = error.log[: len(error.log) - error.generated]
    found = diagnostics.parse(first.replace(_FILE, _NAME), cell.source, _NAME)
    if error.generated and not any("error" in d.severity for d in found):
        numbers = lines.align(cell.source, error.rewritten)
        changed = lines.changed(cell.source, error.rewritten, numbers)
        log = error.log[len(error.log) - error.generated :]
        log = _FRAME.sub(lambda match: f"{_NAME}:{_at(numbers, int(match[1]))}:{match[2]}: ", log)
        found = without_columns(diagnostics.parse(log, cell.source, _NAME), changed)
    if not any("error" in d.severity for d in found):
        return error
    summary = diagnostics.summarise(found)
    better = RewriteError(
        summary.what, log=error.log, where=summary.where, hint=own(summary), details=summary.details, diagnostics=found
    )
    better.rewritten, better.generated = error.rewritten, error.generated
    return better


def own(error: CompileError) -> str | None:
    """Return the hint of an error, unless it is to use this dialect."""
    return None if error.hint and "--engine bcc" in error.hint else error.hint


def _at(numbers: list[int], line: int) -> int:
    return numbers[line - 1] if 0 < line <= len(numbers) else line


def without_columns(found: Iterable[Diagnostic], changed: frozenset[int]) -> tuple[Diagnostic, ...]:
    """Return the messages, without a column on lines that BCC changed."""
    return tuple(
        replace(d, where=replace(d.where, column=None))
        if d.where is not None and d.where.file == _NAME and d.where.line in changed
        else d
        for d in found
    )


def foreign(headers: str) -> Diagnostic:
    """Return the warning that real headers were used."""
    return Diagnostic(
        "warning",
        f"compiled with the kernel headers of {headers}: where they are not exactly the running kernel's, "
        "members are read at wrong places and nothing says so; leave out --headers to use the kernel's own types",
    )


def real_headers(folder: Path) -> list[str]:
    """Return the options for clang to read a tree of real kernel headers, as BCC reads them."""
    arch = {"x86_64": "x86", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    below = (
        f"arch/{arch}/include", f"arch/{arch}/include/generated", "include", f"arch/{arch}/include/uapi",
        f"arch/{arch}/include/generated/uapi", "include/uapi", "include/generated/uapi",
    )  # fmt: skip
    return ["-D__KERNEL__", '-DKBUILD_MODNAME="ebpflab"', "-fno-pic", *(f"-I{folder / name}" for name in below)]
