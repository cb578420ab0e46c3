# What a program asks for and this machine does not have, by libbpf's words about it: kernel symbols, settings of the
# kernel's configuration, structs of functions, pinned maps.

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from ..btf import Kind
from ..errors import KernelSupportError
from ..similar import did_you_mean, nearest
from . import functions, kernel_btf
from .kernel import facts, kernel_config
from .layout import vmlinux

Answer = tuple[str, str] | None

_VIRTUAL = ("LINUX_KERNEL_VERSION", "LINUX_HAS_SYSCALL_WRAPPER", "LINUX_HAS_BPF_COOKIE")  # made up by libbpf
_NO_BTF = (
    "this kernel carries no BTF (/sys/kernel/btf/vmlinux), which the program needs",
    "it takes a kernel built with CONFIG_DEBUG_INFO_BTF; tracepoints, kprobes and network programs do without",
)


def _function(found: re.Match[str]) -> Answer:
    name = found[1]
    if not _has_btf():
        return _NO_BTF
    called = [each for each in kernel_btf.functions() if each.startswith(("bpf_", "scx_", "cgroup_", "tcp_"))]
    what = f"this kernel has no function {name!r} for BPF programs to call (kfunc)"
    return what, _hint(
        name, called, "no symbol resembles it; declare it __weak, and test it before the call, to go without it"
    )


def _variable(found: re.Match[str]) -> Answer:
    name = found[1]
    if not _has_btf():
        return _NO_BTF
    names = [each.name for each in vmlinux().of_kind(Kind.VAR)]
    what = f"this kernel has no variable {name!r} whose type is known"
    return what, _hint(name, names, "no symbol resembles it; declare it __weak, and test its address, to go without it")


def _other_type(found: re.Match[str]) -> Answer:
    what = f"the cell declares {found[1]} with other types than this kernel has it with"
    return what, f"bpftool btf dump file /sys/kernel/btf/vmlinux format c shows {found[1]} as it is"


def _setting(found: re.Match[str]) -> Answer:
    name, config = found[1], kernel_config()
    default = f"extern ... {name} __kconfig __weak; reads as 0 where it is not set"
    if config is None:
        return "this kernel keeps its configuration to itself (/proc/config.gz)", default
    if name in config:
        return None
    return f"this kernel's configuration does not set {name}", _hint(name, config, default)


def _made_up(found: re.Match[str]) -> Answer:
    what = f"libbpf knows no {found[1]!r}"
    return what, _hint(found[1], _VIRTUAL, f"it has {', '.join(_VIRTUAL)}")


def _struct_of_functions(found: re.Match[str]) -> Answer:
    name = found[1]
    if not _has_btf():
        return _NO_BTF
    what = f"this kernel has no struct {name} that programs can implement"
    return what, _hint(name, functions.struct_ops(), 'hooks(kind="struct_ops") lists those that it has')


def _no_btf(_found: re.Match[str]) -> Answer:
    return None if _has_btf() else _NO_BTF


def _not_defined(found: re.Match[str]) -> Answer:
    what = f"the cell declares {found[1]}, and nothing defines it"
    return what, "define it in the cell, or, if it is the kernel's, declare it with __ksym"


def _not_pinned(found: re.Match[str]) -> Answer:
    path = found[1]
    what = f"a map of the cell is to be pinned at {path}, and that is in no BPF filesystem"
    mount = "leave __uint(pinning, ...) out" + ("" if facts().bpffs else ", or: mount -t bpf bpf /sys/fs/bpf")
    return what, mount


def _other_map(found: re.Match[str]) -> Answer:
    what = f"a map of another type, size or flags is pinned at {found[1]}"
    return what, f"rm {found[1]} if nobody needs it (bpftool map show pinned {found[1]}), or rename the cell's map"


def _hint(name: str, names: Iterable[str], otherwise: str) -> str:
    return did_you_mean(nearest(name, names)) or otherwise


def _has_btf() -> bool:
    try:
        return bool(kernel_btf.functions())
    except KernelSupportError:
        return False


# libbpf's words (src/libbpf.c, src/btf.c), 1.0 to 1.6, and who explains them.
WORDS: tuple[tuple[str, Callable[[re.Match[str]], Answer]], ...] = (
    (r"specified path (\S+) is not on BPF FS", _not_pinned),
    (r"couldn't reuse pinned map at '([^']+)': parameter mismatch", _other_map),
    (r"extern \(func ksym\) '(\w+)': .*incompatible", _other_type),
    (r"extern \(var ksym\) '(\w+)': .*(?:incompatible|expected)", _other_type),
    (r"extern \(func ksym\) '(\w+)'", _function),
    (r"extern \(var ksym\) '(\w+)'", _variable),
    (r"extern '(CONFIG_\w+)' \(strong\)", _setting),
    (r"extern \(kcfg\) '(\w+)': unrecognized virtual extern", _made_up),
    (r"struct_ops init_kern: struct (\w+) is not found in kernel BTF", _struct_of_functions),
    (r"failed to find BTF for extern '(\w+)'", _not_defined),
    (r"Error loading vmlinux BTF|kernel BTF is missing|failed to find valid kernel BTF", _no_btf),
)
