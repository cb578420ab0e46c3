"""Which hook is meant by what somebody wrote: a section, a tracepoint, a kind, or the bare name of a hook."""

from __future__ import annotations

import re
from typing import NamedTuple

from ...errors import HookNotFoundError, KernelSupportError, PrivilegeError
from ...program_types import BY_KIND, PROGRAM_TYPES, Section, netfilter_names, parse_section
from ...similar import did_you_mean, nearest
from .. import binaries, functions, tracefs
from ..facilities import facility
from ..search import explain_missing, hooks

# Kinds whose names are searched for a bare name. Functions are searched once, for all kinds of probes.
_NAMED = ("tracepoint", "lsm", "iter", "ksyscall", "perf_event", "netfilter", "tp_btf")

_SECTIONS = {name.rstrip("+") for row in PROGRAM_TYPES for name in row.sections}


class Hook(NamedTuple):
    """A section with, for hooks that a section does not name, the place; ``bare`` if only a kind was asked for."""

    section: Section
    place: str = ""
    bare: bool = False


def find_hook(text: str) -> Hook:
    """Return the hook that a text means.

    Raises
    ------
    HookNotFoundError
        There is no such hook, or several kinds have one of this name; ``nearest`` has what may be meant.
    """
    wanted = text.strip()
    if wanted.startswith('SEC("'):
        wanted = wanted.removeprefix('SEC("').rstrip(')"')
    tracepoint = re.fullmatch(r"([\w-]+)[:/]([\w-]+)", wanted, re.ASCII)
    if tracepoint and tracefs.has_event(*tracepoint.groups()):
        return Hook(parse_section(f"tp/{tracepoint[1]}/{tracepoint[2]}"))
    if wanted in BY_KIND and wanted not in _SECTIONS:
        row = BY_KIND[wanted]
        prefix = min(row.sections, key=len).rstrip("+")
        return Hook(Section(row, prefix), bare=True)
    try:
        section, place = _section(wanted)
    except HookNotFoundError:
        found = _as_the_search_shows(wanted)
        if found is None:
            raise
        return found
    _check(section)
    missing = explain_missing(section.kind, place) if place not in ("", "self") else None
    if missing is not None:
        raise missing
    return Hook(section, place, bare=not section.target and f"{section.prefix}+" in section.type.sections)


def _as_the_search_shows(wanted: str) -> Hook | None:
    # Names as they stand in the search's column "name".
    if re.fullmatch(r"[\w.+*?-]+", wanted):
        return Hook(*_by_name(wanted))
    if wanted in netfilter_names():
        return Hook(parse_section("netfilter"), wanted)
    binary, colon, rest = wanted.partition(":")
    if colon and binaries.resolve_binary(binary):
        return find_hook(f"{'usdt' if ':' in rest else 'uprobe'}/{wanted}")
    if re.fullmatch(r"[\w-]+:[\w-]+", wanted, re.ASCII):
        tracefs.format(wanted)  # raises, with the nearest tracepoints
    return None


def _section(wanted: str) -> tuple[Section, str]:
    # "xdp:eth0" is a section that takes no target, with one all the same.
    head, colon, place = wanted.partition(":")
    if colon and head in _SECTIONS and f"{head}+" not in parse_section(head).type.sections and place:
        return parse_section(head), place
    return parse_section(wanted), ""


def _check(section: Section) -> None:
    # The hooks of lsm_cgroup are those of lsm; other sections with a hook name something of the cell.
    kind = "lsm" if section.kind == "lsm_cgroup" else section.kind
    if section.target and not BY_KIND[kind].hook:
        missing = explain_missing(kind, section.target)
        if missing is not None:
            raise missing


def _by_name(name: str) -> tuple[Section, str]:
    found = list(dict.fromkeys(_candidates(name)))
    if len(found) == 1:
        section, _, place = found[0].partition("\n")
        return parse_section(section), place
    if found:
        sections = tuple(each.replace("\n", ":") for each in found)
        hint = f"say which: {' or '.join(sections)}"
        raise HookNotFoundError(f"several hooks are called {name!r}", nearest=sections, hint=hint)
    near = nearest(name, _all_names())
    hint = did_you_mean(near) or "%bpf hooks searches them all; a hook is written as a section: tp/sched/sched_switch"
    raise HookNotFoundError(f"no hook is called {name!r}", nearest=near, hint=hint)


def _candidates(name: str) -> list[str]:
    found = []
    for section in (s for row in PROGRAM_TYPES for s in row.sections):
        if not section.endswith("+") and section.rpartition("/")[2] == name:
            found.append(section)
    listed = {kind: _listed(kind, name) for kind in _NAMED}
    if listed["tracepoint"]:  # which stands for its raw and typed variants
        del listed["tp_btf"]
    # A system call is watched by its tracepoint where it has one: any kernel has those.
    listed["ksyscall"] = [_of_call(section) for section in listed["ksyscall"]]
    for sections in listed.values():
        found += sections
    probe = _function(name)
    return [*found, probe] if probe else found


def _listed(kind: str, name: str) -> list[str]:
    rows = hooks(name, kind=kind)
    found = [
        (full, section)
        for full, section in zip(rows["name"], rows["section"], strict=True)
        if full.rpartition(":")[2] == name
    ]
    # The section of these does not say which of them is meant.
    apart = kind in ("perf_event", "netfilter")
    return [f"{section}\n{full}" if apart else section for full, section in found]


def _of_call(section: str) -> str:
    event = f"sys_enter_{section.partition('/')[2]}"
    return f"tp/syscalls/{event}" if tracefs.has_event("syscalls", event) else section


def _function(name: str) -> str:
    # fentry costs less and has types; where it cannot be, a kprobe may.
    try:
        typed = name in functions.typed()
    except (KernelSupportError, PrivilegeError):
        typed = False
    if typed and (not facility("fentry") or facility("kprobe")):
        return f"fentry/{name}"
    try:
        return f"kprobe/{name}" if name in functions.probed() else ""
    except (KernelSupportError, PrivilegeError):
        return ""


def _all_names() -> list[str]:
    names = [*BY_KIND, *(s.rstrip("+") for row in PROGRAM_TYPES for s in row.sections)]
    for kind in (*_NAMED, "kprobe"):
        names += hooks("", kind=kind)["name"].tolist()
    return [name for name in names if name != "*"]  # which stands for names that cannot be read
