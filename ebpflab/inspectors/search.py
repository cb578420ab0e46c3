"""What can be hooked on this machine: a search over all names, and why a given one does not exist.

Tracepoints come from tracefs. Raw tracepoints and iterators come from the kernel's BTF: for every tracepoint
it has a typedef ``btf_trace_NAME`` (``include/trace/bpf_probe.h``), for every iterator a function
``bpf_iter_NAME`` and a struct ``bpf_iter__NAME`` (``include/linux/bpf.h``). Functions, binaries, interfaces and
cgroups have modules of their own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import CellError, HookNotFoundError, KernelSupportError, PrivilegeError
from ..program_types import (
    BY_KIND,
    Section,
    is_pattern,
    netfilter_names,
    netfilter_target,
    perf_event_names,
    perf_event_target,
    tracepoint_target,
)
from ..similar import did_you_mean, nearest
from . import bcc_names, binaries, functions, kernel_btf, network, tracefs
from .cgroups import cgroups, explain_cgroup
from .facilities import facility
from .kernel import facts
from .matching import Table, is_expression, matcher, table
from .missing import absent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pandas as pd

    from .kernel import Facts

_EVENT_SOURCES = Path("/sys/bus/event_source/devices")
_DEVICES = Path("/dev")
_HARDWARE, _SOFTWARE = 0, 1  # PERF_TYPE_*


def hooks(pattern: str = "", kind: str | None = None, engine: str = "libbpf") -> pd.DataFrame:
    """Return what can be hooked on this machine.

    A kind whose names cannot be read is one row named ``*`` that says why, whatever the pattern. What takes
    trying is not tried: a hook that is available may still be refused.

    Parameters
    ----------
    pattern
        A part of a name in either case; with ``*`` or ``?`` a glob for a whole name, with or without its
        category; between slashes (``/^sched_/``) a regular expression. A slash inside looks in the section.
        ``libc.so.6:mal*`` looks for functions and USDT probes of a binary.
    kind
        Only hooks of this kind, such as "kprobe" or "cgroup_device". By default one kind stands for all that
        share their names: kprobe also for kretprobe, fentry for fexit, xdp and tc for what takes an interface.
    engine
        "bcc" for a column ``bcc`` in the place of ``section``: ``kprobe__vfs_read``. Kinds unknown to BCC have no rows.

    Returns
    -------
    pandas.DataFrame
        kind, name, section (for ``SEC("...")``), available (bool), and why not ("" if it is). If it is empty,
        ``attrs["note"]`` says so, with names that resemble the pattern.

    Raises
    ------
    CellError
        The kind or the regular expression is not one.
    HookNotFoundError
        The pattern names a binary that does not exist.

    Examples
    --------
    >>> hooks("openat", kind="tracepoint")["section"].tolist()[0]
    'tp/syscalls/sys_enter_openat'
    """
    import pyarrow as pa

    bcc_names.check_engine(engine)
    matcher(pattern := bcc_names.section_of(pattern))  # a bad expression is refused before anything is read
    known = facts()
    found = [_found(each, pattern, known) for each in _kinds(pattern, kind)]

    def of_kind(value: Callable[[_Found], str | bool], arrow: pa.DataType) -> pa.ChunkedArray:
        return pa.chunked_array([pa.repeat(pa.scalar(value(each), arrow), len(each.table.names)) for each in found])

    text = pa.large_string()
    columns = {
        "kind": of_kind(lambda each: each.kind, text),
        "name": pa.chunked_array([each.table.names for each in found]),
        "section": pa.chunked_array([each.table.sections for each in found]),
        "available": of_kind(lambda each: not each.why, pa.bool_()),
        "why": of_kind(lambda each: each.why, text),
    }
    frame: pd.DataFrame = pa.table(columns).to_pandas()
    frame = bcc_names.in_frame(frame) if engine == "bcc" else frame
    if frame.empty:
        frame.attrs["note"] = _nothing(pattern, [each.kind for each in found])
    return frame


def _nothing(pattern: str, kinds: list[str]) -> str:
    listed = [kind for kind in kinds if kind in _SOURCES]
    known = (name for kind in listed for name in names(kind)) if len(listed) == 1 else tracefs.events()
    near = did_you_mean(nearest(pattern, known))
    return f"no hook matches {pattern!r}{f': {near}' if near else ''}"


def kinds() -> tuple[str, ...]:
    """Return the kinds of hooks that can be searched, in the order of the table of program types.

    Examples
    --------
    >>> kinds()[0]
    'tracepoint'
    """
    return tuple(each for each in BY_KIND if each in _SOURCES or each in _IN_BINARIES)


def explain_missing(kind: str, target: str, netns: str = "") -> HookNotFoundError | None:
    """Tell why a program of this kind cannot find its target, or return None if the target exists.

    None is also the answer where nothing can be said: an empty target, a kind without names (``syscall``), or
    one whose names are those of the cell (``sk_msg``).

    Parameters
    ----------
    kind
        A kind of :data:`ebpflab.program_types.PROGRAM_TYPES`.
    target
        What follows the section name, as in ``syscalls/sys_enter_openat`` or ``libc.so.6:malloc``.
    netns
        The network namespace where the target is, if not in that of this thread; then only the namespace is
        looked for.

    Raises
    ------
    AttachError
        The target is not of the form that this kind takes.
    KernelSupportError, PrivilegeError
        The names cannot be read: no tracefs, no BTF, or no permission to look.

    Examples
    --------
    >>> explain_missing("tracepoint", "sched/sched_swich").nearest[0]
    'sched/sched_switch'
    """
    if netns:
        return network.explain_namespace(netns)
    explain = _EXPLAIN.get(kind)
    return explain(target) if explain and target else None


def missing(section: Section) -> str:
    """Return why this machine cannot attach a program where its section says, or "" if nothing is known to be missing.

    Raises
    ------
    KernelSupportError, PrivilegeError
        That cannot be told: the names cannot be read.

    Examples
    --------
    >>> missing(parse_section("tp/sched/sched_swich"))
    "no tracepoint is called 'sched/sched_swich'"
    """
    lacks = facility(section.type.kind, section.prefix)
    error = None if lacks else explain_missing(section.type.kind, section.target)
    return lacks or (error.what if error else "")


def suggest_target(section: Section, program: str) -> str:
    """Return what to write for a program whose section does not say where it is attached.

    Examples
    --------
    >>> suggest_target(parse_section("xdp"), "on_packet")
    'give --attach on_packet=INTERFACE, as in --attach on_packet=lo (there are lo, eth0); --no-attach only loads it'
    """
    row = section.type
    there = _known(row.kind)
    example = row.example if row.example in there or not there else there[0]
    shown = f", as in --attach {program}={example}" if example else ""
    listed = f" (there are {', '.join(there[:_FEW])}{' ...' if len(there) > _FEW else ''})" if len(there) > 1 else ""
    way = f"give --attach {program}={row.target}{shown}{listed}"
    if f"{section.prefix}+" in row.sections and not row.hook:
        return f'write SEC("{section.prefix}/{row.target}"), or {way}'
    return way if row.typed else f"{way}; --no-attach only loads it"


def names(kind: str) -> Iterable[str]:
    """Return the names of the hooks of one kind, () for a kind whose hooks have no list.

    Raises
    ------
    KernelSupportError, PrivilegeError
        The names cannot be read.

    Examples
    --------
    >>> "vfs_read" in names("kprobe")
    True
    """
    return _SOURCES[kind].names() if kind in _SOURCES else ()


class _Source(NamedTuple):
    # Where the names of a kind come from, and the section to write; a slash at its end takes the name.
    section: str
    names: Callable[[], Iterable[str]]


class _Found(NamedTuple):
    # The hooks of a kind that a pattern matches, and why they are not available.
    kind: str
    table: Table
    why: str


def _kinds(pattern: str, kind: str | None) -> list[str]:
    known = list(kinds())
    if kind is None:
        binary, colon, _ = pattern.partition(":")
        named = colon and not is_expression(pattern) and ("/" in binary or ".so" in binary)
        return [each for each in known if each in _DEFAULT or (named and each in ("uprobe", "usdt"))]
    if kind not in known:
        near = did_you_mean(nearest(kind, known))
        raise CellError(
            f"hooks cannot be searched by kind {kind!r}", hint=f"{near or ''} kinds: {', '.join(known)}".strip()
        )
    return [kind]


def _found(kind: str, pattern: str, known: Facts) -> _Found:
    section = f"{kind}/" if kind in _IN_BINARIES else _SOURCES[kind].section
    try:
        if kind in _IN_BINARIES:
            return _Found(kind, table(section, _in_binary(kind, pattern)), _why_not(kind, known))
        whole = table(section, _SOURCES[kind].names())
        return _Found(kind, whole.matching(pattern) if pattern.strip() else whole, _why_not(kind, known))
    except (KernelSupportError, PrivilegeError) as error:
        return _Found(kind, table(section, ("*",)), f"{error.what}: {error.hint}" if error.hint else error.what)


def _in_binary(kind: str, pattern: str) -> list[str]:
    binary, colon, part = pattern.strip().partition(":")
    if not colon or is_expression(pattern):
        hint = f"as in hooks('{BY_KIND[kind].example.rpartition(':')[0]}:...', kind={kind!r})"
        raise CellError(f"a search for {kind} has to name a binary", hint=hint)
    path = binaries.resolve_binary(binary)
    if path is None:
        raise binaries.no_binary(binary)
    wanted = matcher(part)
    return [f"{binary}:{name}" for name in sorted(_IN_BINARIES[kind](path)) if wanted(name, "")]


def _why_not(kind: str, known: Facts) -> str:
    missing = [need for need in BY_KIND[kind].capabilities if not known.can(need)]
    return facility(kind) or (f"needs {' and '.join(missing)}" if missing else "")


def _known(kind: str) -> list[str]:
    # Names to choose from, where they are few enough to be looked at; nothing is said of what cannot be read.
    try:
        return list(_SOURCES[kind].names()) if kind in _LISTED else []
    except (KernelSupportError, PrivilegeError):
        return []


def _tracepoints_in_btf() -> frozenset[str]:
    return kernel_btf.names(rb"btf_trace_(\w+)")


def _iterators() -> frozenset[str]:
    # Either half alone is also the name of other things: bpf_iter_num_new, bpf_iter__task__safe_trusted.
    found = kernel_btf.names(rb"bpf_iter_(\w+)")
    return frozenset(name for name in found if f"_{name}" in found)


def _perf_events() -> tuple[str, ...]:
    return (*(perf_event_names(_HARDWARE) if _has_counters() else ()), *perf_event_names(_SOFTWARE))


def _has_counters() -> bool:
    # Whether something in the processor counts cycles ("cpu-cycles", "cpu_cycles"), which few virtual machines see.
    return any(re.search(r"cpu.cycles$", path.name, re.I) for path in _EVENT_SOURCES.glob("*/events/*"))


def _remote_controls() -> list[str]:
    return [str(path) for path in _DEVICES.glob("lirc*")]


def _namespaces() -> tuple[str, ...]:
    return ("self", *network.namespaces())


def _explain_tracepoint(target: str) -> HookNotFoundError | None:
    if is_pattern(target):
        what = f"no tracepoint matches {target!r}"
        return (
            None
            if functions.matching_tracepoints(target)
            else HookNotFoundError(what, hint="hooks(kind='tracepoint') lists them")
        )
    category, event = tracepoint_target(target)
    if tracefs.has_event(category, event):  # a list of thousands takes milliseconds to make
        return None
    names = frozenset(name.replace(":", "/") for name in tracefs.events())
    return absent("tracepoint", f"{category}/{event}", names)


def _explain_raw(target: str) -> HookNotFoundError | None:
    try:
        names = _tracepoints_in_btf()
    except KernelSupportError:
        # A kernel without BTF has raw tracepoints all the same, and lists them nowhere.
        return None
    error = absent("raw tracepoint", target, names)
    if error and re.match(r"sys_(enter|exit)_", target):
        general = "_".join(target.split("_")[:2])
        error.hint = f"system calls share one raw tracepoint: use raw_tp/{general} and compare the call's number"
    return error


def _explain_perf_event(target: str) -> HookNotFoundError | None:
    if perf_event_target(target).type == _SOFTWARE or _has_counters():
        return None
    what = f"this machine has no hardware counter for {target}, as is usual for a virtual one"
    return HookNotFoundError(what, nearest=("cpu-clock",), hint="cpu-clock is there on every machine")


def _explain_netfilter(target: str) -> None:
    netfilter_target(target)  # raises AttachError; all hooks that can be named exist


def _explain_lirc(target: str) -> HookNotFoundError | None:
    if Path(target).exists():
        return None
    devices = frozenset(_remote_controls())
    return absent("remote control receiver", target, devices, None if devices else "this machine has no /dev/lirc*")


_INTERFACES = ("xdp", "tc", "netkit", "socket_filter")
_CGROUPS = tuple(kind for kind, row in BY_KIND.items() if row.target == "CGROUP")
_NAMESPACES = ("flow_dissector", "sk_lookup")
_LISTED = (*_INTERFACES, *_CGROUPS, *_NAMESPACES, "perf_event", "netfilter", "lirc_mode2")
_FEW = 8
_KPROBES = ("kprobe", "kretprobe", "kprobe.multi", "kprobe.session")
_TYPED = ("fentry", "fexit", "fsession")

# What is searched, by kind.
_SOURCES: dict[str, _Source] = {
    "tracepoint": _Source("tp/", tracefs.events),
    "raw_tracepoint": _Source("raw_tp/", _tracepoints_in_btf),
    "tp_btf": _Source("tp_btf/", _tracepoints_in_btf),
    **{kind: _Source(f"{kind}/", functions.probed) for kind in _KPROBES},
    "ksyscall": _Source("ksyscall/", functions.system_calls),
    **{kind: _Source(f"{kind}/", functions.typed) for kind in _TYPED},
    "fmod_ret": _Source("fmod_ret/", functions.modifiable),
    "lsm": _Source("lsm/", functions.lsm_hooks),
    "struct_ops": _Source("struct_ops", functions.struct_ops),
    "perf_event": _Source("perf_event", _perf_events),
    "iter": _Source("iter/", _iterators),
    "xdp": _Source("xdp", network.interfaces),
    "tc": _Source("tc", network.interfaces),
    "netkit": _Source("netkit/primary", network.netkits),
    "socket_filter": _Source("socket", network.interfaces),
    "netfilter": _Source("netfilter", netfilter_names),
    **{kind: _Source(kind, _namespaces) for kind in _NAMESPACES},
    "lirc_mode2": _Source("lirc_mode2", _remote_controls),
    **{kind: _Source(BY_KIND[kind].sections[0].rstrip("+"), cgroups) for kind in _CGROUPS},
}
_IN_BINARIES: dict[str, Callable[[Path], Iterable[str]]] = {
    **dict.fromkeys(("uprobe", "uretprobe", "uprobe.multi", "uprobe.session"), binaries.function_names),
    "usdt": binaries.usdt_names,
}
# What is searched when no kind is named: one kind of those that share names.
_DEFAULT = {
    *("tracepoint", "raw_tracepoint", "tp_btf", "kprobe", "ksyscall", "fentry", "lsm", "struct_ops", "perf_event"),
    *("iter", "xdp", "tc", "netkit", "netfilter", "cgroup_skb", "lirc_mode2"),
}

_EXPLAIN: dict[str, Callable[[str], HookNotFoundError | None]] = {
    "tracepoint": _explain_tracepoint,
    "raw_tracepoint": _explain_raw,
    "tp_btf": lambda target: absent("tracepoint with BTF", target, _tracepoints_in_btf()),
    "kprobe": functions.explain_kprobe,
    "kretprobe": functions.explain_kretprobe,
    "kprobe.multi": functions.explain_pattern,
    "kprobe.session": functions.explain_pattern,
    "ksyscall": functions.explain_system_call,
    "uprobe": binaries.explain_uprobe,
    "uretprobe": binaries.explain_uretprobe,
    "uprobe.multi": binaries.explain_uprobe_pattern,
    "uprobe.session": binaries.explain_uprobe_pattern,
    "usdt": binaries.explain_usdt,
    **dict.fromkeys(("fentry", "fexit", "fsession"), functions.explain_fentry),
    "fmod_ret": functions.explain_fmod_ret,
    "lsm": functions.explain_lsm,
    "perf_event": _explain_perf_event,
    "iter": lambda target: absent("iterator", target, _iterators()),
    "xdp": network.explain_interface,
    "tc": network.explain_interface,
    "netkit": network.explain_netkit,
    "socket_filter": network.explain_socket,
    "sk_reuseport": network.explain_socket,
    "netfilter": _explain_netfilter,
    **dict.fromkeys(_NAMESPACES, network.explain_namespace),
    **dict.fromkeys(("lwt_in", "lwt_out", "lwt_xmit", "lwt_seg6local"), network.explain_route),
    "lirc_mode2": _explain_lirc,
    **dict.fromkeys(_CGROUPS, explain_cgroup),
}
