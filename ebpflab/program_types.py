"""One table of BPF program types: their sections, contexts, targets, and what each needs to be attached.

The section names are those of ``section_defs`` in libbpf's ``src/libbpf.c`` (1.1 to 1.7), in its spelling:
``tp+`` stands for ``SEC("tp")`` and ``SEC("tp/TARGET")``, and a name without a plus takes no target. Nothing
here asks the kernel; :func:`ebpflab.inspectors.search.explain_missing` tells whether a target exists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .errors import AttachError, HookNotFoundError
from .similar import did_you_mean, nearest

_TRACING = ("CAP_BPF", "CAP_PERFMON")
_NETWORK = ("CAP_BPF", "CAP_NET_ADMIN")
# Attaching a uprobe takes CAP_SYS_ADMIN again since kernel commit ba677dbe77af (CVE-2025-38466).
_UPROBE = (*_TRACING, "CAP_SYS_ADMIN")
_SKB, _REGISTERS, _ARGUMENTS = (
    "struct __sk_buff",
    "struct pt_regs",
    "unsigned long long[]: arguments, by BPF_PROG",
)


@dataclass(frozen=True)
class ProgramType:
    """What this package knows about one kind of program.

    Attributes
    ----------
    kind
        The name that ``hooks(kind=...)`` and sessions use.
    sections
        Section names in libbpf's spelling; a plus at the end allows a target.
    context
        The C type that the program's context pointer points to, or the rule for it.
    target
        What follows the section name and a slash; "" if nothing does.
    attach
        "section": attached to a target. "run": run on request with ``test_run``, never attached. None:
        loaded, but not attached by this package yet.
    test_run
        What BPF_PROG_TEST_RUN hands to the program: "data" (a packet), "ctx", or None: there is no such run.
    capabilities, features
        What loading and attaching takes, as names of capabilities(7) and of ``ebpflab.features()``.
    first_kernel
        The Linux version that brought it, for documentation: whether a kernel has it is probed.
    """

    kind: str
    sections: tuple[str, ...]
    context: str
    target: str = ""
    attach: Literal["section", "run"] | None = None
    test_run: Literal["data", "ctx"] | None = None
    capabilities: tuple[str, ...] = _TRACING
    features: tuple[str, ...] = ()
    first_kernel: str = ""

    @property
    def supported(self) -> bool:
        """Whether this package can make the program run: attach it, or run it where it is never attached."""
        return self.attach is not None

    @property
    def reason(self) -> str:
        """Why a program of this kind cannot be attached, or "" if it can."""
        if self.attach == "section":
            return ""
        if self.attach == "run":
            return f"a {self.kind} program is run on request and never attached"
        return f"ebpflab loads {self.kind} programs but does not attach this kind yet; use --no-attach or attach=False"


@dataclass(frozen=True)
class Section:
    """A section name taken apart; ``type`` is the row of the table that it belongs to.

    ``autoload`` is False for a section that starts with a question mark: libbpf leaves it out unless asked.
    """

    type: ProgramType
    prefix: str
    target: str = ""
    sleepable: bool = False
    autoload: bool = True

    @property
    def kind(self) -> str:
        """The kind of program."""
        return self.type.kind

    @property
    def attachable(self) -> bool:
        """Whether this package can attach the program."""
        return self.type.attach == "section"

    @property
    def reason(self) -> str:
        """Why it cannot, or ""."""
        return self.type.reason


@dataclass(frozen=True)
class UprobeTarget:
    """A place in a binary: ``offset`` bytes into a function, or into the file where there is no function."""

    path: str
    function: str | None
    offset: int = 0


def _cgroup(kind: str, context: str, sections: str, first_kernel: str) -> ProgramType:
    names = tuple(f"cgroup/{section}" for section in sections.split())
    return ProgramType(kind, names, context, capabilities=_NETWORK, first_kernel=first_kernel)


def _network(
    kind: str,
    sections: tuple[str, ...],
    context: str,
    first_kernel: str,
    test_run: Literal["data", "ctx"] | None = None,
) -> ProgramType:
    return ProgramType(kind, sections, context, test_run=test_run, capabilities=_NETWORK, first_kernel=first_kernel)


PROGRAM_TYPES: tuple[ProgramType, ...] = (
    ProgramType(
        "tracepoint",
        ("tracepoint+", "tp+"),
        "struct tracepoint__CATEGORY__EVENT, from the tracepoint's format file",
        target="CATEGORY/EVENT",
        attach="section",
        features=("tracefs",),
        first_kernel="4.7",
    ),
    ProgramType(
        "raw_tracepoint",
        ("raw_tracepoint+", "raw_tp+", "raw_tracepoint.w+", "raw_tp.w+"),
        "struct bpf_raw_tracepoint_args",
        target="NAME",
        attach="section",
        test_run="ctx",
        first_kernel="4.17",
    ),
    ProgramType(
        "tp_btf",
        ("tp_btf+",),
        _ARGUMENTS,
        target="NAME",
        attach="section",
        features=("btf",),
        first_kernel="5.5",
    ),
    ProgramType(
        "uprobe",
        ("uprobe+", "uprobe.s+"),
        _REGISTERS,
        target="PATH:FUNCTION[+OFFSET]",
        attach="section",
        capabilities=_UPROBE,
        features=("uprobe",),
        first_kernel="4.3",
    ),
    ProgramType(
        "uretprobe",
        ("uretprobe+", "uretprobe.s+"),
        _REGISTERS,
        target="PATH:FUNCTION",
        attach="section",
        capabilities=_UPROBE,
        features=("uprobe",),
        first_kernel="4.3",
    ),
    ProgramType(
        "iter",
        ("iter+", "iter.s+"),
        "struct bpf_iter__NAME",
        target="NAME",
        attach="section",
        features=("btf",),
        first_kernel="5.8",
    ),
    ProgramType(
        "syscall",
        ("syscall",),
        "any struct: the bytes that test_run is given as ctx",
        attach="run",
        test_run="ctx",
        first_kernel="5.14",
    ),
    # Everything below is loaded and not attached.
    ProgramType("kprobe", ("kprobe+",), _REGISTERS, "FUNCTION[+OFFSET]", first_kernel="4.1"),
    ProgramType("kretprobe", ("kretprobe+",), _REGISTERS, "FUNCTION", first_kernel="4.1"),
    ProgramType(
        "kprobe.multi",
        ("kprobe.multi+", "kretprobe.multi+"),
        _REGISTERS,
        "PATTERN",
        first_kernel="5.18",
    ),
    ProgramType("kprobe.session", ("kprobe.session+",), _REGISTERS, "PATTERN", first_kernel="6.10"),
    ProgramType(
        "uprobe.multi",
        ("uprobe.multi+", "uretprobe.multi+", "uprobe.multi.s+", "uretprobe.multi.s+"),
        _REGISTERS,
        "PATH:PATTERN",
        capabilities=_UPROBE,
        first_kernel="6.6",
    ),
    ProgramType(
        "uprobe.session",
        ("uprobe.session+", "uprobe.session.s+"),
        _REGISTERS,
        "PATH:PATTERN",
        capabilities=_UPROBE,
        first_kernel="6.13",
    ),
    ProgramType("ksyscall", ("ksyscall+", "kretsyscall+"), _REGISTERS, "SYSCALL", first_kernel="4.1"),
    ProgramType(
        "usdt",
        ("usdt+", "usdt.s+"),
        _REGISTERS,
        "PATH:PROVIDER:NAME",
        capabilities=_UPROBE,
    ),
    ProgramType("fentry", ("fentry+", "fentry.s+"), _ARGUMENTS, "FUNCTION", first_kernel="5.5"),
    ProgramType("fexit", ("fexit+", "fexit.s+"), _ARGUMENTS, "FUNCTION", first_kernel="5.5"),
    ProgramType("fsession", ("fsession+", "fsession.s+"), _ARGUMENTS, "FUNCTION"),
    ProgramType("fmod_ret", ("fmod_ret+", "fmod_ret.s+"), _ARGUMENTS, "FUNCTION", first_kernel="5.7"),
    ProgramType("freplace", ("freplace+",), "that of the function it replaces", "FUNCTION", first_kernel="5.6"),
    ProgramType("lsm", ("lsm+", "lsm.s+", "lsm_cgroup+"), _ARGUMENTS, "HOOK", first_kernel="5.7"),
    ProgramType("perf_event", ("perf_event",), "struct bpf_perf_event_data", first_kernel="4.9"),
    ProgramType("struct_ops", ("struct_ops+", "struct_ops.s+"), _ARGUMENTS, "MEMBER", first_kernel="5.6"),
    _network("socket_filter", ("socket",), _SKB, "3.19", "data"),
    _network("sk_reuseport", ("sk_reuseport/migrate", "sk_reuseport"), "struct sk_reuseport_md", "4.19"),
    _network(
        "tc",
        ("tc/ingress", "tc/egress", "tcx/ingress", "tcx/egress", "tc", "classifier", "action"),
        _SKB,
        "4.1",
        "data",
    ),
    _network("netkit", ("netkit/primary", "netkit/peer"), _SKB, "6.7", "data"),
    _network(
        "xdp",
        ("xdp.frags/devmap", "xdp/devmap", "xdp.frags/cpumap", "xdp/cpumap", "xdp.frags", "xdp"),
        "struct xdp_md",
        "4.8",
        "data",
    ),
    _network("lwt", ("lwt_in", "lwt_out", "lwt_xmit", "lwt_seg6local"), _SKB, "4.10", "data"),
    _network("sockops", ("sockops",), "struct bpf_sock_ops", "4.13"),
    _network(
        "sk_skb",
        ("sk_skb/stream_parser", "sk_skb/stream_verdict", "sk_skb/verdict", "sk_skb"),
        _SKB,
        "4.14",
    ),
    _network("sk_msg", ("sk_msg",), "struct sk_msg_md", "4.17"),
    _network("sk_lookup", ("sk_lookup",), "struct bpf_sk_lookup", "5.9", "ctx"),
    _network("flow_dissector", ("flow_dissector",), _SKB, "4.20", "data"),
    _network("netfilter", ("netfilter",), "struct bpf_nf_ctx", "6.4", "data"),
    _network("lirc_mode2", ("lirc_mode2",), "unsigned int", "4.18"),
    _network("cgroup_skb", ("cgroup_skb/ingress", "cgroup_skb/egress", "cgroup/skb"), _SKB, "4.10", "data"),
    _cgroup("cgroup_sock", "struct bpf_sock", "sock_create sock_release sock post_bind4 post_bind6", "4.10"),
    _cgroup(
        "cgroup_sock_addr",
        "struct bpf_sock_addr",
        "bind4 bind6 connect4 connect6 connect_unix sendmsg4 sendmsg6 sendmsg_unix recvmsg4 recvmsg6 "
        "recvmsg_unix getpeername4 getpeername6 getpeername_unix getsockname4 getsockname6 getsockname_unix",
        "4.17",
    ),
    _cgroup("cgroup_sysctl", "struct bpf_sysctl", "sysctl", "5.2"),
    _cgroup("cgroup_sockopt", "struct bpf_sockopt", "getsockopt setsockopt", "5.3"),
    _cgroup("cgroup_device", "struct bpf_cgroup_dev_ctx", "dev", "4.15"),
)

_ALL = {section: row for row in PROGRAM_TYPES for section in row.sections}
_EXACT = {section: row for section, row in _ALL.items() if not section.endswith("+")}
_WITH_TARGET = {section[:-1]: row for section, row in _ALL.items() if section.endswith("+")}
_NUMBER = re.compile(r"(0x[0-9a-f]+)|(0[0-7]*)|([1-9][0-9]*)", re.IGNORECASE)


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


def tracepoint_target(text: str) -> tuple[str, str]:
    """Split ``category/event`` or ``category:event`` into its two names.

    Raises
    ------
    AttachError
        The text is neither.
    """
    found = re.fullmatch(r"([^/:\s]+)[/:]([^/:\s]+)", text.strip())
    if found is None:
        raise AttachError(
            f"{text!r} does not name a tracepoint",
            hint='write category/event, as in SEC("tp/syscalls/sys_enter_openat")',
        )
    return found[1], found[2]


def uprobe_target(text: str, *, returns: bool = False) -> UprobeTarget:
    """Take a uprobe target apart: ``path:function``, ``path:function+offset`` or ``path:offset``.

    The path is absolute, or the name of a program or library. Offsets are decimal, 0x... or octal 0..., and
    an offset alone counts from the start of the file.

    Parameters
    ----------
    text
        The target.
    returns
        True for a uretprobe, which is at a function's return and takes no offset.

    Raises
    ------
    AttachError
        The text is none of these.

    Examples
    --------
    >>> uprobe_target("libc.so.6:malloc+0x10")
    UprobeTarget(path='libc.so.6', function='malloc', offset=16)
    """
    path, _, place = text.strip().partition(":")
    if not path or not place:
        raise AttachError(
            f"{text!r} does not name a place in a binary",
            hint="write path:function, path:function+offset or path:0xOFFSET, as in libc.so.6:malloc",
        )
    if place[0].isdigit():
        offset = _number(place)
        if offset is None:
            raise AttachError(f"{place!r} in {text!r} is not a number", hint="write 0x1234 or 4660")
        return UprobeTarget(path, None, offset)
    # What follows the last plus may belong to the name, as in "operator+".
    function, plus, tail = place.rpartition("+")
    offset = _number(tail) if plus and function else None
    if offset is None:
        return UprobeTarget(path, place)
    if returns and offset:
        raise AttachError(f"{text!r}: a uretprobe takes no offset", hint=f"write {path}:{function}")
    return UprobeTarget(path, function, offset)


def _number(text: str) -> int | None:
    # strtol's three bases, which is how libbpf reads an offset.
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    return int(text, 16 if found[1] else 8 if found[2] else 10)


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
