"""Functions of the kernel, by name: which there are, and which of them can be hooked in which way.

``/proc/kallsyms`` has every function, those of modules included. ``available_filter_functions`` in tracefs has
those that can be traced: their code starts with room for a jump (``Documentation/trace/ftrace.rst``). The kernel's
BTF has those whose types are known.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .. import program_types
from ..btf import Kind
from ..errors import HookNotFoundError, KernelSupportError
from ..program_types import is_pattern, kprobe_target
from ..similar import nearest
from . import kernel_btf, tracefs
from .kernel import mount_points, tracefs_path
from .matching import is_expression
from .missing import absent, no_such

if TYPE_CHECKING:
    from collections.abc import Iterable

_SYMBOLS = Path("/proc/kallsyms")
_MODULES = Path("/proc/modules")
# A line is an address, a letter (nm(1): t and w are code), a name, and after a tab the module. BPF programs and
# the tails that the compiler splits off are no functions to hook.
_LINE = re.compile(rb" [tTwW] (?!__pfx_|__cfi_)([^\s$]+)(?:\t\[(?!bpf\]|__builtin)\S+\])?\n")
# What compilers append to a function that they have specialised or split.
_VARIANT = re.compile(r"\.(isra|constprop|part|llvm|lto_priv)\b")
# Weak symbols (W) are system calls that this kernel was built without: all of them one function.
_SYSTEM_CALL = re.compile(rb" T __(?:x64|arm64|riscv|s390x|powerpc|loongarch|se)_sys_(?!ni_syscall\n)(\w+)\n")
_SECURITY = "security_"
# ftrace lists the place of a weak function that another one replaced under such a name.
_REPLACED = "__ftrace_invalid_address__"
_CALLER = "a function that calls it may do as well"


def functions() -> frozenset[str]:
    """Return the names of all functions of the kernel and its modules.

    They are read once (about 100 ms), and again when a module has come or gone.

    Raises
    ------
    KernelSupportError
        ``/proc/kallsyms`` cannot be read.

    Examples
    --------
    >>> "vfs_read" in functions()
    True
    """
    return _symbols(_SYMBOLS, _modules()).functions


def traceable() -> frozenset[str] | None:
    """Return the names of the functions that can be traced, or None where tracefs does not tell.

    Examples
    --------
    >>> "vfs_read" in traceable()
    True
    """
    return _traceable(tracefs_path(), _modules())


def probed() -> frozenset[str]:
    """Return the functions that a kprobe can be put on, as far as that can be seen."""
    known = traceable()
    return functions() if known is None else known


def typed() -> frozenset[str]:
    """Return the functions that fentry and fexit programs can be put on, as far as that can be seen.

    Raises
    ------
    KernelSupportError
        The kernel carries no BTF.
    """
    known = traceable()
    return kernel_btf.functions() if known is None else kernel_btf.functions() & known


def modifiable() -> frozenset[str]:
    """Return the functions that fmod_ret programs can be put on.

    They are those of the security hooks, and those that errors may be injected into, where debugfs shows them.
    """
    return frozenset(name for name in typed() if name.startswith(_SECURITY)) | (_injectable() or frozenset())


def lsm_hooks() -> frozenset[str]:
    """Return the hooks of LSM programs.

    For each there is a function ``bpf_lsm_HOOK`` and a member of ``union security_list_options``
    (``include/linux/lsm_hooks.h``).
    """
    options = kernel_btf.members(Kind.UNION, rb"security_list_options")
    return kernel_btf.names(rb"bpf_lsm_(\w+)") & frozenset(options.get("security_list_options", ()))


def system_calls() -> frozenset[str]:
    """Return the system calls that have a function of their own, as ``openat``."""
    return _symbols(_SYMBOLS, _modules()).system_calls


def struct_ops() -> frozenset[str]:
    """Return the structs of functions that BPF programs can implement, such as ``tcp_congestion_ops``.

    For each there is a ``struct bpf_struct_ops_NAME`` around it (``include/linux/bpf.h``), whose ``data`` it is.
    """
    found = kernel_btf.members(Kind.STRUCT, rb"bpf_struct_ops_\w+")
    named = (name.removeprefix("bpf_struct_ops_") for name, members in found.items() if "data" in members)
    return frozenset(name for name in named if name != "value")  # the pattern of all others


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the names that match a pattern; see :func:`ebpflab.program_types.pattern`."""
    return list(filter(program_types.pattern(pattern).match, names))


def matching_tracepoints(pattern: str) -> list[str]:
    """Return the tracepoints that match a pattern, as ``category:event``; see :func:`matching`."""
    return matching(pattern if is_expression(pattern) else pattern.replace("/", ":"), tracefs.events())


def explain_kprobe(target: str, *, returns: bool = False) -> HookNotFoundError | None:
    """Tell why there can be no kprobe on ``FUNCTION`` or ``FUNCTION+OFFSET``, or return None if there can.

    Raises
    ------
    AttachError
        The target is neither.
    """
    if is_pattern(target):
        return explain_pattern(target)
    name, _ = kprobe_target(target, returns=returns)
    if name not in functions():
        return _no_function(name, probed())
    known = traceable()
    if name not in _blacklist() and (known is None or name in known):
        return None
    return HookNotFoundError(
        f"the kernel has a function {name!r}, but it may not be probed (notrace, or on the kprobe blacklist)",
        nearest=nearest(name, probed()),
        hint=_CALLER,
    )


def explain_kretprobe(target: str) -> HookNotFoundError | None:
    """Tell why there can be no kretprobe on a function, or return None if there can; see :func:`explain_kprobe`."""
    return explain_kprobe(target, returns=True)


def explain_pattern(pattern: str) -> HookNotFoundError | None:
    """Tell that no function that can be traced matches a pattern, or return None if one does."""
    known = probed()
    if matching(pattern, known):
        return None
    if not is_pattern(pattern):
        return _no_function(pattern, known)
    near = nearest(re.sub(r"[^\w.]+", "", pattern), known)
    hint = f"names like it: {', '.join(near)}" if near else "* stands for any letters, ? for one"
    hint = expression_hint(pattern) or hint
    return HookNotFoundError(f"no function matches {pattern!r}", nearest=near, hint=hint)


def expression_hint(pattern: str) -> str:
    """Return what to write for a pattern that was meant as a regular expression, or "" if it was not.

    Examples
    --------
    >>> expression_hint("^vfs_.*")
    'a regular expression stands between slashes: /^vfs_.*/'
    """
    meant = re.search(r"[\^$|()\\]|\.\*", pattern) and not is_expression(pattern)
    return f"a regular expression stands between slashes: /{pattern}/" if meant else ""


def explain_fentry(name: str) -> HookNotFoundError | None:
    """Tell why fentry and fexit programs cannot go to a function, or return None if they can."""
    known = traceable()
    if name not in kernel_btf.functions():
        error = _no_function(name, typed())
        if name in functions():
            error.what = f"the kernel's BTF does not have the types of {name}()"
            error.hint = f"kprobe/{name} does without types"
        return error
    if known is None or name in known:
        return None
    what = f"the kernel has a function {name!r}, but it may not be traced (notrace)"
    return HookNotFoundError(what, nearest=nearest(name, typed()), hint=_CALLER)


def explain_fmod_ret(name: str) -> HookNotFoundError | None:
    """Tell why fmod_ret programs cannot go to a function, or return None if they can."""
    missing = explain_fentry(name)
    allowed = _injectable()
    if missing or name.startswith(_SECURITY) or allowed is None or name in allowed:
        return missing
    near = nearest(f"{_SECURITY}{name.removeprefix('vfs_')}", modifiable())
    return HookNotFoundError(
        f"fmod_ret may not change what {name}() returns",
        nearest=near,
        hint=f"it goes to {_SECURITY}* functions ({', '.join(near) or _SECURITY + 'file_open'} ...) and to those that "
        "errors may be injected into",
    )


def explain_lsm(name: str) -> HookNotFoundError | None:
    """Tell that there is no such LSM hook, or return None if there is."""
    return absent("LSM hook", name, lsm_hooks(), 'hooks(kind="lsm") lists them')


def explain_system_call(name: str) -> HookNotFoundError | None:
    """Tell that there is no such system call, or return None if there is."""
    return absent("system call", name, system_calls(), 'hooks(kind="ksyscall") lists them')


def _no_function(name: str, names: frozenset[str]) -> HookNotFoundError:
    variants = sorted(each for each in functions() if each.startswith(f"{name}.") and _VARIANT.search(each))
    if variants:
        what = f"the kernel has no function {name!r}, only what the compiler made of it"
        return HookNotFoundError(what, nearest=tuple(variants[:3]), hint=f"did you mean {variants[0]}?")
    hint = "it is not in this kernel, or was inlined everywhere: hooks('PART OF A NAME', kind='kprobe') finds others"
    return no_such("function of the kernel", name, names, hint)


def _modules() -> tuple[bytes, ...]:
    # The loaded modules; a kernel without modules has no such file.
    try:
        return tuple(line.partition(b" ")[0] for line in _MODULES.read_bytes().splitlines())
    except OSError:
        return ()


class _Symbols(NamedTuple):
    functions: frozenset[str]
    system_calls: frozenset[str]


@functools.lru_cache(maxsize=1)
def _symbols(path: Path, _of_modules: tuple[bytes, ...]) -> _Symbols:
    try:
        text = path.read_bytes()
    except OSError as error:
        what = f"{path} cannot be read: {error.strerror}"
        raise KernelSupportError(what, hint="it takes CONFIG_KALLSYMS=y, and /proc") from None
    found = (name.decode() for name in _LINE.findall(text))
    calls = frozenset(name.decode() for name in _SYSTEM_CALL.findall(text))
    return _Symbols(frozenset(name for name in found if not name.endswith(".cold")), calls)


@functools.lru_cache(maxsize=1)
def _traceable(tracefs: Path | None, _of_modules: tuple[bytes, ...]) -> frozenset[str] | None:
    if tracefs is None:
        return None
    try:
        text = (tracefs / "available_filter_functions").read_text()
    except OSError:
        return None
    return frozenset(line.partition(" ")[0] for line in text.splitlines() if not line.startswith(_REPLACED))


def _blacklist() -> frozenset[str]:
    # Lines of an address range and a name (Documentation/trace/kprobes.rst).
    return _words("kprobes/blacklist", 1) or frozenset()


def _injectable() -> frozenset[str] | None:
    # Lines of a name and what errors it returns (Documentation/fault-injection/fault-injection.rst).
    return _words("error_injection/list", 0)


def _words(file: str, column: int) -> frozenset[str] | None:
    # A column of a file in debugfs, which most users may not read; None stands for "could not be read".
    for debugfs in mount_points("debugfs"):
        try:
            lines = (debugfs / file).read_text().splitlines()
        except FileNotFoundError:
            return frozenset()  # the kernel was built without
        except OSError:
            continue
        return frozenset(line.split()[column] for line in lines if len(line.split()) > column)
    return None
