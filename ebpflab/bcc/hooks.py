# Which section a function of a BCC program gets: by BCC's naming, by what the user asks for, or by its context.

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ..errors import AttachError, CellError, EbpflabError
from ..inspectors.facilities import facility
from ..inspectors.tracefs import tracefs_root
from ..program_types import PROGRAM_TYPES, is_pattern, parse_section, parse_target, pattern
from ..similar import did_you_mean, nearest
from .signature import Signature

# BCC's names and libbpf's sections; bcc: src/python/bcc/__init__.py, _trace_autoload().
_PREFIXES = {
    "kprobe__": "kprobe",
    "kretprobe__": "kretprobe",
    "tracepoint__": "tp",
    "raw_tracepoint__": "raw_tp",
    "kfunc__": "fentry",
    "kretfunc__": "fexit",
    "kmod_ret__": "fmod_ret",
    "lsm__": "lsm",
    "bpf_iter__": "iter",
    "syscall__": "ksyscall",
}
# The kind of a function that has no such name, by the first argument. A struct of the program's own stands for that of
# a tracepoint, as those do that the kernel has for tracepoints.
_CONTEXTS = {
    "struct pt_regs": "kprobe",
    "void": "kprobe",
    "struct xdp_md": "xdp",
    "struct __sk_buff": "socket",
    "struct bpf_perf_event_data": "perf_event",
    "struct bpf_raw_tracepoint_args": "raw_tp",
    "struct bpf_sock_ops": "sockops",
    "struct bpf_sock": "cgroup/sock",
    "struct bpf_sysctl": "cgroup/sysctl",
    "struct bpf_cgroup_dev_ctx": "cgroup/dev",
    "struct bpf_sk_lookup": "sk_lookup",
    "struct sk_msg_md": "sk_msg",
    "struct sk_reuseport_md": "sk_reuseport",
}
# Contexts of several kinds that the kernel has to tell apart when it loads the program.
_UNDECIDED = ("struct bpf_sock_addr", "struct bpf_sockopt")
_TRACED = re.compile(r"struct (?:trace_event_raw_\w+|syscall_trace_(?:enter|exit))")
_NUMBERS = re.compile(r"(?:(?:unsigned|signed|char|short|int|long|_*[us]\d+|u?int\d+_t)(?: |$))+")
# Contexts that are of the kernel's making and look like no other.
_OWN = frozenset({*_CONTEXTS, *_UNDECIDED}) - {"struct pt_regs", "void"}
_TC_WORDS = re.compile(r"\b(?:TC_ACT_\w+|bpf_clone_redirect|bpf_redirect|bpf_skb_store_bytes|data_end|tc_classid)\b")
# BCC's and everyday names of kinds, beside those of sections.
_KINDS = {
    "tracepoint": "tp",
    "raw_tracepoint": "raw_tp",
    "kfunc": "fentry",
    "kretfunc": "fexit",
    "kmod_ret": "fmod_ret",
    "socket_filter": "socket",
    "sched_cls": "tc",
    "sock_ops": "sockops",
    "cgroup_device": "cgroup/dev",
    "cgroup_sock": "cgroup/sock",
    "cgroup_sysctl": "cgroup/sysctl",
}
# To the kernel they are all programs of one kind, and where they are attached is decided then.
_PROBES = ("kprobe", "kretprobe", "ksyscall", "kretsyscall", "uprobe", "uretprobe", "usdt")
_MANY = {
    "kprobe": "kprobe.multi",
    "kretprobe": "kprobe.multi",
    "uprobe": "uprobe.multi",
    "uretprobe": "uprobe.multi",
}
_NAMED = ("tp", "kprobe", "kretprobe")  # a colon may stand in the name itself: sched:sched_switch, MODULE:FUNCTION


@dataclass(frozen=True)
class Hook:
    """The section of a function, and where it is attached if the section does not say; ``waits`` if nothing says."""

    section: str
    target: str | None = None
    waits: bool = False


def hook(function: str, takes: Signature, wanted: str | None = None) -> Hook:
    """Return where a function belongs.

    Parameters
    ----------
    function
        Its name, such as ``kprobe__vfs_read``.
    takes
        The type of what its first argument points to, such as ``struct pt_regs``; and the function's text, by which a
        filter of sockets is told from one of tc.
    wanted
        What the user asks for: ``KIND:TARGET``, a target alone, or a kind alone, whose target is given later.

    Raises
    ------
    CellError
        When `wanted` names no kind, or one that does not fit the function; when its kind cannot be told.
    """
    named = next((prefix for prefix in _PREFIXES if function.startswith(prefix)), None)
    if wanted is not None:
        return _asked(function, takes.context, wanted, Hook(_PREFIXES[named]) if named else _by_context(takes))
    found = _named(_PREFIXES[named], function.removeprefix(named)) if named else _by_context(takes)
    if not found.section:
        raise _undecided(function, takes.context)
    return found


def later(program: str, section: str, target: str | None) -> tuple[str, str | None]:
    """Return the section and the target by which a loaded program is attached.

    Parameters
    ----------
    program
        The function's name.
    section
        What it was loaded as.
    target
        What the user asks for now: ``KIND:TARGET``, a target, or None.

    Raises
    ------
    AttachError
        The kernel took the program for another kind.

    Examples
    --------
    >>> later("on_malloc", "kprobe", "uprobe:libc.so.6:malloc")
    ('uprobe', 'libc.so.6:malloc')
    """
    kind, place = _parted(target or "")
    loaded = section.partition("/")[0] if parse_section(section).prefix in _PROBES else section
    if not kind or not place:
        return section, target
    if kind == loaded or kind == parse_section(section).prefix:
        return section, place
    if loaded in _PROBES and kind in _PROBES:
        return kind, place
    what = f"{program} was loaded as {loaded}, which cannot become {kind}"
    raise AttachError(what, hint=f"load the cell again with --attach {program}={target}")


def _named(kind: str, name: str) -> Hook:
    if kind in ("kprobe", "kretprobe") and name.startswith("sys_"):
        # BCC's name for a system call, whatever the kernel calls the function.
        return Hook(f"{kind.replace('probe', '')}syscall/{name.removeprefix('sys_')}")
    if kind == "ksyscall":
        known = os.access(tracefs_root() / "events" / "syscalls" / f"sys_enter_{name}", os.F_OK)
        return Hook(f"ksyscall/{name}") if known else Hook("kprobe", waits=True)
    if kind == "tp":
        return Hook(f"tp/{_tracepoint(name)}")
    if kind in ("fentry", "fexit", "fmod_ret"):
        module, _, function = name.partition("__")
        if module and function and Path("/sys/kernel/btf", module).exists():  # not __x64_sys_open
            return Hook(f"{kind}/{module}:{function}")
    return Hook(f"{kind}/{name}")


def _tracepoint(name: str) -> str:
    # Both names may hold two underscores; the kernel knows which pair exists.
    parts = name.split("__")
    pairs = [("__".join(parts[:at]), "__".join(parts[at:])) for at in range(1, len(parts))]
    root = tracefs_root() / "events"
    known = [pair for pair in pairs if os.access(root / pair[0] / pair[1], os.F_OK)]
    return "/".join((known or pairs or [(name, "")])[0])


def _by_context(takes: Signature) -> Hook:
    # Without a section if the context leaves it open.
    context = takes.context
    if context.startswith("struct tracepoint__"):  # names one tracepoint
        return Hook(f"tp/{_tracepoint(context.removeprefix('struct tracepoint__'))}")
    if context.startswith("struct bpf_iter__"):
        return Hook(f"iter/{context.removeprefix('struct bpf_iter__')}")
    if context in _UNDECIDED:
        return Hook("", waits=True)
    if "_bpf_readarg_" in takes.body:
        return Hook("usdt", waits=True)
    kind = _CONTEXTS.get(context, "tp" if takes.own or _TRACED.fullmatch(context) else "")
    if not kind and _NUMBERS.fullmatch(context):
        kind = "kprobe"
    return Hook("tc" if kind == "socket" and _TC_WORDS.search(takes.body) else kind, waits=True)


def _asked(function: str, context: str, wanted: str, own: Hook) -> Hook:
    first, colon, _ = wanted.partition(":")
    kind, place = _parted(wanted)
    if kind and colon and not place:
        hint = f"write --attach {function}={first}:TARGET, as in kprobe:vfs_read or uprobe:libc.so.6:malloc"
        raise CellError(f"--attach {function}={wanted} does not say where", hint=hint)
    if not kind:
        if not own.section:
            raise _undecided(function, context)
        kind, place = own.section.partition("/")[0] if own.section.startswith("tp/") else own.section, wanted
        _check(function, kind, wanted)
    _fits(function, context, kind)
    if not place:
        return Hook(kind, waits=True)
    return Hook(f"{kind}.multi" if kind in _MANY and _is_many(kind, place) else kind, place)


def _is_many(kind: str, place: str) -> bool:
    # Whether one link shall stand for all functions of a pattern. Where the kernel has no such link, each function
    # gets its own when the program is attached.
    names = parse_target(parse_section(kind).type, place).place
    names = names.partition(":")[2] if kind.startswith("u") else names
    if not is_pattern(names):
        return False
    pattern(names)  # whether it is one is said before anything is compiled
    return not facility(_MANY[kind])


def _parted(wanted: str) -> tuple[str, str]:
    # Kind and target; no kind if it is a target alone.
    first, _, place = wanted.partition(":")
    kind = _KINDS.get(first, first)
    return (kind, place) if _is_kind(kind) else ("", wanted)


def _check(function: str, kind: str, wanted: str) -> None:
    # "uprob:libc.so.6:malloc" is a misspelt kind, not a function in a module.
    first, colon, place = wanted.partition(":")
    if not colon or not re.fullmatch(r"[a-z_./0-9]+", first) or first in ("fd", "pid"):
        return
    near = nearest(first, _all_kinds())
    if near and (kind not in _NAMED or "/" in place or ":" in place):
        raise CellError(f"--attach {function}={wanted}: there is no kind {first!r}", hint=did_you_mean(near))


def _fits(function: str, context: str, kind: str) -> None:
    # What the program takes for its context has to be what programs of the kind are given.
    given = parse_section(kind).type.context
    registers = context == "struct pt_regs" and given in _OWN and kind != "perf_event"
    if registers or (context in _OWN and given != context):
        told = given if given.startswith("struct ") else f"other arguments ({given})"
        hint = f"{context} is given to: {', '.join(_sections(context)[:8])}"
        raise CellError(f"{function} takes {context}, and a program of kind {kind} is given {told}", hint=hint)


def _undecided(function: str, context: str) -> CellError:
    kinds = _sections(context)
    if not kinds:
        what = f"nothing says what kind of program {function} is: no kind is given {context}"
        hint = f"write --attach {function}=KIND:TARGET, or `static inline` before a function that is no program"
        return CellError(what, hint=hint)
    what = f"nothing says what kind of program {function} is: {context} is given to {len(kinds)} kinds"
    return CellError(what, hint=f"write --attach {function}=KIND:CGROUP, where KIND is one of {', '.join(kinds)}")


def _sections(context: str) -> list[str]:
    return [name.removesuffix("+") for row in PROGRAM_TYPES if row.context == context for name in row.sections]


def _all_kinds() -> Collection[str]:
    return (*_KINDS, "kprobe", "kretprobe", "uprobe", "uretprobe", "usdt", "tp", "raw_tp", "fentry", "fexit", "lsm",
            "perf_event", "xdp", "tc", "socket", "ksyscall", "kretsyscall", "iter", "sockops", "sk_msg", "sk_lookup",
            *(name for row in PROGRAM_TYPES for name in row.sections if name.startswith("cgroup")))  # fmt: skip


def _is_kind(name: str) -> bool:
    if not re.fullmatch(r"[a-z_.]+(?:/\w+)?", name):
        return False
    try:
        return not parse_section(name).target
    except EbpflabError:
        return False
