# What a session looks like below its cell, as a document for `formatting`: one description, text and HTML.

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from .errors import DecodeError
from .formatting import Head, Note, Part, Steps, Table, frame_table, number
from .inspectors.tracefs import tracefs_root
from .program_types import parse_section
from .toolbox import answer
from .verifier.statistics import INSNS_LIMIT, NEAR, near_insns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .events import Events
    from .registry import Sessions
    from .session import Session

_TONES = {
    "attached": "ok",
    "loaded": "warning",
    "detached": "muted",
    "replaying": "ok",
    "replayed": "muted",
    "closed": "muted",
}
_ROWS = 5
_COUNTED_ROWS = 10
_PRINTS = ("bpf_printk", "bpf_trace_printk", "bpf_trace_vprintk")  # helpers that write to the kernel's own trace


def session_document(session: Session, note: str = "") -> list[Part]:
    # Head, stages, programs, buffers, the first rows of each buffer, and whatever deserves a sentence.
    document: list[Part] = [
        Head(session.name, session.state, _TONES.get(session.state, "warning"), f"{session.engine}, {_age(session)}"),
        *([Note(session.tool.question, "muted", session.tool.name)] if session.tool else []),
        steps(session),
        _programs(session),
    ]
    # Asked once: a table and a title that tell two numbers of one buffer are a puzzle.
    stats = {name: events.stats() for name, events in session.streams.items()}
    if session.streams:
        document.append(_buffers(session, stats))
    if answer.counted(session) and session.state in ("attached", "detached"):
        document.append(_counted(session))
    else:
        for name, events in session.streams.items():
            document.extend(_rows(name, events, stats[name]["received"]))
    document += notes(session)
    if note:
        document.append(Note(note))
    return document


def steps(session: Session) -> Steps:
    # The stages of its line.
    return Steps(tuple((s.name, s.ms, s.detail) for s in session._stages))


def notes(session: Session) -> list[Note]:
    # What to do against losses and about programs that are nearly too complex, and what clang said.
    advice = [(name, events.advice) for name, events in session.streams.items()]
    clang = [f"{w.message}{f' (line {w.where.line})' if w.where else ''}" for w in session.warnings[:3]]
    idle = [(p.name, _unattached(p.name, p.section)) for p in session._programs if _is_idle(session, p.name)]
    near = [(p.name, p.verified) for p in session._programs if p.verified >= NEAR * INSNS_LIMIT]
    return [
        *(Note(text, "warning", name) for name, text in advice if text),
        *(Note(near_insns(count), "warning", name) for name, count in near),
        *(Note(text, "warning", name) for name, text in idle),
        *(Note(text, "warning", "clang") for text in clang),
        *_printing(session),
    ]


def _is_idle(session: Session, program: str) -> bool:
    # A program of BCC's dialect that nothing says where to attach. Others may call it through an array of programs,
    # and what was loaded without attaching is as it was wanted.
    wanted = any(step.name == "attach" for step in session._stages) and session.state in ("attached", "loaded")
    attached = any(link.program == program for link in session._links)
    return wanted and program in session._waiting and not attached and "BPF_PROG_ARRAY" not in session.source


def _unattached(program: str, section: str) -> str:
    row = parse_section(section).type
    places = {"kprobe": ["kprobe:FUNCTION", "tracepoint:CATEGORY:EVENT"], "tp": ["tracepoint:CATEGORY:EVENT"]}
    usual = [f"{section}:{row.example or re.split('[ ,]', row.target)[0]}"]
    options = " or ".join(f"--attach {program}={place}" for place in places.get(section, usual))
    return f"nothing says where to attach it, so it never runs: add {options}"


def _printing(session: Session) -> list[Note]:
    # What a program prints is in no table of ours.
    if session._cell is None or session.state in ("replaying", "replayed"):
        return []
    used = [name for name in _PRINTS if name in session._cell.words]
    pipe = tracefs_root() / "trace_pipe"
    return [Note(f"{name} writes to {pipe}: !timeout 3 cat {pipe}", "muted", "output") for name in used[:1]]


def age(seconds: float) -> str:
    # How long it has lived.
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def sessions_document(sessions: Sessions) -> list[Part]:
    # One row a session.
    if not sessions:
        return [Note("no live sessions")]
    rows = []
    for s in sessions:
        stats = [events.stats() for events in s.streams.values()]
        lost = [x["lost"] for x in stats if x["lost"] is not None]
        rows.append(
            (s.name, s.state, s.engine, len(s._programs), len(s._links), sum(x["received"] for x in stats),
             sum(lost) if lost else None, _age(s))
        )  # fmt: skip
    return [Table(("session", "state", "engine", "programs", "links", "received", "lost", "age"), tuple(rows))]


def progress_line(session: Session, seconds: float, total: float) -> str:
    # One line that says how far a timed run is and what has come.
    stats = [events.stats() for events in session.streams.values()]
    done = min(1.0, seconds / total)
    bar = "█" * round(20 * done) + "░" * (20 - round(20 * done))
    lost = sum(x["lost"] or 0 for x in stats)
    came = (
        f"{sum(x['received'] for x in stats):,} events, {sum(x['rate'] for x in stats):,.0f}/s, {lost:,} lost"
        if stats
        else ""
    )
    return f"{session.name} {bar} {min(seconds, total):.1f} of {total:g} s  {came}".rstrip()


def _programs(session: Session) -> Table:
    attached = {link.program: link.target for link in session._links}
    rows = tuple(
        (
            p.name,
            p.section,
            p.insns,
            "attached" if p.name in attached else session.state.replace("attached", "not attached"),
        )
        for p in session._programs
    )
    tones = tuple((i, 3, "ok" if row[3] == "attached" else "muted") for i, row in enumerate(rows))
    return Table(("program", "section", "instructions", "state"), rows, tones=tones)


def _buffers(session: Session, counted: Mapping[str, Mapping[str, Any]]) -> Table:
    rows, tones = [], []
    for index, (name, events) in enumerate(session.streams.items()):
        stats = counted[name]
        rows.append((name, events.types.label(), stats["received"], stats["lost"], stats["evicted"], stats["rate"]))
        if stats["lost"]:
            tones.append((index, 3, "error"))
    return Table(("buffer", "record", "received", "lost", "evicted", "per second"), tuple(rows), tones=tuple(tones))


def _counted(session: Session) -> Part:
    # What a tool counted in maps so far.
    frame = answer.rows(session)
    if frame.empty:
        return Note("nothing counted yet")
    shown = min(len(frame), _COUNTED_ROWS)
    return frame_table(frame, f"{session.name}: first {shown} of {number(len(frame))} rows", shown)


def _rows(name: str, events: Events, received: int) -> list[Part]:
    try:
        frame = events.head(_ROWS)
    except DecodeError as error:
        return [Note(error.what, "error", name), *([Note(error.hint, "ok", "hint")] if error.hint else [])]
    if not len(frame):
        return [Note("no events yet", label=name)]
    return [frame_table(frame, f"{name}: first {len(frame)} of {number(max(received, len(frame)))} events", _ROWS)]


def _age(session: Session) -> str:
    return age(time.time() - session._began)
