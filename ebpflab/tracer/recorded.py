"""What a bpftrace program printed, kept in a file, and shown where the kernel cannot be used.

The file is JSON, packed by gzip: the program, its stages and programs, and each line of bpftrace's output with the
time at which it was read (UTC nanoseconds). It lies beside the recordings of ``%%bpf`` cells, as
``NAME.bpftrace.json.gz``.
"""

from __future__ import annotations

import gzip
import json
import os
import platform
from pathlib import Path

from ..errors import EbpflabError, ToolMissingError
from ..recording import fallback
from .programs import Program
from .trace import Trace

SUFFIX = ".bpftrace.json.gz"


def save(trace: Trace, path: str | os.PathLike[str]) -> Path:
    """Write what a program has printed so far to a file; returns its path.

    Examples
    --------
    >>> save(t, "reads.bpftrace.json.gz")
    """
    tables = [
        [at, json.dumps({"type": m.kind, "data": {m.name: m.data}})]
        for printed in trace.maps.values()
        for at, m in list(printed._prints)
    ]
    lines = [[at, line.decode("utf-8", "replace")] for at, line in list(trace.events._kept)]
    whole = {
        "source": trace.source,
        "kernel": platform.release(),
        "began": trace._began,
        "ended": trace._ended,
        "stages": trace._stages,
        "programs": [program._asdict() for program in trace._programs],
        "lost": trace.lost,
        "lines": sorted([*tables, *lines], key=lambda each: int(str(each[0]))),
    }
    target = Path(path)
    target.write_bytes(gzip.compress(json.dumps(whole).encode(), mtime=0))
    return target


def load(path: str | os.PathLike[str], name: str | None = None) -> Trace:
    """Read such a file: a trace in the state ``recorded``.

    Raises
    ------
    EbpflabError
        When it cannot be read.

    Examples
    --------
    >>> load("reads.bpftrace.json.gz").maps["@sizes"].df()
    """
    try:
        whole = json.loads(gzip.decompress(Path(path).read_bytes()))
        trace = Trace(whole["source"], name or Path(path).name.removesuffix(SUFFIX))
        trace._began, trace._ended = whole["began"], whole["ended"]
        trace._stages = tuple((str(stage), float(ms), str(detail)) for stage, ms, detail in whole["stages"])
        trace._programs = [Program(**program) for program in whole["programs"]]
        trace.events._lose(whole["lost"])
        for at, line in whole["lines"]:
            trace._take(int(at), line.encode())
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "`make recordings` makes it again"
        raise EbpflabError(f"{path} cannot be read: {error}", hint=hint, stage="replay") from error
    return trace


def instead(name: str, source: str, missing: ToolMissingError | None = None) -> tuple[Trace, str] | None:
    """Return the recording of a cell where the kernel cannot be used, and a sentence that says so; else None.

    Where only bpftrace is missing, the cell must be the recorded one.
    """
    reason = fallback.why_not() if missing is None else fallback.lacking(missing)
    if reason is None:
        return None
    found = [load(path, name) for path in fallback._paths(name, SUFFIX)]
    if not found:
        return None
    same = [trace for trace in found if trace.source.strip() == source.strip()]
    if missing is not None and not same:
        return None
    changed = "" if same else " The cell was changed since; the recording is of its old text."
    return (same or found)[0], f"A recording, since {reason.partition(' (')[0]}.{changed}"
