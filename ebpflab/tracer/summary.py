# What a bpftrace program looks like below its cell, as a document for `formatting`.

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..errors import DecodeError
from ..formatting import Head, Note, Part, Steps, Table, frame_table, number

if TYPE_CHECKING:
    from .trace import Trace

_TONES = {"attached": "ok", "ended": "muted", "closed": "muted", "recorded": "muted"}
_ROWS = 5
_MOST_MAPS = 8


def document(trace: Trace, note: str = "") -> list[Part]:
    # Head, stages, programs, then the first rows of each map and of the lines.
    seconds = (trace._ended or time.time()) - trace._began
    since = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    parts: list[Part] = [Head(trace.name, trace.state, _TONES.get(trace.state, "warning"), f"bpftrace, {since}")]
    parts.append(Steps(trace._stages))
    if trace._programs:
        rows = tuple((p.name, p.xlated_bytes // 8, p.jited_bytes) for p in trace._programs)
        parts.append(Table(("program", "instructions", "bytes of machine code"), rows))
    parts += _maps(trace)
    parts += _lines(trace)
    if trace.lost:
        hint = "have it count in a map, or print less"
        parts.append(Note(f"{trace.lost:,} lines were lost: bpftrace could not read them in time; {hint}", "warning"))
    parts += [Note(text, "warning", "bpftrace") for text in trace.warnings[:3]]
    if note:
        parts.append(Note(note))
    return parts


def progress_line(trace: Trace, seconds: float, total: float) -> str:
    # One line that says how far a timed run is and what has come.
    done = min(1.0, seconds / total)
    bar = "█" * round(20 * done) + "░" * (20 - round(20 * done))
    stats = trace.events.stats()
    came = f"{stats['received']:,} lines, {stats['lost']:,} lost" if stats["received"] else ""
    return f"{trace.name} {bar} {min(seconds, total):.1f} of {total:g} s  {came}".rstrip()


def _maps(trace: Trace) -> list[Part]:
    parts: list[Part] = []
    for name, printed in list(trace.maps.items())[:_MOST_MAPS]:
        try:
            frame = printed._last()
        except DecodeError as error:
            parts.append(Note(error.what, "error", name))
            continue
        if not len(frame):
            waits = trace.state == "attached"
            parts.append(Note("not printed yet: df() asks for it" if waits else "empty", label=name))
            continue
        rows = min(_ROWS if "low" not in frame else 2 * _ROWS, len(frame))
        count = f"{len(frame):,} {'bucket' if 'low' in frame else 'entr'}"
        plural = ("s" if len(frame) > 1 else "") if "low" in frame else ("ies" if len(frame) > 1 else "y")
        parts.append(frame_table(frame, f"{name}: first {rows} of {count}{plural}", rows))
    return parts


def _lines(trace: Trace) -> list[Part]:
    received = trace.events.stats()["received"]
    if not received:
        return []
    frame = trace.events._head(_ROWS)
    return [frame_table(frame, f"events: first {len(frame)} of {number(received)} lines", _ROWS)]
