"""What the running kernel can attach, from its own symbols and types: nothing of ebpflab is asked.

A reason is one sentence that ends up in the table of docs/hooks.md; None means that the kernel has it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
from pathlib import Path

# A kind is there if its function is among the kernel's symbols, and its name among the kernel's types.
_SYMBOL = {
    "kprobe": "register_kprobe",
    "kretprobe": "register_kretprobe",
    "ksyscall": "register_kprobe",
    "kprobe.multi": "register_fprobe",
    "kprobe.session": "register_fprobe",
    "uprobe": "uprobe_register",
    "uretprobe": "uprobe_register",
    "usdt": "uprobe_register",
    "uprobe.multi": "bpf_uprobe_multi_link_attach",
    "uprobe.session": "bpf_uprobe_multi_link_attach",
    "netkit": "netkit_link_attach",
    "netfilter": "bpf_nf_link_attach",
    "lwt_in": "bpf_lwt_push_ip_encap",
    "lwt_out": "bpf_lwt_push_ip_encap",
    "lwt_xmit": "bpf_lwt_push_ip_encap",
    "lwt_seg6local": "bpf_lwt_seg6_action",
    "lirc_mode2": "lirc_prog_attach",
    "sk_skb": "sk_psock_init_strp",
}
_TYPE = {
    "kprobe.multi": "BPF_TRACE_KPROBE_MULTI",
    "kprobe.session": "BPF_TRACE_KPROBE_SESSION",
    "uprobe.multi": "BPF_TRACE_UPROBE_MULTI",
    "uprobe.session": "BPF_TRACE_UPROBE_SESSION",
    "fsession": "BPF_TRACE_FSESSION",
    "netkit": "BPF_NETKIT_PRIMARY",
    "netfilter": "BPF_NETFILTER",
    "syscall": "BPF_PROG_TYPE_SYSCALL",
    "lsm_cgroup": "BPF_LSM_CGROUP",
}
_CONFIG = {
    "kprobe": "CONFIG_KPROBES",
    "kretprobe": "CONFIG_KPROBES",
    "ksyscall": "CONFIG_KPROBES",
    "kprobe.multi": "CONFIG_FPROBE",
    "kprobe.session": "CONFIG_FPROBE",
    "lirc_mode2": "CONFIG_BPF_LIRC_MODE2",
    "netkit": "CONFIG_NETKIT",
    "lwt_in": "CONFIG_LWTUNNEL_BPF",
    "lwt_out": "CONFIG_LWTUNNEL_BPF",
    "lwt_xmit": "CONFIG_LWTUNNEL_BPF",
    "lwt_seg6local": "CONFIG_IPV6_SEG6_BPF",
}
_BY_TRAMPOLINE = {"fentry", "fexit", "fsession", "fmod_ret", "freplace", "lsm", "lsm_cgroup"}


@functools.cache
def absent(kind: str) -> str | None:
    """Why no program of this kind can be attached on this kernel, or None."""
    if kind in _TYPE and _TYPE[kind].encode() not in _types():
        return f"{_TYPE[kind]} is unknown to this kernel"
    if kind in _SYMBOL and not re.search(rb"\s%s\b" % _SYMBOL[kind].encode(), _symbols()):
        return f"built without {_CONFIG.get(kind, _SYMBOL[kind])}"
    if kind in _BY_TRAMPOLINE and not _takes_trampolines():
        return "this kernel refuses BPF trampolines"
    if kind in ("lsm", "lsm_cgroup") and "bpf" not in _active_lsms():
        return "bpf is not among the active LSMs"
    return None


@functools.cache
def _types() -> bytes:
    return Path("/sys/kernel/btf/vmlinux").read_bytes()


@functools.cache
def _symbols() -> bytes:
    return Path("/proc/kallsyms").read_bytes()


def _active_lsms() -> list[str]:
    return Path("/sys/kernel/security/lsm").read_text().strip().split(",")


class _LoadOptions(ctypes.Structure):
    # struct bpf_prog_load_opts up to attach_btf_obj_fd (libbpf 1.x, bpf/bpf.h).
    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("expected_attach_type", ctypes.c_uint32),
        ("prog_btf_fd", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_ifindex", ctypes.c_uint32),
        ("kern_version", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
        ("attach_prog_fd", ctypes.c_uint32),
    ]


@functools.cache
def _takes_trampolines() -> bool:
    # The only way to know is to attach the smallest fentry program there is: r0 = 0; exit.
    library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    code = ctypes.create_string_buffer(bytes.fromhex("b7000000000000009500000000000000"))
    library.libbpf_find_vmlinux_btf_id.argtypes = (ctypes.c_char_p, ctypes.c_int)
    btf_id = library.libbpf_find_vmlinux_btf_id(b"vfs_fallocate", 24)  # BPF_TRACE_FENTRY
    assert btf_id > 0, "vfs_fallocate is not in the kernel's BTF"
    options = _LoadOptions(sz=ctypes.sizeof(_LoadOptions), expected_attach_type=24, attach_btf_id=btf_id)
    load = library.bpf_prog_load
    load.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    program = load(26, b"probe", b"GPL", code, 2, ctypes.byref(options))  # BPF_PROG_TYPE_TRACING
    if program < 0:
        return False
    try:
        link = library.bpf_raw_tracepoint_open(None, program)
        if link >= 0:
            os.close(link)
        return bool(link >= 0)
    finally:
        os.close(program)
