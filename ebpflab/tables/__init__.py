"""Names of numbers that are the same on every Linux: system calls, error numbers, signals.

Each table is a text file made from the kernel's headers, named in its first lines; so a recording shows the names
of the machine that it came from, on any other.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping
from pathlib import Path

_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def errors() -> Mapping[int, str]:
    """Return the names of error numbers, with those that stay inside the kernel.

    Examples
    --------
    >>> errors()[2]
    'ENOENT'
    """
    return _table("errors")


def signals() -> Mapping[int, str]:
    """Return the names of signals; real-time signals are counted from SIGRTMIN, as kill(1) does.

    Examples
    --------
    >>> signals()[9]
    'SIGKILL'
    """
    return _table("signals")


def system_calls(machine: str | None = None) -> Mapping[int, str]:
    """Return the names of system calls by number; empty for an architecture without a table.

    Parameters
    ----------
    machine
        As ``uname -m`` has it: x86_64 or aarch64; this machine if not given.

    Examples
    --------
    >>> system_calls("x86_64")[257], system_calls("aarch64")[56]
    ('openat', 'openat')
    """
    known = _MACHINES.get((machine or platform.machine()).lower())
    return _table(f"syscalls_{known}") if known else {}


@functools.cache
def _table(name: str) -> Mapping[int, str]:
    lines = (Path(__file__).parent / f"{name}.txt").read_text(encoding="ascii").splitlines()
    pairs = (line.split() for line in lines if not line.startswith("#"))
    return {int(number): text for number, text in pairs}
