"""The magics ``%%bpftrace`` and ``%bpftrace``: a program in bpftrace's language, run by the installed bpftrace."""

from __future__ import annotations

import keyword
import re
import shlex
import sys
import time
from argparse import ArgumentParser, RawTextHelpFormatter
from typing import Any

from IPython import display

import ebpflab

from .. import formatting, options
from ..errors import CellError, ToolMissingError
from ..tracer import recorded, summary
from ..tracer.trace import Trace

_PROGRESS_SECONDS = 0.25
_BRIEF = 0.5  # seconds: a program that ends in its BEGIN has ended by then, and its cell shows what it said


def parser(prog: str) -> ArgumentParser:
    """Make the parser of the line; its help is the magic's documentation."""
    p = options.Parser(prog=prog, add_help=False, allow_abbrev=False, formatter_class=RawTextHelpFormatter)
    p.add_argument("name", nargs="?", metavar="NAME", help="the variable that will hold what it prints")
    p.add_argument("--for", dest="seconds", type=options.duration, metavar="10s", help="run this long, then end it")
    if prog == "%bpftrace":
        p.add_argument("-e", dest="program", metavar="PROGRAM", required=True, help="the program")
    return p


def cell(shell: Any, line: str, text: str) -> None:
    """Run a cell."""
    asked = _asked("%%bpftrace", line)
    _run(shell, asked.name, text, asked.seconds)


def line(shell: Any, line: str) -> Any:
    """Run a program of one line; returns what holds its output, if that has no name."""
    asked = _asked("%bpftrace", line)
    _run(shell, asked.name, asked.program, asked.seconds)


def _asked(prog: str, line: str) -> Any:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise CellError(f"the line after {prog} cannot be read: {error}", hint="check the quotes") from error
    if "-l" in words or "--list" in words:
        wanted = re.findall(r"\w+", words[-1])
        hint = f"%bpf hooks {wanted[-1] if wanted and words[-1][:1] != '-' else 'WORD'} looks for them"
        raise CellError(f"{prog} does not list hooks", hint=hint)
    asked = parser(prog).parse_args(words)
    if asked.name is not None and (not asked.name.isidentifier() or keyword.iskeyword(asked.name)):
        hint = f"use a Python identifier, such as {prog} reads"
        raise CellError(f"'{asked.name}' cannot be a variable name", hint=hint)
    return asked


def _run(shell: Any, name: str | None, text: str, seconds: float | None) -> None:
    output = _Output(shell)
    played = recorded.instead(name, text) if name else None
    try:
        trace, note = played or (ebpflab.bpftrace(text, name=name), "")
    except ToolMissingError as error:
        played = recorded.instead(name, text, error) if name else None
        if played is None:
            raise
        trace, note = played
    if name:
        shell.user_ns[name] = trace
    if trace.state == "recorded":
        pass
    elif seconds is not None:
        note = output.follow(trace, seconds)
        trace.close()
    elif "exit" in text:
        trace.wait(_BRIEF)
    output.show(trace, note)


class _Output:
    # The place below a cell: a bar while a timed run goes on, then what came.
    def __init__(self, shell: Any) -> None:
        self._updates = hasattr(shell, "kernel")
        self._handle: Any = None

    def follow(self, trace: Trace, seconds: float) -> str:
        start = time.monotonic()
        try:
            while (gone := time.monotonic() - start) < seconds:
                self._line(summary.progress_line(trace, gone, seconds))
                if trace.wait(min(_PROGRESS_SECONDS, seconds - gone)):
                    break  # the program has ended by itself
        except KeyboardInterrupt:
            # The stop button ends the run, not the cell's result: what came so far is kept and shown.
            return f"stopped after {time.monotonic() - start:.1f} of {seconds:g} s; what came is kept"
        finally:
            if not self._updates:
                sys.stdout.write("\r\033[K")
        return ""

    def show(self, trace: Trace, note: str) -> None:
        document = summary.document(trace, note)
        self._publish({"text/plain": formatting.text(document), "text/html": formatting.html(document)})

    def _line(self, line: str) -> None:
        if not self._updates:
            sys.stdout.write(f"\r\033[K{line}")
            sys.stdout.flush()
            return
        self._publish({"text/plain": line, "text/html": formatting.html([formatting.Code(line)])})

    def _publish(self, data: dict[str, str]) -> None:
        if self._handle is None or not self._updates:
            self._handle = display.display(data, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(data, raw=True)
