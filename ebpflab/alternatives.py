"""Alternatives: programs that serve the same purpose on kernels with different hooks.

A program is an alternative if its section is optional, ``SEC("?fentry/vfs_read")``, which libbpf leaves out unless
asked, and its name is ``PURPOSE__WAY``, where the way begins with a kind of program: ``on_read__fentry``,
``on_read__kprobe``, ``on_read__kprobe_old``. A way that takes several programs adds a part to each:
``on_read__kprobe__enter``, ``on_read__kprobe__exit``. Of each purpose, the first way is loaded whose hooks this kernel
has.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from .errors import EbpflabError, KernelSupportError
from .inspectors import search
from .program_types import PROGRAM_TYPES, parse_section

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .engines.base import ProgramInfo

_NAME = re.compile(r"(\w+?)__([a-z]\w*?)(?:__\w+)?")
# With these a way begins: whatever else has two underscores in its name and is optional stays out, as libbpf has it.
_KINDS = tuple({re.sub(r"\W", "_", name.rstrip("+")) for row in PROGRAM_TYPES for name in row.sections})


class Choice(NamedTuple):
    """The programs to load, and which way each purpose goes."""

    programs: tuple[str, ...]
    ways: Mapping[str, str]


def choose(optional: Sequence[ProgramInfo]) -> Choice:
    """Choose among the optional programs of an object those that this kernel can attach.

    What cannot be told without trying is taken only where nothing is known to work.

    Parameters
    ----------
    optional
        The programs in sections that start with a question mark, in the order of the source.

    Raises
    ------
    KernelSupportError
        When this kernel lacks all ways to serve a purpose; its details say what each of them lacks.

    Examples
    --------
    >>> choose([ProgramInfo("on_read__fentry", "fentry/vfs_read", 9), ProgramInfo("on_read__tp", "tp/...", 9)]).ways
    {'on_read': 'tp'}
    """
    purposes: dict[str, dict[str, list[ProgramInfo]]] = {}
    for program in optional:
        match = _NAME.fullmatch(program.name)
        if match and match[2].startswith(_KINDS):
            purposes.setdefault(match[1], {}).setdefault(match[2], []).append(program)
    chosen = {purpose: _first(purpose, ways) for purpose, ways in purposes.items()}
    names = [program.name for purpose, way in chosen.items() for program in purposes[purpose][way]]
    return Choice(tuple(names), chosen)


def _first(purpose: str, ways: Mapping[str, Sequence[ProgramInfo]]) -> str:
    unknown, why = "", []
    for way, programs in ways.items():
        lacks = [_lacks(program.section) for program in programs]
        if all(each == "" for each in lacks):
            return way
        if all(not each for each in lacks):
            unknown = unknown or way
        why += [f"{program.section}: {each}" for program, each in zip(programs, lacks, strict=True) if each]
    if unknown:
        return unknown
    what = f"this kernel has none of the hooks that {purpose} could use"
    raise KernelSupportError(what, details=why, hint="%bpf hooks NAME searches what there is", stage="load")


def _lacks(section: str) -> str | None:
    # Why this kernel cannot attach a program of a section; None where that cannot be told without trying.
    parsed = parse_section(section)
    try:
        return search.missing(parsed)
    except EbpflabError:
        return None
