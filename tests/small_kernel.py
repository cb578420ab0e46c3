"""A small machine made of files: the kernel's symbols and types, tracefs, debugfs, cgroups."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from ebpflab.inspectors import cgroups, facilities, functions, kernel, kernel_btf, network, search, tracefs

FORMATS = Path(__file__).parent / "data/formats"

SYMBOLS = """\
ffffffff81000000 T _stext
ffffffff81000010 T vfs_read
ffffffff81000020 t __pfx_vfs_read
ffffffff81000030 T vfs_readv
ffffffff81000040 t finish_task_switch.isra.0
ffffffff81000050 t finish_task_switch.cold
ffffffff81000060 T rcu_notrace_helper
ffffffff81000070 T do_blacklisted
ffffffff81000080 T security_file_open
ffffffff81000090 T bpf_lsm_file_open
ffffffff810000a0 T bpf_lsm_verify_prog
ffffffff810000b0 T __x64_sys_openat
ffffffff810000c0 T __x64_sys_ni_syscall
ffffffff810000c0 W __x64_sys_not_built_in
ffffffff810000d0 D vfs_data
ffffffff810000e0 T trace_call_bpf
ffffffff810000f0 T cgroup_bpf_prog_attach
ffffffff81000100 T may_return_error
ffffffff81000110 T register_ftrace_direct
ffffffffc0000000 t nf_conntrack_in\t[nf_conntrack]
ffffffffc0001000 t bpf_prog_6deef7357e7b4530_hidden\t[bpf]
ffffffffc0002000 T from_module\t[zmodule]
"""
TRACEABLE = """\
vfs_read
vfs_readv
__ftrace_invalid_address___123
finish_task_switch.isra.0
security_file_open
bpf_lsm_file_open
do_blacklisted
may_return_error
__x64_sys_openat
nf_conntrack_in [nf_conntrack]
from_module [zmodule]
"""
TYPED = ("vfs_read", "vfs_readv", "rcu_notrace_helper", "security_file_open", "bpf_lsm_file_open", "may_return_error")
NAMES = (
    *("btf_trace_sched_switch", "btf_trace_sys_enter", "not_btf_trace_x", "BPF_TRACE_KPROBE_MULTI"),
    *("bpf_lsm_verify_prog", "BPF_TCX_INGRESS"),
)
STRUCTS = {
    "bpf_struct_ops_tcp_congestion_ops": ("common", "data"),
    "bpf_struct_ops_value": ("common", "data"),
    "bpf_struct_ops_map": ("map", "lock"),
}
UNIONS = {"security_list_options": ("file_open", "file_alloc_security")}
_STRUCT, _UNION, _FUNC = 4, 5, 12


def btf(
    *names: str,
    functions: Iterable[str] = (),
    structs: Mapping[str, tuple[str, ...]] | None = None,
    unions: Mapping[str, tuple[str, ...]] | None = None,
    before: bytes = b"",
) -> bytes:
    """BTF by include/uapi/linux/btf.h; of a module, *before* is the kernel's own, whose strings it goes on from."""
    base = b"" if not before else before[24 + struct.unpack_from("=I", before, 16)[0] :]
    strings, types = bytearray(b"\0"), b""

    def offset(name: str) -> int:
        there = base.find(b"\0%b\0" % name.encode())
        if there >= 0:
            return there + 1
        place = len(strings)
        strings.extend(name.encode() + b"\0")
        return place + len(base)

    for name in names:
        offset(name)
    for name in functions:
        types += struct.pack("=III", offset(name), _FUNC << 24, 0)
    for kind, group in ((_STRUCT, structs or {}), (_UNION, unions or {})):
        for name, members in group.items():
            types += struct.pack("=III", offset(name), kind << 24 | len(members), 8)
            types += b"".join(struct.pack("=III", offset(member), 0, 0) for member in members)
    head = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return head + types + bytes(strings)


@dataclass
class Machine:
    """Where its files are; a test may write to them before anything is asked."""

    root: Path
    patch: pytest.MonkeyPatch

    @property
    def btf(self) -> Path:
        return self.root / "btf"

    @property
    def tracefs(self) -> Path:
        return self.root / "tracefs"

    @property
    def debugfs(self) -> Path:
        return self.root / "debugfs"

    @property
    def cgroup2(self) -> Path:
        return self.root / "cgroup"

    @property
    def event_sources(self) -> Path:
        return self.root / "event_source"

    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def facts(self, **different: object) -> None:
        """Let the process have all capabilities, and the machine nothing unusual, but for what is given."""
        usual = {
            "release": "6.12.0",
            "capabilities": frozenset(kernel.CAPABILITIES),
            "lsms": ("capability", "bpf"),
            "lockdown": "none",
        }
        known = kernel.Facts(**{**usual, **different})  # type: ignore[arg-type]
        self.patch.setattr(search, "facts", lambda: known)
        self.patch.setattr(facilities, "facts", lambda: known)


def make(root: Path, patch: pytest.MonkeyPatch) -> Machine:
    """Write the files and let the inspectors read them instead of this machine's own."""
    machine = Machine(root, patch)
    for folder in (machine.btf, machine.tracefs, machine.cgroup2, machine.event_sources, root / "dev", root / "netns"):
        folder.mkdir()
    for name in ("available_events", "events"):
        (machine.tracefs / name).symlink_to(FORMATS / name)
    machine.write(machine.tracefs / "available_filter_functions", TRACEABLE)
    machine.write(machine.debugfs / "kprobes/blacklist", "0xffffffff81000070-0xffffffff81000080\tdo_blacklisted\n")
    machine.write(machine.debugfs / "error_injection/list", "may_return_error\tERRNO\n")
    machine.write(root / "kallsyms", SYMBOLS)
    machine.write(root / "modules", "nf_conntrack 1 0 - Live 0x0\nzmodule 1 0 - Live 0x0\n")
    own = btf(*NAMES, functions=TYPED, structs=STRUCTS, unions=UNIONS)
    (machine.btf / "vmlinux").write_bytes(own)
    names = ("btf_trace_module_event", "bpf_iter_task", "bpf_iter__task", "bpf_iter_num_new", "bpf_iter__odd")
    (machine.btf / "zmodule").write_bytes(btf(*names, functions=("from_module", "vfs_readv"), before=own))
    for source in ("kprobe", "uprobe", "software"):
        (machine.event_sources / source).mkdir()
    mounts = {"debugfs": (machine.debugfs,), "cgroup2": (machine.cgroup2,)}
    for module in (functions, cgroups):
        patch.setattr(module, "mount_points", lambda kind: mounts.get(kind, ()))
    for module in (functions, facilities, tracefs):
        patch.setattr(module, "tracefs_path", lambda: machine.tracefs)
    patch.setattr(functions, "_SYMBOLS", root / "kallsyms")
    patch.setattr(functions, "_MODULES", root / "modules")
    patch.setattr(kernel_btf, "DIRECTORY", machine.btf)
    patch.setattr(facilities, "_EVENT_SOURCES", machine.event_sources)
    machine.write(root / "bpf_jit_enable", "1\n")
    patch.setattr(facilities, "_JIT_SWITCH", root / "bpf_jit_enable")
    patch.setattr(search, "_EVENT_SOURCES", machine.event_sources)
    patch.setattr(search, "_DEVICES", root / "dev")
    patch.setattr(network, "_NAMED", root / "netns")
    patch.setattr(network.socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0"), (3, "veth-blue")])
    machine.facts()
    return machine
