"""The arguments of hooked functions, from the running kernel's BTF.

Programs at trampolines and BTF tracepoints find them as an array of 64-bit values, which libbpf's BPF_PROG
spells as parameters; programs at kprobes find the CPU's registers, of which BPF_KPROBE does the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..btf import Btf, Kind
from ..program_types import Section, usdt_target
from .layout import vmlinux
from .search import explain_missing

if TYPE_CHECKING:
    from ..btf import Type

_WITH_RESULT = {"fexit", "fmod_ret", "lsm"}
_REGISTERS = {"kprobe", "kprobe.multi", "kprobe.session", "ksyscall"}
_MOST = 5  # PT_REGS_PARM1 to 5 exist on every architecture


class Argument(NamedTuple):
    """One argument: ``offset`` is its place in the array of 64-bit values, None if it is in a register."""

    name: str
    c_type: str
    offset: int | None
    read: str


def c_type(section: Section) -> str:
    """Return how C takes the context of a program whose context is its hook's arguments."""
    kind = section.kind
    if kind in ("syscall", "lirc_mode2"):
        return "void *" if kind == "syscall" else "unsigned int *"
    if kind == "usdt":
        return "struct pt_regs *, by BPF_USDT"
    if kind in ("kretprobe", "uretprobe") or section.prefix.startswith("kret"):
        return "struct pt_regs *, by BPF_KRETPROBE"
    if section.type.context == "struct pt_regs":
        return "struct pt_regs *, by BPF_KPROBE"
    return "unsigned long long *, by BPF_PROG"


def of(section: Section) -> tuple[Argument, ...]:
    """Return the arguments of the hook that a section names.

    Raises
    ------
    HookNotFoundError
        The kernel's BTF has no such function; names the nearest.
    """
    kind, row = section.kind, section.type
    if kind == "lirc_mode2":
        return (Argument("sample", "unsigned int", 0, "*ctx"),)
    if kind in ("kretprobe", "uretprobe") or section.prefix.startswith("kret"):
        return (Argument("ret", "long", None, "PT_REGS_RC(ctx)"),)
    if kind == "usdt":
        usdt_target(section.target)
        return (Argument("arg", "long", None, "bpf_usdt_arg(ctx, n, &arg)"),)
    if row.context == "struct pt_regs":
        return _registers(section)
    proto = _prototype(section)
    return _array(vmlinux(), proto, section) if proto is not None else ()


def _registers(section: Section) -> tuple[Argument, ...]:
    # Types are known for functions of the kernel alone, and only where one function is meant.
    btf = vmlinux()
    found = btf.find(section.target.partition("+")[0], Kind.FUNC) if section.kind in _REGISTERS else None
    if found is None:
        return tuple(Argument(f"arg{n}", "long", None, f"PT_REGS_PARM{n}(ctx)") for n in range(1, _MOST + 1))
    params = btf[found.type_id].params[:_MOST]
    return tuple(
        Argument(
            p.name or f"arg{n}", btf.c_type(p.type_id), None, _read(btf, p.name or f"arg{n}", p.type_id, core=True)
        )
        for n, p in enumerate(params, 1)
        if p.type_id
    )


def _prototype(section: Section) -> Type | None:
    btf, target = vmlinux(), section.target
    if section.kind in ("freplace", "syscall", "struct_ops") or not target:
        return None
    if section.kind == "tp_btf":
        typedef = btf.find(f"btf_trace_{target}", Kind.TYPEDEF)
        if typedef is None:
            _check_exists(section)
            return None
        return btf[btf[typedef.type_id].type_id]
    prefix = "bpf_lsm_" if section.kind in ("lsm", "lsm_cgroup") else ""
    function = btf.find(prefix + target, Kind.FUNC)
    if function is None:
        _check_exists(section)
        return None
    return btf[function.type_id]


def _check_exists(section: Section) -> None:
    # A hook of a module has its types in that module's BTF, which is not read here; any other does not exist.
    error = explain_missing(section.kind, section.target)
    if error is not None:
        raise error


def _array(btf: Btf, proto: Type, section: Section) -> tuple[Argument, ...]:
    # The first parameter of a tracepoint's type is the kernel's own `void *__data`.
    named = _names(btf, proto, section)
    params = list(zip(proto.params, named, strict=True))[section.kind == "tp_btf" :]
    listed = [
        Argument(name or f"arg{n}", btf.c_type(p.type_id), 8 * n, _read(btf, name or f"arg{n}", p.type_id))
        for n, (p, name) in enumerate(params)
        if p.type_id
    ]
    if section.kind in _WITH_RESULT and proto.type_id:
        listed.append(Argument("ret", btf.c_type(proto.type_id), 8 * len(listed), "ret"))
    return tuple(listed)


def _names(btf: Btf, proto: Type, section: Section) -> list[str]:
    # The type of a tracepoint has no names, but the function that calls those who listen has the same parameters.
    if section.kind == "tp_btf":
        caller = btf.find(f"__traceiter_{section.target}", Kind.FUNC)
        found = btf[caller.type_id].params if caller is not None else ()
        if len(found) == len(proto.params):
            return [param.name for param in found]
    return [param.name for param in proto.params]


def _read(btf: Btf, name: str, type_id: int, *, core: bool = False) -> str:
    # Pointers that the verifier knows by BTF may be followed in C; what comes out of a register may not.
    found = btf.strip(type_id)
    if found.kind is not Kind.PTR:
        return name
    pointee = btf.strip(found.type_id)
    if pointee.kind in (Kind.STRUCT, Kind.UNION):
        return f"BPF_CORE_READ({name}, ...)" if core else f"{name}->..."
    if pointee.kind is Kind.INT and pointee.size == 1:
        return f"bpf_probe_read_kernel_str(buffer, sizeof(buffer), {name}), or _user_str of a process's memory"
    return f"bpf_probe_read_kernel(&value, sizeof(value), {name}), or _user of a process's memory"
