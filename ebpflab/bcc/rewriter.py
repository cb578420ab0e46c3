"""BCC's C rewritten to plain C, by BCC itself, in a child process.

The child lives for one program: it may crash, hang or print what it wants, and any number of them work side by side.
"""

from __future__ import annotations

import contextlib
import re
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..cell import Cell
from ..errors import CompileError, EbpflabError, PrivilegeError, ToolMissingError
from ..toolchain import install_hint
from . import held, library, process, tree
from .tree import Tree

_TIMEOUT = 120.0  # seconds; the slowest of BCC's own tools takes 2 on an idle machine
_MEMORY = 2 << 30  # bytes of address space; the largest of BCC's own tools take a tenth of it
_SHOWN = 5  # errors in a message; the log has all
# An implicit function would become a call that nothing resolves. The other two: since 7.x, the kernel's structs have
# others with a tag as anonymous members, and real headers show it.
_FLAGS = ("-Werror=implicit-function-declaration", "-fms-extensions", "-Wno-microsoft-anon-tag")
_START = re.compile(
    rb"^#if defined\(BPF_LICENSE\)\n#error [^\n]*\n#endif\n"
    rb"(?:#if !defined\(CONFIG_CC_STACKPROTECTOR\)\n(?:[^\n]*\n)*?#endif\n#endif\n)?",
    re.MULTILINE,
)
_LINE = re.compile(r"(/virtual/main\.c:)(\d+)")
_END = b"\n#include <bcc/footer.h>"
_CHATTER = re.compile(
    rb"^(?:Running from kernel directory at: |clang -cc1 |\d+ (?:warning|error)s? (?:and|generated)).*\n", re.MULTILINE
)
# What LLVM and the C++ library say when they get no more memory: the child has a limit.
_EXHAUSTED = re.compile(r"out of memory|std::bad_alloc|Allocation failed|Resource limit \(heap\)", re.IGNORECASE)
_LARGE = "a macro that grows with each use, an #include of itself or a loop that is unrolled may be the cause"
_FORBIDDEN = re.compile(r"could not open bpf map: .*Operation not permitted")
# Words of an error that a type missing from the program's part of the kernel's types can cause.
_MISSING = re.compile(r"incomplete|undeclared|unknown type|no member|undefined|not complete|forward declaration")


class RewriteError(CompileError):
    """BCC refused a program; ``log`` is all that it printed, with places as ``/virtual/main.c:LINE:COLUMN``.

    ``rewritten`` is what BCC had made of the program, if it came that far. Its code generator speaks of the lines of
    that text, in the last ``generated`` characters of the log.
    """

    def __init__(self, what: str, *, log: str, **more: Any) -> None:
        super().__init__(what, **more)
        self.log = log
        self.rewritten = ""
        self.generated = 0


@dataclass(frozen=True)
class Table:
    """A map as BCC describes it.

    ``type`` is the kernel's ``BPF_MAP_TYPE_*`` number, sizes are in bytes; ``key_desc`` and ``leaf_desc`` are JSON,
    and ``fields`` the members of the records of a ring or perf buffer, as ``pid#u32``.
    """

    name: str
    type: int
    key_desc: str
    leaf_desc: str
    key_size: int
    leaf_size: int
    max_entries: int
    flags: int
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Rewritten:
    """A program as plain C, but for the macros and types of BCC's helpers.h.

    ``functions`` are sorted, and ``tables`` as the program has them: ``bpf_pseudo_fd(1, -N)`` is the N-th. ``log`` is
    what the compiler said, and ``headers`` the kernel types that it saw: ``subset``, ``whole``, or the folder given.
    ``tree`` is what stood in for the kernel's headers, None if a folder was given; its folder is gone.
    """

    text: str
    functions: tuple[str, ...]
    tables: tuple[Table, ...]
    license: str
    log: str
    headers: str = "subset"
    tree: Tree | None = field(default=None, repr=False, compare=False)


def rewrite(
    text: str, cflags: Sequence[str] = (), *, local: Sequence[Path] = (), headers: Path | None = None
) -> Rewritten:
    """Rewrite a program of BCC's dialect to plain C.

    Parameters
    ----------
    text
        The program.
    cflags
        Options for BCC's clang, such as ``-DX=1``.
    local
        Folders of the program's own headers.
    headers
        A folder of real kernel headers to use instead of the running kernel's types.

    Raises
    ------
    RewriteError
        BCC refused the program, crashed, or did not come to an end.
    PrivilegeError
        This process may not make maps, as BCC does on the way.
    CellError, ToolMissingError, KernelSupportError
        The program is empty or holds a NUL; the others see :func:`.tree.write`.

    Examples
    --------
    >>> rewrite("BPF_HASH(counts, u32); int f(void *ctx) { return 0; }").functions
    ('f',)
    """
    program = Cell(text, cflags=tuple(cflags))
    if headers is not None:
        return _run(text, (*_FLAGS, *cflags, *(f"-I{folder}" for folder in local)), headers, str(headers))
    try:
        return _with_tree(program, cflags, local, whole=False)
    except RewriteError as error:
        if not _MISSING.search(error.log):
            raise
    # A type that only a macro names, or a member reached through a helper's result, is not in the subset.
    return _with_tree(program, cflags, local, whole=True)


def _with_tree(program: Cell, cflags: Sequence[str], local: Sequence[Path], *, whole: bool) -> Rewritten:
    with tempfile.TemporaryDirectory(prefix="ebpflab-bcc-") as folder:
        made = tree.write(Path(folder), program, local=local, whole=whole)
        rewritten = _run(program.source, (*_FLAGS, *cflags, *made.flags), made.root, "whole" if whole else "subset")
        return replace(rewritten, tree=made)


def _run(text: str, flags: Sequence[str], source: Path, headers: str) -> Rewritten:
    asking = held.asking(text)
    if asking != text:
        with contextlib.suppress(RewriteError):  # what is wrong with the program is told without the questions
            return _numbered(_run_as_it_is(asking, flags, source, headers), text)
    return _numbered(_run_as_it_is(text, flags, source, headers), text)


def _numbered(made: Rewritten, program: str) -> Rewritten:
    text, tables = held.numbered(made.tables, made.text, program)
    return replace(made, text=text, tables=tables)


def _run_as_it_is(text: str, flags: Sequence[str], source: Path, headers: str) -> Rewritten:
    question = {
        "text": text,
        "flags": list(flags),
        "source": str(source.absolute()),
        "memory": _MEMORY,
        "seconds": int(2 * _TIMEOUT) + 1,
    }
    path = library.find_libbcc()
    outcome = process.ask(path, question, _TIMEOUT)
    rewritten, log, generated = _taken_apart(outcome.printed)
    if not outcome.loaded:
        raise ToolMissingError(f"{path} cannot be loaded", details=log.split("\n")[-1:], hint=install_hint(["libbcc"]))
    if outcome.answer is None:
        error = _refused(outcome, log)
        if isinstance(error, RewriteError):
            error.rewritten, error.generated = rewritten, generated
        raise error
    tables = tuple(Table(**{**table, "fields": tuple(table["fields"])}) for table in outcome.answer["tables"])
    return Rewritten(rewritten, tuple(outcome.answer["functions"]), tables, outcome.answer["license"], log, headers)


def _taken_apart(printed: bytes) -> tuple[str, str, int]:
    # The rewritten program, the rest of what was printed, and how much of that was printed behind the program.
    start, end = _START.search(printed), printed.rfind(_END)
    if start is None or end < start.end():
        return "", _said(printed), 0
    before = start[0].count(b"\n")  # which the code generator counts as lines of the program
    behind = _said(printed[end + len(_END) :].partition(b"\n")[2])
    behind = _LINE.sub(lambda match: f"{match[1]}{int(match[2]) - before}", behind)
    log = "\n".join(filter(None, (_said(printed[: start.start()]), behind)))
    return printed[start.end() : end].decode("utf-8", "surrogateescape"), log, len(behind)


def _said(printed: bytes) -> str:
    return _CHATTER.sub(b"", printed).decode("utf-8", "replace").strip()


def _refused(outcome: process.Outcome, log: str) -> EbpflabError:
    last = log.split("\n")[-12:]
    if _FORBIDDEN.search(log):
        hint = "run as root, or give this process CAP_BPF and CAP_PERFMON"
        what = "the kernel does not let this process make maps, and BCC makes those of a program while it compiles"
        return PrivilegeError(what, cause="CAP_BPF", hint=hint, details=last)
    if outcome.late:
        what = f"BCC did not come to an end within {_TIMEOUT:.0f} s"
        return RewriteError(what, log=log, details=last, hint=_LARGE)
    if _EXHAUSTED.search(log) and (outcome.signal or outcome.answer is None):
        what = f"BCC's compiler needs more memory for this cell than the {_MEMORY >> 20} MiB that it gets"
        return RewriteError(what, log=log, details=last, hint=_LARGE)
    if outcome.signal:
        name = signal.Signals(outcome.signal).name
        return RewriteError(f"BCC's compiler crashed ({name}), in a process of its own", log=log, details=last)
    errors = [line for line in log.split("\n") if re.search(r"\berror: ", line)]
    what = errors[0].partition("error: ")[2] if errors else "BCC refused the program"
    return RewriteError(what, log=log, details=errors[:_SHOWN] or last)
