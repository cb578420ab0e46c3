"""A check as a line of words: ``%bpf check HOOK -- COMMAND`` and ``ebpflab check HOOK -- COMMAND``."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import CellError
from ..options import Parser, duration
from .checking import check

if TYPE_CHECKING:
    import argparse

    from .result import Check

_DEFAULT = "tp/syscalls/sys_enter_getppid"


def ask(line: str) -> Check:
    """Do what stands after ``%bpf check``.

    Raises
    ------
    EbpflabError
        The line cannot be read, or :func:`ebpflab.check` cannot do it.

    Examples
    --------
    >>> ask('tp/sched/sched_process_exec -- sh -c "ls; ls"').agree
    True
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise CellError(f"the line after %bpf check cannot be read: {error}", hint="check the quotes") from error
    words, command = _parted(words)
    return _checked(_parser("%bpf check").parse_args(words), command)


def main(words: Sequence[str]) -> int:
    """Run ``ebpflab check`` with these words after it; returns 0 if the witnesses agree, else 1.

    Examples
    --------
    >>> main(["tp/sched/sched_process_exec", "--json", "--", "ls"])
    0
    """
    words, command = _parted(words)
    parser = _parser("ebpflab check", add_help=True)
    parser.add_argument("--json", action="store_true", help="the same, for scripts")
    given = parser.parse_args(words)
    found = _checked(given, command)
    sys.stdout.write(f"{json.dumps(found.to_dict(), indent=2) if given.json else found}\n")
    return 0 if found.agree else 1


def _parser(prog: str, *, add_help: bool = False) -> Parser:
    about = "Count the same events with libbpf's C, BCC's C and bpftrace, and show the three side by side."
    usage = f"{prog.replace('%', '%%')} [HOOK] [--for 5s] [--pid N] [-- COMMAND ...]"
    parser = Parser(prog=prog, usage=usage, description=about, add_help=add_help, allow_abbrev=False)
    add = parser.add_argument
    add("hook", nargs="?", default=_DEFAULT, metavar="HOOK", help=f"what is counted (default {_DEFAULT})")
    add("--for", dest="seconds", type=duration, metavar="5s", help="how long, without a command (default 1s)")
    add("--pid", type=int, metavar="N", help="only the events of this process")
    return parser


def _parted(words: Sequence[str]) -> tuple[list[str], list[str] | None]:
    # What follows the first -- is a command, whatever it looks like.
    at = list(words).index("--") if "--" in words else len(words)
    return list(words[:at]), list(words[at + 1 :]) if at < len(words) else None


def _checked(given: argparse.Namespace, command: list[str] | None) -> Check:
    if command is not None and given.seconds is not None:
        raise CellError("--for is for a check without a command", hint="a command ends by itself; leave --for out")
    return check(given.hook, seconds=given.seconds or 1.0, workload=command, pid=given.pid)
