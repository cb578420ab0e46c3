"""Section names, taken apart by libbpf's rules."""

from __future__ import annotations

from ..errors import HookNotFoundError
from ..similar import did_you_mean, nearest
from .model import Section
from .table import PROGRAM_TYPES

_ALL = {section: row for row in PROGRAM_TYPES for section in row.sections}
_EXACT = {section: row for section, row in _ALL.items() if not section.endswith("+")}
_WITH_TARGET = {section[:-1]: row for section, row in _ALL.items() if section.endswith("+")}


def parse_section(name: str) -> Section:
    """Take a section name apart, by libbpf's rules.

    Raises
    ------
    HookNotFoundError
        It is no section of a BPF program; ``nearest`` has section names that resemble it.

    Examples
    --------
    >>> parse_section("tp/syscalls/sys_enter_openat").target
    'syscalls/sys_enter_openat'
    """
    text = name.removeprefix("?")
    prefix, _, target = text.partition("/")
    if text in _EXACT:
        prefix, target, row = text, "", _EXACT[text]
    elif prefix in _WITH_TARGET:
        row = _WITH_TARGET[prefix]
    else:
        raise _no_section(text, prefix)
    sleepable = prefix.endswith(".s") or row.kind == "syscall"
    return Section(row, prefix, target, sleepable, autoload=not name.startswith("?"))


def _no_section(text: str, prefix: str) -> HookNotFoundError:
    if prefix in _EXACT:
        hint = f'SEC("{prefix}") takes nothing after it; the target is given when it is attached'
        return HookNotFoundError(f'no kind of program has section "{text}"', nearest=(prefix,), hint=hint)
    known = [*_WITH_TARGET, *_EXACT]
    near = nearest(text, known) or nearest(prefix, known)
    return HookNotFoundError(
        f'no kind of program has section "{text}"',
        nearest=near,
        hint=did_you_mean(near) or 'a program\'s section is a kind and a target, as in "tp/sched/sched_switch"',
    )
