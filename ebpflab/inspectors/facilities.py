"""What the running kernel was built with, as far as that can be seen without trying.

Files and names tell: kinds of perf events in sysfs, functions in ``/proc/kallsyms``, the enumerators of bpf(2) in the
kernel's BTF. A kernel's version never does. What only trying tells, :func:`ebpflab.features` tries.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import KernelSupportError
from ..program_types import BY_KIND
from . import functions, kernel_btf
from .kernel import facts, kernel_config, tracefs_path

if TYPE_CHECKING:
    from collections.abc import Callable

_EVENT_SOURCES = Path("/sys/bus/event_source/devices")
_COMMAND_LINE = Path("/proc/cmdline")
_JIT_SWITCH = Path("/proc/sys/net/core/bpf_jit_enable")


class _Check(NamedTuple):
    # `there` is None where it cannot be seen; `why` says what it means that something is not there.
    there: Callable[[], bool | None]
    why: str


def facility(kind: str, prefix: str = "") -> str:
    """Return why this kernel cannot attach programs of a kind, or "" if it can, as far as one can see.

    Parameters
    ----------
    kind
        A kind of :data:`ebpflab.program_types.PROGRAM_TYPES`.
    prefix
        The section name before its slash, for those that are newer than their kind: "cgroup/connect_unix".

    Examples
    --------
    >>> facility("netkit")
    'this kernel was built without netkit devices (CONFIG_NETKIT)'
    """
    checks = (*_CHECKS.get(kind, ()), *_PREFIXES.get(prefix, ()))
    return next((check.why for check in checks if check.there() is False), "") or _inactive(kind)


def instead(kind: str, target: str = "") -> str:
    """Return what does much the same on this kernel, as advice; "" where nothing does.

    Examples
    --------
    >>> instead("ksyscall", "openat")
    'SEC("tp/syscalls/sys_enter_openat") does the same here'
    """
    for other, advice in _INSTEAD.get(kind, ()):
        if not facility(other):
            return advice.format(target=target.partition("+")[0] or BY_KIND[other].example)
    return ""


def _event_source(name: str) -> Callable[[], bool | None]:
    # Kinds of events that perf_event_open(2) knows have a folder each, if sysfs is mounted.
    return lambda: (_EVENT_SOURCES / name).exists() if _EVENT_SOURCES.exists() else None


def _function(name: str) -> Callable[[], bool | None]:
    def there() -> bool | None:
        try:
            return name in functions.functions()
        except KernelSupportError:
            return None

    return there


def _enumerator(name: str) -> Callable[[], bool | None]:
    def there() -> bool | None:
        try:
            return kernel_btf.has(name)
        except KernelSupportError:
            return None

    return there


def _btf() -> bool:
    return (kernel_btf.DIRECTORY / "vmlinux").exists()


def _jit() -> bool | None:
    try:
        return _JIT_SWITCH.read_text().strip() != "0"
    except OSError:
        return None


def _ftrace() -> bool | None:
    # Whether functions may be patched at all. Some hypervisors forbid it: the kernel has ftrace, and its files say
    # EPERM to everybody. (A user who may not look is told EACCES.)
    tracefs = tracefs_path()
    if tracefs is None:
        return None
    try:
        os.close(os.open(tracefs / "available_filter_functions", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        # Lockdown also answers so; that forbids all tracing, and is told apart.
        return False if error.errno == errno.EPERM and facts().lockdown != "confidentiality" else None
    return True


def _active_modules() -> tuple[str, ...] | None:
    # The security modules that were started; where securityfs is not mounted, those that the kernel was told to.
    known = facts().lsms
    if known is not None:
        return known
    words = dict(word.partition("=")[::2] for word in _COMMAND_LINE.read_text().split())
    listed = words.get("lsm", (kernel_config() or {}).get("CONFIG_LSM"))
    return None if listed is None else tuple(listed.split(","))


def _inactive(kind: str) -> str:
    modules = _active_modules() if kind in ("lsm", "lsm_cgroup") else None
    if modules is None or "bpf" in modules:
        return ""
    wanted = ",".join([*(name for name in modules if name != "capability"), "bpf"])
    return f"bpf is not among the active security modules ({', '.join(modules)}): boot with lsm={wanted}"


def _built(there: Callable[[], bool | None], what: str, option: str) -> _Check:
    return _Check(there, f"this kernel was built without {what} ({option})")


def _since(enumerator: str, what: str, version: str) -> _Check:
    return _Check(_enumerator(enumerator), f"this kernel is older than {what}, which came with Linux {version}")


def _newer(kind: str, enumerator: str) -> _Check:
    return _since(enumerator, f"{kind} programs", BY_KIND[kind].first_kernel)


_EVENTS = _built(_function("trace_call_bpf"), "BPF programs for tracing", "CONFIG_BPF_EVENTS")
_KPROBES = (_built(_event_source("kprobe"), "kprobes", "CONFIG_KPROBES"), _EVENTS)
_UPROBES = (_built(_event_source("uprobe"), "uprobes", "CONFIG_UPROBE_EVENTS"), _EVENTS)
_FPROBES = (_built(_function("register_fprobe_ips"), "fprobes", "CONFIG_FPROBE"), _EVENTS)
_BTF = _built(_btf, "BTF", "CONFIG_DEBUG_INFO_BTF")
_JIT = _Check(_jit, "the BPF JIT is off: sysctl net.core.bpf_jit_enable=1 switches it on")
_PATCHED = _Check(_ftrace, "this kernel does not let its functions be patched: ftrace answers EPERM")
_TRAMPOLINE = (
    _BTF,
    _JIT,
    _built(_function("register_ftrace_direct"), "ftrace's direct calls", "CONFIG_DYNAMIC_FTRACE"),
    _PATCHED,
)
_LSM = (_built(_function("bpf_lsm_file_open"), "the LSM for BPF", "CONFIG_BPF_LSM"), *_TRAMPOLINE)
_CGROUP = (_built(_function("cgroup_bpf_prog_attach"), "BPF programs for cgroups", "CONFIG_CGROUP_BPF"),)
_LWT = (_built(_function("bpf_lwt_push_ip_encap"), "BPF programs in routes", "CONFIG_LWTUNNEL_BPF"),)

_CHECKS: dict[str, tuple[_Check, ...]] = {
    "tracepoint": (_EVENTS,),
    "raw_tracepoint": (_EVENTS,),
    "tp_btf": (_BTF, _EVENTS),
    "kprobe": _KPROBES,
    "kretprobe": _KPROBES,
    "ksyscall": _KPROBES,
    "kprobe.multi": (_newer("kprobe.multi", "BPF_TRACE_KPROBE_MULTI"), *_FPROBES),
    "kprobe.session": (_newer("kprobe.session", "BPF_TRACE_KPROBE_SESSION"), *_FPROBES),
    "uprobe": _UPROBES,
    "uretprobe": _UPROBES,
    "usdt": _UPROBES,
    "uprobe.multi": (_newer("uprobe.multi", "BPF_TRACE_UPROBE_MULTI"), *_UPROBES),
    "uprobe.session": (_newer("uprobe.session", "BPF_TRACE_UPROBE_SESSION"), *_UPROBES),
    "fentry": _TRAMPOLINE,
    "fexit": _TRAMPOLINE,
    "fmod_ret": _TRAMPOLINE,
    "fsession": (_newer("fsession", "BPF_TRACE_FSESSION"), *_TRAMPOLINE),
    "freplace": (_BTF, _JIT, _PATCHED),
    "lsm": _LSM,
    "lsm_cgroup": (_newer("lsm_cgroup", "BPF_LSM_CGROUP"), *_LSM, *_CGROUP),
    "struct_ops": (_BTF, _JIT),
    "perf_event": (_EVENTS,),
    "iter": (_BTF,),
    "syscall": (_newer("syscall", "BPF_PROG_TYPE_SYSCALL"),),
    "netkit": (
        _newer("netkit", "BPF_NETKIT_PRIMARY"),
        _built(_function("netkit_link_attach"), "netkit devices", "CONFIG_NETKIT"),
    ),
    "netfilter": (
        _newer("netfilter", "BPF_NETFILTER"),
        _built(_function("bpf_nf_link_attach"), "BPF programs for netfilter", "CONFIG_NETFILTER_BPF_LINK"),
    ),
    "lwt_in": _LWT,
    "lwt_out": _LWT,
    "lwt_xmit": _LWT,
    "lwt_seg6local": (
        _built(_function("bpf_lwt_seg6_action"), "BPF programs for segment routing", "CONFIG_IPV6_SEG6_BPF"),
    ),
    "sk_lookup": (_newer("sk_lookup", "BPF_SK_LOOKUP"),),
    "sk_skb": (_built(_function("sk_msg_alloc"), "maps of sockets", "CONFIG_NET_SOCK_MSG"),),
    "sk_msg": (_built(_function("sk_msg_alloc"), "maps of sockets", "CONFIG_NET_SOCK_MSG"),),
    "lirc_mode2": (_built(_function("lirc_prog_attach"), "BPF programs for remote controls", "CONFIG_BPF_LIRC_MODE2"),),
    **{kind: _CGROUP for kind in BY_KIND if kind.startswith("cgroup_") or kind == "sockops"},
}
_UNIX = "connect getpeername getsockname recvmsg sendmsg"
_PREFIXES: dict[str, tuple[_Check, ...]] = {
    **{f"cgroup/{word}_unix": (_since("BPF_CGROUP_UNIX_CONNECT", "this section", "6.7"),) for word in _UNIX.split()},
    "sk_reuseport/migrate": (_since("BPF_SK_REUSEPORT_SELECT_OR_MIGRATE", "this section", "5.14"),),
    "sk_skb/stream_parser": (
        _built(_function("sk_psock_init_strp"), "the stream parser for BPF", "CONFIG_BPF_STREAM_PARSER"),
    ),
}
_TRACED = (("tp_btf", 'tracepoints do without: hooks(kind="tp_btf") lists them'),)
_ENTERED = (("kprobe", 'SEC("kprobe/{target}") does much the same here'), *_TRACED)
_REFUSING = (("tp_btf", "tracepoints do without, but cannot refuse anything"),)
# By kind: another kind, and what to say of it if this kernel has that.
_INSTEAD: dict[str, tuple[tuple[str, str], ...]] = {
    "kprobe": (("fentry", 'SEC("fentry/{target}") does much the same here'), *_TRACED),
    "kretprobe": (("fexit", 'SEC("fexit/{target}") does much the same here'), *_TRACED),
    "kprobe.multi": (("kprobe", 'a SEC("kprobe/FUNCTION") for each function does the same here'), *_TRACED),
    "kprobe.session": (
        ("kprobe.multi", 'SEC("kprobe.multi/{target}") and SEC("kretprobe.multi/{target}") do the same here'),
        ("kprobe", 'SEC("kprobe/FUNCTION") and SEC("kretprobe/FUNCTION") do the same here'),
        *_TRACED,
    ),
    "ksyscall": (("tracepoint", 'SEC("tp/syscalls/sys_enter_{target}") does the same here'),),
    "uprobe.multi": (("uprobe", 'a SEC("uprobe/PATH:FUNCTION") for each function does the same here'),),
    "uprobe.session": (("uprobe", 'SEC("uprobe/{target}") and SEC("uretprobe/{target}") do the same here'),),
    "fentry": _ENTERED,
    "fexit": (("kretprobe", 'SEC("kretprobe/{target}") does much the same here'), *_TRACED),
    "fsession": (("fentry", 'SEC("fentry/{target}") and SEC("fexit/{target}") do the same here'), *_ENTERED),
    "fmod_ret": _REFUSING,
    "lsm": (("kprobe", 'SEC("kprobe/security_{target}") sees the same calls, but cannot refuse them'), *_REFUSING),
    "lsm_cgroup": (("cgroup_sock_addr", 'SEC("cgroup/connect4") and its like refuse as well'),),
    "netkit": (("tc", 'SEC("tc") does the same on any interface'),),
    "netfilter": (("tc", 'SEC("tc") sees the packets of one interface'),),
    **dict.fromkeys(("lwt_in", "lwt_out", "lwt_xmit"), (("tc", 'SEC("tc") sees the packets of one interface'),)),
}
