"""Columns from the types of the running kernel: the arguments of hooked functions, and what can be read behind them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ...btf import Btf, Kind
from .formats import integer
from .parts import Column, c_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ...btf import Param, Type

_TEXT = 64  # bytes for a string
_SCALARS = (Kind.INT, Kind.ENUM, Kind.ENUM64)
_STRUCTS = (Kind.STRUCT, Kind.UNION)
# Declared as text, and bytes whose number is another parameter.
_BUFFERS = frozenset(("buf", "buffer", "data", "value", "from", "src", "ubuf", "p"))

# What is worth reading behind a pointer to a struct: the column's name and the members that lead there, "->" where a
# pointer is followed. What a kernel has not is left out.
KNOWN: dict[str, tuple[tuple[str, str], ...]] = {
    "file": (("name", "f_path.dentry->d_name.name"),),
    "path": (("name", "dentry->d_name.name"),),
    "dentry": (("name", "d_name.name"),),
    "qstr": (("name", "name"),),
    "filename": (("name", "name"),),
    "inode": (("ino", "i_ino"),),
    "kiocb": (("name", "ki_filp->f_path.dentry->d_name.name"), ("pos", "ki_pos")),
    "super_block": (("id", "s_id"),),
    "linux_binprm": (("filename", "filename"),),
    "task_struct": (("pid", "pid"), ("comm", "comm")),
    "pid": (("nr", "numbers[0].nr"),),
    "cred": (("uid", "uid.val"),),
    "kernel_siginfo": (("signo", "si_signo"),),
    "vm_area_struct": (("start", "vm_start"), ("end", "vm_end")),
    "rq": (("cpu", "cpu"),),
    "cgroup": (("id", "kn->id"), ("name", "kn->name")),
    "sock": (
        ("family", "__sk_common.skc_family"),
        ("saddr", "__sk_common.skc_rcv_saddr"),
        ("sport", "__sk_common.skc_num"),
        ("daddr", "__sk_common.skc_daddr"),
        ("dport", "__sk_common.skc_dport"),
    ),
    "sock_common": (
        ("family", "skc_family"),
        ("state", "skc_state"),
        ("saddr", "skc_rcv_saddr"),
        ("sport", "skc_num"),
        ("daddr", "skc_daddr"),
        ("dport", "skc_dport"),
    ),
    "socket": (("type", "type"),),
    "sockaddr": (("family", "sa_family"),),
    "sk_buff": (("len", "len"),),
    "net_device": (("name", "name"),),
    "bio": (("sector", "bi_iter.bi_sector"), ("bytes", "bi_iter.bi_size")),
    "request": (("sector", "__sector"), ("bytes", "__data_len")),
    "gendisk": (("name", "disk_name"),),
    "device": (("name", "kobj.name"),),
    "module": (("name", "name"),),
    "work_struct": (("func", "func"),),
    "timer_list": (("function", "function"),),
    "irqaction": (("name", "name"),),
    "iov_iter": (("count", "count"),),
    "ctl_table": (("name", "procname"),),
    "bpf_map": (("id", "id"), ("name", "name"), ("type", "map_type"), ("max_entries", "max_entries")),
    "bpf_prog": (("id", "aux->id"), ("name", "aux->name"), ("type", "type")),
    "bpf_link": (("id", "id"), ("type", "type")),
    "udp_sock": tuple(
        (name, f"inet.sk.__sk_common.{member}")
        for name, member in (
            ("family", "skc_family"),
            ("saddr", "skc_rcv_saddr"),
            ("sport", "skc_num"),
            ("daddr", "skc_daddr"),
            ("dport", "skc_dport"),
        )
    ),
    "unix_sock": (("type", "sk.sk_type"), ("state", "sk.__sk_common.skc_state")),
    "dma_buf": (("name", "name"), ("size", "size")),
    "kmem_cache": (("name", "name"), ("object_size", "object_size"), ("size", "size")),
    "kallsym_iter": (("name", "name"), ("module", "module_name"), ("value", "value"), ("type", "type")),
}


class Argument(NamedTuple):
    """A parameter of a hooked function: how the program declares it, and the columns that it fills."""

    declaration: str
    columns: tuple[Column, ...]


def arguments(btf: Btf, params: Iterable[Param], *, strings: str = "either") -> tuple[list[Argument], list[str]]:
    """Return what a program makes of a function's parameters, and which it cannot read, with the reason.

    Parameters
    ----------
    btf
        The types of the kernel.
    params
        The function's.
    strings
        Whose memory ``const char *`` points to: "kernel", or "either" where types do not tell it.
    """
    found: list[Argument] = []
    for number, param in enumerate(params, 1):
        name = param.name or f"arg{number}"
        if param.type_id == 0:  # the dots of a function with any number of arguments
            break
        core = btf.strip(param.type_id)
        size = 8 if core.kind is Kind.PTR else btf.sizeof(param.type_id)
        if size > 16 or core.kind is Kind.FLOAT:
            return found, [f"{name} and what follows: {btf.c_type(param.type_id)} is not in a register"]
        if core.kind in _STRUCTS or size > 8:
            # A struct by value takes one register for each 8 bytes.
            for part in range(0, size, 8):
                word = c_name(f"{name}_{part // 8}" if size > 8 else name)
                note = f"bytes {part} to {min(part + 8, size) - 1} of {btf.c_type(param.type_id)}"
                found.append(Argument(f"u64 {word}", (Column(word, "u64 @", f"@ = {word};", note),)))
            continue
        found.append(_argument(btf, param.type_id, name, strings))
    return found, []


def value(btf: Btf, type_id: int, name: str, read: str) -> Column | None:
    """Return the column of an integer, an enum or a pointer that C reads as *read*; None for anything else."""
    kind = _scalar(btf, type_id, name)
    cast = "(u64)" if btf.strip(type_id).kind is Kind.PTR else ""
    return Column(name, f"{kind} @", f"@ = {cast}{read};") if kind else None


def behind(btf: Btf, struct: Type, pointer: str, prefix: str) -> Iterator[Column]:
    """Yield columns for what is worth reading behind a pointer to a struct."""
    for name, path in KNOWN.get(struct.name, ()):
        type_id = _follow(btf, struct, path)
        column = read(btf, type_id, f"{prefix}{name}", pointer, path) if type_id else None
        if column:
            yield column


def members(btf: Btf, struct: Type, pointer: str, most: int) -> Iterator[Column]:
    """Yield columns for the first integers, enums and texts of a struct of which nothing else is known."""
    found = 0
    for member in struct.members:
        core = btf.strip(member.type_id)
        plain = core.kind in _SCALARS or _is_text_array(btf, core)
        if not member.name or not plain or btf.bit_range(member)[1] or found == most:
            continue
        column = read(btf, member.type_id, member.name, pointer, member.name)
        if column:
            found += 1
            yield column


def read(btf: Btf, type_id: int, name: str, pointer: str, path: str) -> Column | None:
    """Return the column for a member that is read by CO-RE: a number, or a string of the kernel."""
    steps = f"{pointer}, {path.replace('->', ', ')}"
    core = btf.strip(type_id)
    if _is_text_array(btf, core):
        fill = f"BPF_CORE_READ_STR_INTO(&@, {steps});"
        return Column(name, f"char @[{min(core.length, _TEXT)}]", fill)
    if core.kind is Kind.PTR and btf.strip(core.type_id).size == 1:
        return Column(
            name, f"char @[{_TEXT}]", f"bpf_probe_read_kernel_str(@, sizeof(@),\n\t\t\t  BPF_CORE_READ({steps}));"
        )
    return value(btf, type_id, name, f"BPF_CORE_READ({steps})")


def _argument(btf: Btf, type_id: int, name: str, strings: str) -> Argument:
    word = c_name(name)
    declaration = _declaration(btf, type_id, word)
    core = btf.strip(type_id)
    if core.kind is not Kind.PTR:
        column = value(btf, type_id, name, word)
        return Argument(declaration, (column,) if column else ())
    if declaration.startswith("const char *") and name not in _BUFFERS:
        return Argument(declaration, (_string(name, word, strings),))
    address = value(btf, type_id, name, word)
    assert address is not None
    shown = address._replace(note=re.sub(r"\s+", " ", btf.c_type(type_id)))
    more = behind(btf, btf.strip(core.type_id), word, f"{name}_") if "void" not in declaration else ()
    return Argument(declaration, (shown, *more))


def _string(name: str, word: str, strings: str) -> Column:
    fill = f"bpf_probe_read_kernel_str(@, sizeof(@), {word});"
    if strings == "either":
        # The types do not tell whether the pointer came from the process.
        fill = (
            f"if (bpf_probe_read_kernel_str(@, sizeof(@), {word}) < 0)\n"
            f"\tbpf_probe_read_user_str(@, sizeof(@), {word});"
        )
    return Column(name, f"char @[{_TEXT}]", fill)


def _declaration(btf: Btf, type_id: int, name: str) -> str:
    # As in the kernel where that is a name that the cell has; a pointer to anything else is one to void.
    core = btf.strip(type_id)
    if core.kind is not Kind.PTR:
        anonymous = core.kind in (Kind.ENUM, Kind.ENUM64) and not btf[type_id].name
        return f"{integer(core.size, core.signed)} {name}" if anonymous else btf.c_type(type_id, name)
    chain = btf.chain(core.type_id)
    constant = "const " if any(t.kind is Kind.CONST for t in chain) else ""
    target = chain[-1]
    if target.kind in _STRUCTS and target.name:
        return f"{constant}{'struct' if target.kind is Kind.STRUCT else 'union'} {target.name} *{name}"
    text = target.kind is Kind.INT and target.name == "char" and all(t.kind is not Kind.TYPEDEF for t in chain)
    return f"const char *{name}" if text and constant else f"void *{name}"


def _scalar(btf: Btf, type_id: int, name: str) -> str:
    chain = btf.chain(type_id)
    core, names = chain[-1], {t.name for t in chain if t.kind is Kind.TYPEDEF}
    if core.kind is Kind.PTR:
        return "ksym_t" if btf.strip(core.type_id).kind is Kind.FUNC_PROTO else "u64"
    if core.kind not in _SCALARS or core.size not in (1, 2, 4, 8):
        return ""
    if core.kind is not Kind.INT and core.name:
        return f"enum {core.name}"
    if core.kind is Kind.INT and core.boolean:
        return "bool"
    if "__be32" in names and "addr" in name:
        return "ipv4_t"
    if "__be16" in names and "port" in name:
        return "port_t"
    if name.endswith("signo") and core.size == 4:
        return "signal_t"
    return integer(core.size, core.signed)


def _is_text_array(btf: Btf, core: Type) -> bool:
    return core.kind is Kind.ARRAY and core.length > 0 and btf.strip(core.type_id).name == "char"


def _follow(btf: Btf, struct: Type, path: str) -> int:
    # The type at the end of the path, or 0.
    type_id = struct.id
    for number, step in enumerate(path.split("->")):
        if number:
            core = btf.strip(type_id)
            if core.kind is not Kind.PTR:
                return 0
            type_id = core.type_id
        for name in step.split("."):
            type_id = _member(btf, type_id, name.partition("[")[0])
            if type_id and "[" in name:
                array = btf.strip(type_id)
                type_id = array.type_id if array.kind is Kind.ARRAY else 0
            if not type_id:
                return 0
    return type_id


def _member(btf: Btf, type_id: int, name: str) -> int:
    core = btf.strip(type_id)
    if core.kind not in _STRUCTS:
        return 0
    for member in core.members:
        if member.name == name:
            return 0 if btf.bit_range(member)[1] else member.type_id
        found = _member(btf, member.type_id, name) if not member.name else 0
        if found:
            return found
    return 0
