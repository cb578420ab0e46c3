"""Cells for functions of the kernel, system calls, security hooks and BTF tracepoints, from the kernel's own types."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...btf import Btf, Kind
from ...errors import HookNotFoundError, KernelSupportError, PrivilegeError
from .. import tracefs
from ..layout import vmlinux
from .formats import declared
from .parts import Column, Program, c_name, handler
from .typed import Argument, arguments, value

if TYPE_CHECKING:
    from ...btf import Type
    from ...program_types import Section

_REGISTERS = 5  # PT_REGS_PARM1 to 5 exist on every architecture
_SLOTS = 12  # what BPF_PROG of libbpf has names for
_ALLOW = "return 0; /* allow, as far as this program is concerned */"
_IS_RETURN = "bpf_session_is_return"
_UNTYPED = "arguments: the kernel's BTF has no types for this function"


def of_arguments(section: Section) -> Program:
    """Return the program for a hook that hands its arguments over: tp_btf, raw_tp, fentry, fexit, fmod_ret, lsm ..."""
    kind, target = section.kind, section.target
    btf = vmlinux()
    proto = _prototype(btf, section)
    strings = "either" if kind in ("fentry", "fexit", "fsession", "fmod_ret") else "kernel"
    params = () if proto is None else proto.params[1:] if kind in ("tp_btf", "raw_tracepoint") else proto.params
    found, left_out = arguments(btf, params, strings=strings)
    found, left_out = _cut(found, _SLOTS, left_out)
    if proto is None:
        left_out = [_UNTYPED]
    columns = [column for argument in found for column in argument.columns]
    heads = [argument.declaration for argument in found]
    if kind in ("tp_btf", "raw_tracepoint") and target in ("sys_enter", "sys_exit"):
        columns = _of_system_calls(columns)
    before, verdict = "", "return 0;"
    if kind == "fexit" and proto is not None and not left_out:
        columns, heads = [*columns, *_result(btf, proto)], [*heads, *_declared_result(btf, proto)]
    elif kind == "fsession":
        before, call = session_is_return()
        columns.insert(0, Column("returns", "bool @", f"@ = {call};"))
        verdict = "return 0; /* at entry: 0 asks to be run at the return, too */"
    elif kind in ("lsm", "fmod_ret"):
        verdict = _ALLOW
    elif kind == "lsm_cgroup":
        verdict = "return 1; /* allow; 0 would refuse with EPERM */"
    head = _head("BPF_PROG", target, heads)
    return Program(
        _SAYS[kind].format(target), _spelled(section), head, tuple(columns), tuple(left_out), before, verdict
    )


def of_kprobe(section: Section) -> Program:
    """Return the program for a kprobe or kretprobe on one function."""
    target = section.target
    function, plus, _ = target.partition("+")
    btf = vmlinux()
    returns = section.prefix.startswith("kret")
    says = f"A row for each {'return' if returns else 'call'} of the kernel's {function}()."
    if plus:
        says = f"A row each time that a CPU is at the kernel's {target}."
        address = Column("ip", "ksym_t @", "@ = PT_REGS_IP(ctx);")
        return Program(says, _spelled(section), f"int {handler(target)}(struct pt_regs *ctx)", (address,))
    found = btf.find(function, Kind.FUNC)
    proto = btf[found.type_id] if found else None
    if returns:
        columns = _result(btf, proto) if proto else [Column("ret", "long @", "@ = ret;")]
        heads = _declared_result(btf, proto) if proto else ["long ret"]
        left_out = ["the parameters, which are gone at the return"]
        return Program(says, _spelled(section), _head("BPF_KRETPROBE", target, heads), tuple(columns), tuple(left_out))
    if proto is None:
        return _by_number(says, section, "BPF_KPROBE", [_UNTYPED])
    known, left_out = arguments(btf, proto.params)
    known, left_out = _cut(known, _REGISTERS, left_out)
    columns = [column for argument in known for column in argument.columns]
    head = _head("BPF_KPROBE", target, [argument.declaration for argument in known])
    return Program(says, _spelled(section), head, tuple(columns), tuple(left_out))


def of_many(section: Section) -> Program:
    """Return the program for one probe on many functions: kprobe.multi, uprobe.multi and the session kinds."""
    user = section.prefix.startswith("u")
    function = Column("function", f"{'usym_t' if user else 'ksym_t'} @", "@ = bpf_get_func_ip(ctx);")
    what = "return of a function" if "ret" in section.prefix else "call of a function"
    where = f"of {section.target.partition(':')[0]} that matches {section.target.partition(':')[2]}"
    says = f"A row for each {what} {where if user else f'of the kernel that matches {section.target}'}."
    head = f"int {handler(section.target.rpartition(':')[2] if user else section.target)}(struct pt_regs *ctx)"
    if "session" not in section.kind:
        return Program(says, _spelled(section), head, (function,))
    before, call = session_is_return()
    says = says.replace("A row for each call", "Two rows, at entry and return, for each call")
    columns = (Column("returns", "bool @", f"@ = {call};"), function)
    verdict = "return 0; /* at entry: 0 asks to be run at the return, too */"
    return Program(says, _spelled(section), head, columns, before=before, verdict=verdict)


def of_system_call(section: Section) -> Program:
    """Return the program for a system call, whose parameters are in the format file of its tracepoint."""
    name = section.target
    if section.prefix.startswith("kret"):
        says = f"A row for each {name}(2), as it ends."
        result = (Column("ret", "s64 @", "@ = ret;"), Column("error", "errno_t @", "@ = ret < 0 ? ret : 0;"))
        return Program(says, _spelled(section), _head("BPF_KRETPROBE", name, ["long ret"]), result)
    says = f"A row for each {name}(2), as it begins."
    try:
        form = tracefs.format(f"syscalls:sys_enter_{name}")
    except (HookNotFoundError, KernelSupportError, PrivilegeError):
        return _by_number(says, section, "BPF_KSYSCALL", ["types: this system call has no readable tracepoint"])
    found = [_passed(field) for field in form.members if not field.common and field.name != "__syscall_nr"]
    found, left_out = _cut(found, _REGISTERS, [], "BPF_KSYSCALL names five arguments")
    columns = tuple(column for argument in found for column in argument.columns)
    head = _head("BPF_KSYSCALL", name, [argument.declaration for argument in found])
    return Program(says, _spelled(section), head, columns, tuple(left_out))


def session_is_return() -> tuple[str, str]:
    """Return the declaration of the kfunc that tells entry from return, and a call of it."""
    function = vmlinux().find(_IS_RETURN, Kind.FUNC)
    # Linux 7 gave it a parameter.
    with_context = function is not None and bool(vmlinux()[function.type_id].params)
    inside = ("void *ctx", "ctx") if with_context else ("void", "")
    return f"extern bool {_IS_RETURN}({inside[0]}) __ksym;", f"{_IS_RETURN}({inside[1]})"


def numbered(count: int) -> list[Argument]:
    """Return arguments of which only the number is known."""
    names = [f"arg{number}" for number in range(1, count + 1)]
    return [Argument(f"unsigned long {name}", (Column(name, "u64 @", f"@ = {name};"),)) for name in names]


def _by_number(says: str, section: Section, macro: str, left_out: list[str]) -> Program:
    known = numbered(_REGISTERS)
    columns = tuple(column for argument in known for column in argument.columns)
    head = _head(macro, section.target, [argument.declaration for argument in known])
    return Program(says, _spelled(section), head, columns, tuple(left_out))


def _cut(
    found: list[Argument], most: int, left_out: list[str], why: str = "it is not in a register"
) -> tuple[list[Argument], list[str]]:
    over = [re.split(r"\W+", argument.declaration)[-1] for argument in found[most:]]
    return found[:most], [*left_out, *(f"{name}: {why}" for name in over)]


def _prototype(btf: Btf, section: Section) -> Type | None:
    name = section.target
    if section.kind in ("tp_btf", "raw_tracepoint"):
        # The function that calls a tracepoint's programs has names for the parameters, which the typedef has not.
        caller = btf.find(f"__traceiter_{name}", Kind.FUNC)
        if caller is not None:
            return btf[caller.type_id]
        found = btf.find(f"btf_trace_{name}", Kind.TYPEDEF)
        return btf[btf[found.type_id].type_id] if found else None
    if section.kind in ("lsm", "lsm_cgroup"):
        name = f"bpf_lsm_{name}"
    found = btf.find(name, Kind.FUNC)
    return btf[found.type_id] if found else None


def _declared_result(btf: Btf, proto: Type) -> list[str]:
    if not proto.type_id:
        return []
    core = btf.strip(proto.type_id)
    if core.kind is Kind.PTR:
        return ["void *ret"]
    return ["u64 ret"] if core.kind in (Kind.STRUCT, Kind.UNION) else [btf.c_type(proto.type_id, "ret")]


def _result(btf: Btf, proto: Type) -> list[Column]:
    if not proto.type_id:
        return []
    column = value(btf, proto.type_id, "ret", "ret")
    shown = btf.c_type(proto.type_id)
    if column is None:
        return [Column("ret", "u64 @", "@ = ret;", shown)]
    return [column._replace(note=shown) if btf.strip(proto.type_id).kind is Kind.PTR else column]


def _of_system_calls(columns: list[Column]) -> list[Column]:
    found = []
    for column in columns:
        if column.name == "id":
            column = column._replace(declaration="syscall_t @")
        found.append(column)
        if column.name == "ret":
            found.append(Column("error", "errno_t @", "@ = ret < 0 ? ret : 0;"))
    return found


def _passed(field: tracefs.Field) -> Argument:
    name = c_name(field.name)
    words = re.sub(r"\s*\*", " *", field.type)
    if words == "const char *" and field.name not in ("buf", "ubuf", "u_msg_ptr", "umod"):
        fill = f"bpf_probe_read_user_str(@, sizeof(@), {name});"
        return Argument(f"const char *{name}", (Column(field.name, "char @[128]", fill),))
    if "*" in words:
        return Argument(
            f"void *{name}", (Column(field.name, "u64 @", f"@ = (u64){name};", f"{words}, in the process"),)
        )
    size, signed = declared(field.type) or (8, False)
    kind = f"{'s' if signed else 'u'}{8 * size}"
    return Argument(f"{kind} {name}", (Column(field.name, f"{kind} @", f"@ = {name};"),))


def _head(macro: str, target: str, declarations: list[str]) -> str:
    return f"int {macro}({', '.join([handler(target), *declarations])})"


def _spelled(section: Section) -> str:
    return f"{section.prefix}/{section.target}"


_SAYS = {
    "tp_btf": "A row for each hit of the tracepoint {}, with its arguments as the kernel's code passes them.",
    "raw_tracepoint": "A row for each hit of the tracepoint {}, with its arguments as the kernel's code passes them.",
    "fentry": "A row for each call of the kernel's {}().",
    "fexit": "A row for each return of the kernel's {}(), with its arguments and what it returned.",
    "fsession": "Two rows, at entry and return, for each call of the kernel's {}().",
    "fmod_ret": "A row for each call of the kernel's {}(); an error number that is returned is what its caller sees.",
    "lsm": "A row each time that the security hook {} is asked; returning -EPERM would refuse.",
    "lsm_cgroup": "A row each time that a process of the cgroup comes to the security hook {}.",
}
