# Which section a function of a BCC program gets: by BCC's naming, by what the user asks for, or by its context.

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ..errors import CellError, EbpflabError
from ..inspectors.tracefs import tracefs_root
from ..program_types import parse_section
from ..similar import did_you_mean, nearest

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
# a tracepoint.
_CONTEXTS = {
    "struct pt_regs": "kprobe",
    "void": "kprobe",
    "struct xdp_md": "xdp",
    "struct __sk_buff": "socket",
    "struct bpf_perf_event_data": "perf_event",
    "struct bpf_raw_tracepoint_args": "raw_tp",
    "struct bpf_sock_ops": "sockops",
    "struct bpf_sock": "cgroup/sock",
    "struct bpf_sock_addr": "cgroup/connect4",
    "struct bpf_sysctl": "cgroup/sysctl",
    "struct bpf_sockopt": "cgroup/getsockopt",
    "struct bpf_cgroup_dev_ctx": "cgroup/dev",
    "struct bpf_sk_lookup": "sk_lookup",
    "struct sk_msg_md": "sk_msg",
    "struct sk_reuseport_md": "sk_reuseport",
}
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
}
_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Hook:
    """The section of a function, and where it is attached if the section does not say; ``waits`` if nothing says."""

    section: str
    target: str | None = None
    waits: bool = False


def hook(function: str, context: str, body: str, wanted: str | None = None) -> Hook:
    """Return where a function belongs.

    Parameters
    ----------
    function
        Its name, such as ``kprobe__vfs_read``.
    context
        The type of what its first argument points to, such as ``struct pt_regs``.
    body
        Its text, by which a filter of sockets is told from one of tc.
    wanted
        What the user asks for: ``KIND:TARGET``, or a target alone.

    Raises
    ------
    CellError
        When `wanted` names no kind, and the function has none of its own.
    """
    named = next((prefix for prefix in _PREFIXES if function.startswith(prefix)), None)
    if wanted is not None:
        own = Hook(_PREFIXES[named]) if named else _by_context(context, body)
        return _asked(function, wanted, own)
    if named is None:
        return _by_context(context, body)
    return _named(_PREFIXES[named], function.removeprefix(named))


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
        if function and Path("/sys/kernel/btf", module).exists():
            return Hook(f"{kind}/{module}:{function}")
    return Hook(f"{kind}/{name}")


def _tracepoint(name: str) -> str:
    # Both names may hold two underscores; the kernel knows which pair exists.
    parts = name.split("__")
    pairs = [("__".join(parts[:at]), "__".join(parts[at:])) for at in range(1, len(parts))]
    root = tracefs_root() / "events"
    known = [pair for pair in pairs if os.access(root / pair[0] / pair[1], os.F_OK)]
    return "/".join((known or pairs or [(name, "")])[0])


def _by_context(context: str, body: str) -> Hook:
    if context.startswith("struct tracepoint__"):  # names one tracepoint
        return Hook(f"tp/{_tracepoint(context.removeprefix('struct tracepoint__'))}")
    if "_bpf_readarg_" in body:
        return Hook("usdt", waits=True)
    kind = _CONTEXTS.get(context, "tp" if context.startswith("struct ") else "kprobe")
    return Hook("tc" if kind == "socket" and _TC_WORDS.search(body) else kind, waits=True)


def _asked(function: str, wanted: str, own: Hook) -> Hook:
    first, colon, place = wanted.partition(":")
    kind = _KINDS.get(first, first)
    if not (colon and _is_kind(kind)):
        kind, place = own.section.partition("/")[0] if own.section.startswith("tp/") else own.section, wanted
    if not place:
        hint = f"write --attach {function}={first}:TARGET, as in kprobe:vfs_read or uprobe:libc.so.6:malloc"
        raise CellError(f"--attach {function}={wanted} does not say where", hint=hint)
    if kind in ("kprobe", "kretprobe", "uprobe", "uretprobe") and _PATTERN.search(place):
        kind += ".multi"
    if colon and kind == own.section and re.fullmatch(r"[a-z_.]+", first) and kind in ("kprobe", "tp"):
        _check(function, first, place)
    return Hook(kind, place)


def _check(function: str, first: str, place: str) -> None:
    # "uprob:libc.so.6:malloc" is a misspelt kind, not a function in a module.
    near = nearest(first, _all_kinds())
    if near and "/" in place:
        raise CellError(f"--attach {function}={first}:{place}: there is no kind {first!r}", hint=did_you_mean(near))


def _all_kinds() -> Collection[str]:
    return (*_KINDS, "kprobe", "kretprobe", "uprobe", "uretprobe", "usdt", "tp", "raw_tp", "fentry", "fexit", "lsm",
            "perf_event", "xdp", "tc", "socket", "ksyscall", "kretsyscall", "iter")  # fmt: skip


def _is_kind(name: str) -> bool:
    if not re.fullmatch(r"[a-z_.]+(?:/\w+)?", name):
        return False
    try:
        parse_section(name)
    except EbpflabError:
        return False
    return True
