"""The table: one row for every kind of program that Linux has.

The section names are those of ``section_defs`` in libbpf's ``src/libbpf.c`` (1.1 to 1.7), in its spelling:
``tp+`` stands for ``SEC("tp")`` and ``SEC("tp/TARGET")``, and a name without a plus takes no target.
Numbers and verdicts are those of the kernel's ``include/uapi/linux/{bpf,pkt_cls,netfilter}.h``.
"""

from __future__ import annotations

from typing import Any

from .model import Option, ProgramType, Verdict

_TRACING = ("CAP_BPF", "CAP_PERFMON")
_NETWORK = ("CAP_BPF", "CAP_NET_ADMIN")
# Attaching a uprobe takes CAP_SYS_ADMIN again since kernel commit ba677dbe77af (CVE-2025-38466).
_UPROBE = (*_TRACING, "CAP_SYS_ADMIN")
_SKB, _REGISTERS, _ARGUMENTS = (
    "struct __sk_buff",
    "struct pt_regs",
    "unsigned long long[]: arguments, by BPF_PROG",
)

_PID = Option("pid", "1234", "only in this process")
_NETNS = Option("netns", "blue", "in this network namespace: a name of ip-netns(8), a path, or a process id")
_HEADROOM = Option("headroom", "14", "bytes kept free in front of the packet, for headers that the program adds")
_IGNORED = "ignored: return 0"
_TRAMPOLINE = ("btf", "trampoline")

_XDP = (
    Verdict(0, "XDP_ABORTED", "drop the packet and fire the tracepoint xdp:xdp_exception"),
    Verdict(1, "XDP_DROP", "drop the packet"),
    Verdict(2, "XDP_PASS", "hand the packet to the network stack"),
    Verdict(3, "XDP_TX", "send the packet back out of the interface it came in by"),
    Verdict(4, "XDP_REDIRECT", "send it where bpf_redirect() or bpf_redirect_map() said"),
)
_TC = (
    Verdict(-1, "TC_ACT_UNSPEC", "go on with the next program or filter (TCX_NEXT)"),
    Verdict(0, "TC_ACT_OK", "accept the packet (TCX_PASS)"),
    Verdict(1, "TC_ACT_RECLASSIFY", "start classifying again"),
    Verdict(2, "TC_ACT_SHOT", "drop the packet (TCX_DROP)"),
    Verdict(3, "TC_ACT_PIPE", "go on with the next action"),
    Verdict(4, "TC_ACT_STOLEN", "consume the packet"),
    Verdict(5, "TC_ACT_QUEUED", "consume the packet"),
    Verdict(6, "TC_ACT_REPEAT", "run the filters again"),
    Verdict(7, "TC_ACT_REDIRECT", "send it where bpf_redirect() said (TCX_REDIRECT)"),
    Verdict(8, "TC_ACT_TRAP", "hand the packet to the CPU, on hardware that would not have"),
)
_NETKIT = (
    Verdict(-1, "NETKIT_NEXT", "go on with the next program"),
    Verdict(0, "NETKIT_PASS", "accept the packet"),
    Verdict(2, "NETKIT_DROP", "drop the packet"),
    Verdict(7, "NETKIT_REDIRECT", "send it where bpf_redirect() said"),
)
_LWT = (
    Verdict(0, "BPF_OK", "go on with the packet"),
    Verdict(2, "BPF_DROP", "drop the packet"),
)
_LWT_OUT = (
    _LWT[0],
    Verdict(2, "BPF_DROP", "drop the packet; the sender's system call fails with EPERM"),
    Verdict(7, "BPF_REDIRECT", "send it where bpf_redirect() said"),
)
_LWT_XMIT = (*_LWT_OUT, Verdict(128, "BPF_LWT_REROUTE", "look the route up again: the headers have changed"))
_SK = (
    Verdict(0, "SK_DROP", "refuse"),
    Verdict(1, "SK_PASS", "let it pass, to where a helper of the program said"),
)
_REFUSE = (
    Verdict(0, "", "refuse: the system call fails with EPERM"),
    Verdict(1, "", "allow"),
)
_CGROUP_SKB = (
    Verdict(0, "", "drop the packet"),
    Verdict(1, "", "let it pass"),
    Verdict(2, "", "egress: drop the packet, and have TCP slow down"),
    Verdict(3, "", "egress: let it pass, and have TCP slow down"),
)
_SOCKET = (Verdict(0, "", "drop the packet"),)
_NETFILTER = (Verdict(0, "NF_DROP", "drop the packet"), Verdict(1, "NF_ACCEPT", "go on with the packet"))
_DISSECTOR = (
    Verdict(0, "BPF_OK", "the flow keys are filled in"),
    Verdict(2, "BPF_DROP", "the packet cannot be dissected"),
    Verdict(129, "BPF_FLOW_DISSECTOR_CONTINUE", "leave this packet to the kernel's own dissector"),
)
_REDIRECTED = "its descriptor goes into a map of type {}, and it runs on what is redirected there"
_XDP_IN_MAPS = {
    f"xdp{frags}/{place}": _REDIRECTED.format(f"BPF_MAP_TYPE_{place.upper()}")
    for frags in ("", ".frags")
    for place in ("devmap", "cpumap")
}
_ACTION = {"action": 'it is an action of a tc filter, which tc(8) sets up; a SEC("tc") program filters and acts'}
_LSM = (Verdict(0, "", "allow, as far as this program is concerned"),)
_ITER = (Verdict(0, "", "go on with the next object"), Verdict(1, "", "visit the same object again"))


def _tracing(kind: str, sections: str, context: str, **rest: Any) -> ProgramType:
    return ProgramType(kind, tuple(sections.split()), context, **{"returns": _IGNORED, **rest})


def _network(kind: str, sections: str, context: str, **rest: Any) -> ProgramType:
    return ProgramType(kind, tuple(sections.split()), context, **{"capabilities": _NETWORK, **rest})


def _interface(kind: str, sections: str, context: str, *options: Option, **rest: Any) -> ProgramType:
    more = {"target": "INTERFACE", "example": "lo", "options": (*options, _NETNS), **rest}
    return _network(kind, sections, context, **more)


def _cgroup(kind: str, sections: str, context: str, **rest: Any) -> ProgramType:
    more = {"target": "CGROUP", "example": "/", "verdicts": _REFUSE, "config": ("CONFIG_CGROUP_BPF",), **rest}
    return _network(kind, sections, context, **more)


_KPROBES: tuple[ProgramType, ...] = (
    _tracing("kprobe", "kprobe+", _REGISTERS, type=2, target="FUNCTION[+OFFSET]", example="vfs_read",
             features=("kprobe",), config=("CONFIG_KPROBES", "CONFIG_BPF_EVENTS"), first_kernel="4.1"),
    _tracing("kretprobe", "kretprobe+", _REGISTERS, type=2, target="FUNCTION", example="vfs_read",
             features=("kprobe",), config=("CONFIG_KRETPROBES", "CONFIG_BPF_EVENTS"), first_kernel="4.1"),
    _tracing("kprobe.multi", "kprobe.multi+ kretprobe.multi+", _REGISTERS, type=2, target="PATTERN",
             example="vfs_read*", features=("kprobe.multi", "tracefs"), config=("CONFIG_FPROBE",), first_kernel="5.18"),
    _tracing("kprobe.session", "kprobe.session+", _REGISTERS, type=2, target="PATTERN", example="vfs_read*",
             returns="at entry: 0 runs the program again at the function's return, 1 does not",
             features=("kprobe.multi", "tracefs"), config=("CONFIG_FPROBE",), first_kernel="6.10"),
    _tracing("ksyscall", "ksyscall+ kretsyscall+", _REGISTERS, type=2, target="SYSCALL", example="openat",
             features=("kprobe",), config=("CONFIG_KPROBES", "CONFIG_BPF_EVENTS"), first_kernel="4.1"),
)  # fmt: skip

_UPROBES: tuple[ProgramType, ...] = (
    _tracing("uprobe", "uprobe+ uprobe.s+", _REGISTERS, type=2, target="PATH:FUNCTION[+OFFSET]",
             example="libc.so.6:malloc", options=(_PID,), capabilities=_UPROBE, features=("uprobe",),
             config=("CONFIG_UPROBES", "CONFIG_UPROBE_EVENTS"), first_kernel="4.3"),
    _tracing("uretprobe", "uretprobe+ uretprobe.s+", _REGISTERS, type=2, target="PATH:FUNCTION",
             example="libc.so.6:malloc", options=(_PID,), capabilities=_UPROBE, features=("uprobe",),
             config=("CONFIG_UPROBES", "CONFIG_UPROBE_EVENTS"), first_kernel="4.3"),
    _tracing("uprobe.multi", "uprobe.multi+ uretprobe.multi+ uprobe.multi.s+ uretprobe.multi.s+", _REGISTERS, type=2,
             target="PATH:PATTERN", example="libc.so.6:str*", options=(_PID,), capabilities=_UPROBE,
             features=("uprobe.multi",), config=("CONFIG_UPROBES",), first_kernel="6.6"),
    _tracing("uprobe.session", "uprobe.session+ uprobe.session.s+", _REGISTERS, type=2, target="PATH:PATTERN",
             example="libc.so.6:malloc", options=(_PID,), capabilities=_UPROBE,
             returns="at entry: 0 runs the program again at the function's return, 1 does not",
             features=("uprobe.multi",), config=("CONFIG_UPROBES",), first_kernel="6.13"),
    _tracing("usdt", "usdt+ usdt.s+", _REGISTERS, type=2, target="PATH:PROVIDER:NAME",
             example="/usr/bin/python3:python:gc__start", options=(_PID,), capabilities=_UPROBE,
             features=("uprobe",), config=("CONFIG_UPROBES",),
             first_kernel="4.20"),
)  # fmt: skip

_TRACEPOINTS: tuple[ProgramType, ...] = (
    _tracing("tracepoint", "tracepoint+ tp+", "struct tracepoint__CATEGORY__EVENT, from the tracepoint's format file",
             type=5, target="CATEGORY/EVENT", example="syscalls/sys_enter_openat", features=("tracefs",),
             config=("CONFIG_TRACEPOINTS", "CONFIG_BPF_EVENTS"), first_kernel="4.7"),
    _tracing("raw_tracepoint", "raw_tracepoint+ raw_tp+ raw_tracepoint.w+ raw_tp.w+", "struct bpf_raw_tracepoint_args",
             type=17, target="NAME", example="sys_enter", test_run="ctx", config=("CONFIG_BPF_EVENTS",),
             first_kernel="4.17"),
    _tracing("tp_btf", "tp_btf+", _ARGUMENTS, type=26, target="NAME", example="sched_switch", typed=True,
             features=("btf",), config=("CONFIG_DEBUG_INFO_BTF",), first_kernel="5.5"),
)  # fmt: skip

_TRAMPOLINES: tuple[ProgramType, ...] = (
    _tracing("fentry", "fentry+ fentry.s+", _ARGUMENTS, type=26, target="FUNCTION", example="vfs_read", typed=True,
             test_run="ctx", features=_TRAMPOLINE, config=("CONFIG_DEBUG_INFO_BTF", "CONFIG_DYNAMIC_FTRACE"),
             first_kernel="5.5"),
    _tracing("fexit", "fexit+ fexit.s+", _ARGUMENTS, type=26, target="FUNCTION", example="vfs_read", typed=True,
             test_run="ctx", features=_TRAMPOLINE, config=("CONFIG_DEBUG_INFO_BTF", "CONFIG_DYNAMIC_FTRACE"),
             first_kernel="5.5"),
    _tracing("fsession", "fsession+ fsession.s+", _ARGUMENTS, type=26, target="FUNCTION", example="vfs_read",
             typed=True, returns="ignored: return 0; bpf_session_is_return(ctx) is true at the function's return",
             features=_TRAMPOLINE, config=("CONFIG_DEBUG_INFO_BTF", "CONFIG_DYNAMIC_FTRACE"), first_kernel="7.0"),
    _tracing("fmod_ret", "fmod_ret+ fmod_ret.s+", _ARGUMENTS, type=26, target="FUNCTION",
             example="security_file_open", typed=True, test_run="ctx",
             verdicts=(Verdict(0, "", "run the function"),),
             returns="0 runs the function; anything else is returned to its caller instead",
             features=_TRAMPOLINE, config=("CONFIG_DEBUG_INFO_BTF", "CONFIG_DYNAMIC_FTRACE"), first_kernel="5.7"),
    _tracing("freplace", "freplace+", "that of the function it replaces", type=28, target="PROGRAM[:FUNCTION]",
             hook="FUNCTION", typed=True, returns="what the replaced function would have returned",
             capabilities=(*_TRACING, "CAP_NET_ADMIN", "CAP_SYS_ADMIN"), features=_TRAMPOLINE,
             config=("CONFIG_DEBUG_INFO_BTF",), first_kernel="5.6"),
    _tracing("lsm", "lsm+ lsm.s+", _ARGUMENTS, type=29, target="HOOK", example="file_open", typed=True, verdicts=_LSM,
             returns="0 allows; a negative error number such as -EPERM refuses with it",
             features=(*_TRAMPOLINE, "lsm"), config=("CONFIG_BPF_LSM",), first_kernel="5.7"),
    _tracing("lsm_cgroup", "lsm_cgroup+", _ARGUMENTS, type=29, target="CGROUP", hook="HOOK", example="/",
             verdicts=_REFUSE,
             returns="1 allows; 0 refuses with EPERM, or with what bpf_set_retval() set",
             capabilities=(*_TRACING, "CAP_NET_ADMIN"), features=(*_TRAMPOLINE, "lsm"),
             config=("CONFIG_BPF_LSM", "CONFIG_CGROUP_BPF"), first_kernel="6.0"),
    _tracing("struct_ops", "struct_ops+ struct_ops.s+", _ARGUMENTS, type=27, hook="MEMBER", attach="map",
             returns="what the member of the struct returns", features=("btf",),
             config=("CONFIG_DEBUG_INFO_BTF", "CONFIG_BPF_JIT"), first_kernel="5.6"),
)  # fmt: skip

_OTHER_TRACING: tuple[ProgramType, ...] = (
    _tracing("perf_event", "perf_event", "struct bpf_perf_event_data", type=7, target="EVENT", example="cpu-clock",
             options=(Option("freq", "99", "samples a second and CPU; 99 if neither this nor period is given"),
                      Option("period", "1000000", "one sample for so many events, or nanoseconds of a clock"),
                      _PID, Option("cpu", "0", "only on this CPU")),
             config=("CONFIG_BPF_EVENTS",), first_kernel="4.9"),
    _tracing("iter", "iter+ iter.s+", "struct bpf_iter__NAME", type=26, target="NAME", example="task", typed=True,
             options=(Option("map", "counts", "the map of this cell whose elements are visited"),
                      Option("pid", "1234", "only this process (task iterators, Linux 6.1)"),
                      Option("cgroup", "/", "the cgroup to start at (cgroup iterator, Linux 6.1)")),
             verdicts=_ITER, returns="0 goes on; what bpf_seq_printf() or bpf_seq_write() wrote is the output",
             features=("btf",), config=("CONFIG_DEBUG_INFO_BTF",), first_kernel="5.8"),
    _tracing("syscall", "syscall", "any struct: the bytes that test_run is given as ctx", type=31, attach="run",
             test_run="ctx", returns="handed back as the retval of test_run", first_kernel="5.14"),
)  # fmt: skip

_PACKETS: tuple[ProgramType, ...] = (
    _interface("xdp", "xdp.frags/devmap xdp/devmap xdp.frags/cpumap xdp/cpumap xdp.frags xdp", "struct xdp_md",
               Option("mode", "generic", "native (in the driver) or generic (in the stack); default: native if it can"),
               type=6, unattached=_XDP_IN_MAPS, verdicts=_XDP, test_run="data", first_kernel="4.8"),
    _interface("tc", "tc/ingress tc/egress tcx/ingress tcx/egress tc classifier action", _SKB,
               Option("direction", "egress", "ingress or egress, when the section does not say; default ingress"),
               Option("priority", "1", "be a clsact filter of this priority, as tc programs are before Linux 6.6"),
               type=3, attach="tc", unattached=_ACTION, verdicts=_TC, test_run="data",
               config=("CONFIG_NET_CLS_BPF",), first_kernel="4.1"),
    _interface("netkit", "netkit/primary netkit/peer", _SKB, type=3, target="INTERFACE of type netkit", example="",
               verdicts=_NETKIT, test_run="data", config=("CONFIG_NETKIT",), first_kernel="6.7"),
    _interface("socket_filter", "socket", _SKB, type=1, target="INTERFACE, fd:FD or pid:PID:FD", attach="socket",
               verdicts=_SOCKET, returns="how many bytes of the packet the socket receives; 0 drops it",
               test_run="data", first_kernel="3.19"),
    _network("netfilter", "netfilter", "struct bpf_nf_ctx", type=32, target="FAMILY:HOOK", example="ipv4:local_in",
             options=(Option("priority", "-200", "order among the hook's users; default 0"),
                      Option("defrag", "1", "1: put fragments together first"), _NETNS),
             verdicts=_NETFILTER, test_run="data", config=("CONFIG_NETFILTER_BPF_LINK",), first_kernel="6.4"),
    _network("flow_dissector", "flow_dissector", _SKB, type=22, target="NETNS", example="self", default="self",
             verdicts=_DISSECTOR, test_run="data", first_kernel="4.20"),
    *(
        _network(kind, kind, _SKB, type=number, target="ROUTE", example="10.9.9.0/24 dev lo",
                 options=(_HEADROOM, _NETNS) if kind == "lwt_xmit" else (_NETNS,), attach="route",
                 verdicts=verdicts, test_run="data", config=("CONFIG_LWTUNNEL_BPF",), first_kernel=first)
        for kind, number, verdicts, first in (
            ("lwt_in", 10, _LWT, "4.10"), ("lwt_out", 11, _LWT, "4.10"), ("lwt_xmit", 12, _LWT_XMIT, "4.10"))
    ),
    _network("lwt_seg6local", "lwt_seg6local", _SKB, type=19, target="ROUTE", example="fd00:9::/64 dev lo",
             options=(_NETNS,), attach="route", verdicts=(*_LWT, Verdict(7, "BPF_REDIRECT", "the packet has a route")),
             test_run="data", config=("CONFIG_IPV6_SEG6_BPF",), first_kernel="4.18"),
)  # fmt: skip

_SOCKETS: tuple[ProgramType, ...] = (
    _network("sk_lookup", "sk_lookup", "struct bpf_sk_lookup", type=30, target="NETNS", example="self", default="self",
             verdicts=_SK, test_run="ctx", capabilities=_TRACING, first_kernel="5.9"),
    _network("sk_reuseport", "sk_reuseport/migrate sk_reuseport", "struct sk_reuseport_md", type=21,
             target="fd:FD or pid:PID:FD", attach="socket", verdicts=_SK, first_kernel="4.19"),
    _network("sk_skb", "sk_skb/stream_parser sk_skb/stream_verdict sk_skb/verdict sk_skb", _SKB, type=14, target="MAP",
             attach="sockmap", verdicts=_SK, returns="a verdict; of a stream_parser: the length of the message",
             config=("CONFIG_BPF_STREAM_PARSER",), first_kernel="4.14"),
    _network("sk_msg", "sk_msg", "struct sk_msg_md", type=16, target="MAP", attach="sockmap", verdicts=_SK,
             config=("CONFIG_NET_SOCK_MSG",), first_kernel="4.17"),
    _cgroup("sockops", "sockops", "struct bpf_sock_ops", type=13, verdicts=(),
            returns="1; what the kernel asks for is written to ctx->reply", first_kernel="4.13"),
    _network("lirc_mode2", "lirc_mode2", "unsigned int", type=20, target="DEVICE", example="/dev/lirc0",
             attach="device",
             config=("CONFIG_BPF_LIRC_MODE2",), returns=_IGNORED, first_kernel="4.18"),
)  # fmt: skip

_CGROUPS: tuple[ProgramType, ...] = (
    _cgroup("cgroup_skb", "cgroup_skb/ingress cgroup_skb/egress cgroup/skb", _SKB, type=8, verdicts=_CGROUP_SKB,
            options=(Option("direction", "egress", "ingress or egress, for cgroup/skb; default ingress"),),
            test_run="data", first_kernel="4.10"),
    _cgroup("cgroup_sock", "cgroup/sock_create cgroup/sock_release cgroup/sock cgroup/post_bind4 cgroup/post_bind6",
            "struct bpf_sock", type=9, first_kernel="4.10"),
    _cgroup("cgroup_sock_addr",
            "cgroup/bind4 cgroup/bind6 cgroup/connect4 cgroup/connect6 cgroup/connect_unix cgroup/sendmsg4 "
            "cgroup/sendmsg6 cgroup/sendmsg_unix cgroup/recvmsg4 cgroup/recvmsg6 cgroup/recvmsg_unix "
            "cgroup/getpeername4 cgroup/getpeername6 cgroup/getpeername_unix cgroup/getsockname4 "
            "cgroup/getsockname6 cgroup/getsockname_unix",
            "struct bpf_sock_addr", type=18, first_kernel="4.17"),
    _cgroup("cgroup_sysctl", "cgroup/sysctl", "struct bpf_sysctl", type=23,
            config=("CONFIG_CGROUP_BPF", "CONFIG_SYSCTL"), first_kernel="5.2"),
    _cgroup("cgroup_sockopt", "cgroup/getsockopt cgroup/setsockopt", "struct bpf_sockopt", type=25,
            first_kernel="5.3"),
    _cgroup("cgroup_device", "cgroup/dev", "struct bpf_cgroup_dev_ctx", type=15, first_kernel="4.15"),
)  # fmt: skip

PROGRAM_TYPES: tuple[ProgramType, ...] = (
    *_TRACEPOINTS,
    *_KPROBES,
    *_UPROBES,
    *_TRAMPOLINES,
    *_OTHER_TRACING,
    *_PACKETS,
    *_SOCKETS,
    *_CGROUPS,
)

BY_KIND = {row.kind: row for row in PROGRAM_TYPES}

# What a program of these sections is loaded with (enum bpf_attach_type), for a libbpf that is older than the section.
ATTACH_TYPES = {
    "sk_skb/verdict": 38,
    "netfilter": 45,
    "tc/ingress": 46,
    "tc/egress": 47,
    "tcx/ingress": 46,
    "tcx/egress": 47,
    "uprobe.multi": 48,
    "uretprobe.multi": 48,
    "uprobe.multi.s": 48,
    "uretprobe.multi.s": 48,
    "cgroup/connect_unix": 49,
    "cgroup/sendmsg_unix": 50,
    "cgroup/recvmsg_unix": 51,
    "cgroup/getpeername_unix": 52,
    "cgroup/getsockname_unix": 53,
    "netkit/primary": 54,
    "netkit/peer": 55,
    "kprobe.session": 56,
    "uprobe.session": 57,
    "uprobe.session.s": 57,
    "fsession": 58,
    "fsession.s": 58,
}
