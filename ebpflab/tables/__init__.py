"""What is the same on every Linux: the names of system calls, error numbers and signals; helpers and macros of BPF.

Each table of numbers is a text file made from the kernel's headers, named in its first lines; so a recording shows
the names of the machine that it came from, on any other.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

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
def helpers() -> Mapping[str, str]:
    """Return the first kernel that has each BPF helper, by name, in the order of their numbers.

    Examples
    --------
    >>> helpers()["bpf_ringbuf_output"]
    '5.8'
    """
    return {name: kernel for name, _, kernel in (line.partition(" ") for line in _lines("helpers"))}


class Macro(NamedTuple):
    """A macro that is used like a function; ``since`` is the first libbpf that has it, "" for any from 1.0 on."""

    signature: str
    summary: str
    since: str = ""


@functools.cache
def macros() -> Mapping[str, Macro]:
    """Return the macros of libbpf's headers and of our prelude that programs call, by name.

    Examples
    --------
    >>> macros()["bpf_htons"].signature
    'bpf_htons(x)'
    """
    found = (Macro(*line.split(" | ")) for line in _lines("macros"))
    return {macro.signature.partition("(")[0]: macro for macro in found}


@functools.cache
def _table(name: str) -> Mapping[int, str]:
    return {int(number): text for number, text in (line.split() for line in _lines(name))}


def _lines(name: str) -> list[str]:
    lines = (Path(__file__).parent / f"{name}.txt").read_text(encoding="ascii").splitlines()
    return [line for line in lines if not line.startswith("#")]
