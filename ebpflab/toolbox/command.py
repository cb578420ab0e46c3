"""``ebpflab run TOOL``: a tool in a shell, as rows or as lines of JSON, until Ctrl-C."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from ..loading import load
from . import answer, arguments
from .printing import JsonLines, Rows

if TYPE_CHECKING:
    from types import FrameType

    from ..batches import Tail
    from ..session import Session

_KEEP = "1e6"  # rows that may wait to be written
_LOOK = 0.1  # seconds between two looks for new rows: a reader sees them as they come
_OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--json", {"action": "store_true", "help": "a line of JSON for each row; the last one has the totals"}),
    ("--every", {"type": float, "metavar": "SECONDS", "help": "show what was counted so far again and again"}),
)
_WITHOUT = ("--watch", "--no-attach")  # a shell shows rows, and loading alone would show nothing
_USAGE = "ebpflab run TOOL [--for 10s] [--json] [options of the tool]; ebpflab tools lists the tools"
_COMMON = """\
of every tool: --for 10s, --json, --every SECONDS (what was counted so far, again and again),
  --attach PROGRAM=TARGET, --var NAME=VALUE, --buffer MAP=64MiB, --keep ROWS, --unsafe"""


def main(words: Sequence[str], out: TextIO | None = None) -> int:
    """Run a tool until its time is over, or Ctrl-C or SIGTERM ends it; the rows and totals are then complete.

    Parameters
    ----------
    words
        What follows ``ebpflab run``.
    out
        Where to write; default: standard output. Totals and notes of the text form go to standard error.

    Returns
    -------
    int
        The exit code: 0 also after Ctrl-C.

    Raises
    ------
    EbpflabError
        The tool cannot be run.

    Examples
    --------
    >>> main(["opensnoop", "--for", "5s", "--json"])
    0
    """
    out = out or sys.stdout
    if not [word for word in words if word not in ("--help", "-h")]:
        print(_USAGE, file=out)
        return 0
    if {"--help", "-h"} & set(words):
        print(
            str(arguments.tool_of(words, "ebpflab run")).replace("%bpf run", "ebpflab run"), _COMMON, sep="\n", file=out
        )
        return 0
    asked = arguments.parse(words, "ebpflab run", _OPTIONS, _WITHOUT)
    import pandas as _pandas  # noqa: F401 - now: its hundreds of files and its time are not among what a tool sees

    writer = JsonLines(out) if asked.given.json else Rows(out, sys.stderr)
    with _asked_to_end() as ended, _loaded(asked) as session:
        began = time.monotonic()
        _say(asked, writer)
        tails = {} if answer.counted(session) else _tails(session)
        _follow(session, tails, writer, asked, ended)
        session.detach()
        gone = time.monotonic() - began  # without what it takes to name the functions of stacks
        _news(tails, writer)
        rows = 0 if tails else _counted(session, writer)
        writer.totals(_totals(session, gone, rows, sum(tail.missed for tail in tails.values())))
    return 0


def _say(asked: arguments.Request, writer: JsonLines | Rows) -> None:
    # Who sits before a terminal should not wonder whether it runs.
    if isinstance(writer, Rows) and sys.stderr.isatty():
        end = "" if asked.options.seconds is None else f" for {asked.options.seconds:g} s"
        sys.stderr.write(f"{asked.tool.name} runs{end}; Ctrl-C ends it and shows the totals\n")


@contextlib.contextmanager
def _asked_to_end() -> Iterator[threading.Event]:
    # Ctrl-C, and SIGTERM as of a service manager, end the run and not whatever line of Python it is at: the rows and
    # totals are then complete. A second one ends the process.
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        if ended.is_set():
            signal.default_int_handler(number, frame)
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _loaded(asked: arguments.Request) -> Session:
    wanted = asked.options
    return load(
        asked.tool.name,
        name=asked.tool.name,
        vars=wanted.vars,
        targets=wanted.targets,
        keep=wanted.keep or _KEEP,
        buffers=wanted.buffers,
        unsafe=wanted.unsafe,
    )


def _tails(session: Session) -> dict[str, Tail]:
    return {name: events.tail(from_start=True) for name, events in session.streams.items()}


def _follow(
    session: Session,
    tails: dict[str, Tail],
    writer: JsonLines | Rows,
    asked: arguments.Request,
    ended: threading.Event,
) -> None:
    # Rows as they come; what is counted in maps comes at the end, or again and again.
    end = math.inf if asked.options.seconds is None else time.monotonic() + asked.options.seconds
    every = asked.given.every or math.inf
    due = time.monotonic() + every
    while not ended.is_set() and (left := end - time.monotonic()) > 0:
        ended.wait(min(_LOOK, left))
        _news(tails, writer)
        if time.monotonic() >= due:
            _counted(session, writer)
            due += every


def _news(tails: dict[str, Tail], writer: JsonLines | Rows) -> None:
    for name, tail in tails.items():
        writer.rows(tail(), name if len(tails) > 1 else "")


def _counted(session: Session, writer: JsonLines | Rows) -> int:
    if not answer.counted(session):
        return 0
    frame = answer.rows(session)
    writer.again()
    writer.rows(frame)
    return len(frame)


def _totals(session: Session, seconds: float, rows: int, missed: int) -> dict[str, Any]:
    # The books of all buffers; of a tool that counts in maps, how many rows it had at the end. Lost is what a full
    # buffer refused, missed what was received and pushed out again before it could be written.
    stats = [events.stats() for events in session.streams.values()]
    lost = [each["lost"] for each in stats if each["lost"] is not None]
    received = (
        {"received": sum(each["received"] for each in stats), "lost": sum(lost), "missed": missed}
        if stats
        else {"rows": rows}
    )
    return {"tool": session.name, "seconds": round(seconds, 3), **received}
