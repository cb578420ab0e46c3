"""Notebooks where the kernel cannot be used: cells replay recordings that lie beside the notebook.

``notebooks/recordings/NOTEBOOK/`` holds for each ``%%bpf NAME`` of a notebook ``NAME.parquet``, or ``NAME.json`` with
the error that the cell is there to show; in ``lines.json`` what ``%bpf`` lines showed, and in ``verification.json``
what it took to verify the programs of each ``NAME``. ``make recordings`` makes them.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import refusals, verifier
from ..errors import CompileError, Diagnostic, EbpflabError, Location, ToolMissingError, VerifierError
from ..inspectors import kernel
from ..session import Session
from ..verifier.statistics import Statistics

_FOLDER = "recordings"
_TRACEPOINT = 5  # BPF_PROG_TYPE_TRACEPOINT, include/uapi/linux/bpf.h


@functools.cache
def why_not() -> str | None:
    """Return why this process cannot load BPF programs here, or None if it can.

    The kernel is asked, with a program of two instructions.

    Examples
    --------
    >>> why_not()
    'the process lacks CAP_BPF and CAP_PERFMON'
    """
    if sys.platform != "linux":
        return f"BPF is Linux's, and this is {platform.system()}"
    from .. import _probes

    try:
        number = _probes.load(_probes.Program(_TRACEPOINT)).errno
    except ToolMissingError:
        # Without libbpf there is no asking. What can be installed is no reason to show something else.
        known = kernel.facts()
        return None if known.can("CAP_BPF") and known.can("CAP_PERFMON") else "the process lacks CAP_BPF, CAP_PERFMON"
    if number in (errno.EPERM, errno.EACCES):
        return kernel.privilege_cause(number, "load:tracepoint")
    return "this kernel has no bpf(2)" if number == errno.ENOSYS else None


def note() -> str:
    """Return the sentence for the top of a notebook that replays recordings; empty if it need not or cannot."""
    reason = why_not()
    if reason is None or not any(_paths("*", ".parquet")):
        return ""
    return f"This notebook replays recordings: {reason}."


def session(name: str, source: str, missing: ToolMissingError | None = None) -> tuple[Session, str] | None:
    """Replay the recording of a cell where the kernel cannot be used; None where it can, or there is none.

    Where only a tool is missing, the cell must be the recorded one: who writes their own wants to hear of the tool.

    Parameters
    ----------
    name
        The name after ``%%bpf``.
    source
        The cell's C text.
    missing
        What the cell was refused for, where that is a tool.

    Returns
    -------
    tuple of Session and str
        The session, and a sentence that says what it is.

    Raises
    ------
    VerifierError, CompileError
        The recorded one, where the cell is there to show it.
    """
    reason = why_not() if missing is None else lacking(missing)
    if reason is None:
        return None
    refusal = _chosen(_paths(name, ".json"), lambda path: str(_plain(path).get("source")), source)
    if refusal is not None and refusal.same:
        raise _error(_plain(refusal.path), name, reason)
    found = _chosen(_paths(name, ".parquet"), _source, source)
    if found is None or not (found.same or missing is None):
        return None
    from .replay import replay

    played = replay(found.path, speed=None, name=name)
    played._statistics = _verification(found.path.with_name("verification.json"), name)
    changed = "" if found.same else " The cell was changed since; the recording is of its old text."
    return played, f"A recording, since {_brief(reason)}.{changed}"


def lacking(missing: ToolMissingError) -> str:
    """Return what to say of a tool that is missing: that it is, and what installs it.

    Examples
    --------
    >>> lacking(error)
    'bpftrace was not found: apt-get install bpftrace'
    """
    what = missing.what.partition(";")[0]
    return f"{what}: {missing.hint}" if missing.hint else what


def shown(line: str, call: Callable[[], Any]) -> Any:
    """Return what a ``%bpf`` line gives; where the kernel cannot be used, else what it gave when it was recorded.

    Parameters
    ----------
    line
        What stands after ``%bpf``.
    call
        Asks this machine.

    Raises
    ------
    EbpflabError
        What `call` raises, if nothing was recorded.
    """
    try:
        return call()
    except EbpflabError:
        for path in _paths("lines", ".json") if why_not() is not None else ():
            if (data := _plain(path).get(" ".join(line.split()))) is not None:
                return RecordedDisplay(dict(data))
        raise


class RecordedDisplay:
    """What a line showed on the machine of a recording.

    Parameters
    ----------
    data
        By MIME type.
    """

    def __init__(self, data: dict[str, str]) -> None:
        self.data = data

    def __repr__(self) -> str:
        return self.data.get("text/plain", "")

    def _repr_html_(self) -> str | None:
        return self.data.get("text/html")


@dataclass(frozen=True)
class _Choice:
    path: Path
    same: bool  # whether the cell is the recorded one, to the letter


def _folders() -> list[Path]:
    chosen = os.environ.get("EBPFLAB_RECORDINGS")
    if chosen:
        return [Path(folder) for folder in chosen.split(os.pathsep) if folder]
    package = Path(__file__).resolve().parents[1]
    return [Path.cwd() / _FOLDER, package / "notebooks" / _FOLDER, package.parent / "notebooks" / _FOLDER]


def _paths(name: str, suffix: str) -> Iterator[Path]:
    for folder in _folders():
        yield from sorted(folder.glob(f"*/{name}{suffix}"))


def _chosen(paths: Iterator[Path], source_of: Callable[[Path], str], source: str) -> _Choice | None:
    # Two notebooks may use one name for different cells.
    found = [_Choice(path, source_of(path).strip() == source.strip()) for path in paths]
    return next((choice for choice in found if choice.same), found[0] if found else None)


def _source(path: Path) -> str:
    from .reader import Recording

    return Recording(path).about.facts.source


def _plain(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        hint = "`make recordings` makes it again"
        raise EbpflabError(f"{path} cannot be read: {error}", hint=hint, stage="replay") from error
    return found if isinstance(found, dict) else {}


def _verification(path: Path, name: str) -> dict[str, Statistics] | None:
    # What was counted when the cell was recorded; None where that was not kept.
    kept = _plain(path).get(name) if path.exists() else None
    return {program: _statistics(row) for program, row in kept.items()} if kept else None


def _statistics(row: dict[str, Any]) -> Statistics:
    return Statistics(**{**row, "stack": None if row["stack"] is None else tuple(row["stack"])})


def _error(plain: dict[str, Any], name: str, reason: str) -> EbpflabError:
    recorded = f"recorded on Linux {plain['kernel']}, since {_brief(reason)}"
    where = Location(**plain["where"]) if plain["where"] else None
    if "log" not in plain:
        said = tuple(Diagnostic(d["severity"], d["message"], where) for d in plain["diagnostics"])
        details = (*plain["details"], recorded)
        return CompileError(plain["what"], diagnostics=said, where=where, hint=plain["hint"], details=details)
    # The log is explained anew: that takes no kernel, and says what this version knows.
    path = refusals.keep(name, plain["log"])
    explained = verifier.explain(plain["log"], file="cell", cell=plain["source"])
    lines = plain.get("lines", explained.lines)
    end = "" if lines == explained.lines else f", the last {explained.lines:,} kept"
    warned = [text for text in plain["details"] if text.startswith("clang warned here")]
    log = f"whole log: {path} ({lines:,} lines{end})"
    return VerifierError(
        plain["what"],
        program=plain["program"],
        log=plain["log"],
        log_path=str(path),
        explanation=replace(explained, lines=lines),
        where=where,
        hint=explained.fix or None,
        details=tuple(filter(None, (explained.meaning, *warned, recorded, log))),
    )


def _brief(reason: str) -> str:
    # The details are in the note on top of the notebook.
    return reason.partition(" (")[0]
