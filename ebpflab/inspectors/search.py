"""What can be hooked on this machine: a search over all names, and why a given one does not exist.

Tracepoints come from tracefs. Raw tracepoints and iterators come from the kernel's BTF: for every tracepoint
it has a typedef ``btf_trace_NAME`` (``include/trace/bpf_probe.h``), for every iterator a function
``bpf_iter_NAME`` and a struct ``bpf_iter__NAME`` (``include/linux/bpf.h``). Their names are in BTF's string
section, and looking for them there is much quicker than reading the types. Functions of a binary come from
its ELF symbol tables.
"""

from __future__ import annotations

import fnmatch
import os
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import (
    CellError,
    DecodeError,
    HookNotFoundError,
    KernelSupportError,
    PrivilegeError,
)
from ..program_types import PROGRAM_TYPES, Section, tracepoint_target, uprobe_target
from ..similar import did_you_mean, nearest
from . import tracefs
from .kernel import facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pandas as pd

_BTF_DIRECTORY = Path("/sys/kernel/btf")
_BTF_MAGIC = 0xEB9F
_BTF_HEADER = struct.Struct("=HBBIIIII")
_STT_FUNC = 2
# Where libbpf looks for a library besides LD_LIBRARY_PATH, and for a program besides PATH.
_LIBRARIES, _PROGRAMS = "/usr/lib64:/usr/lib", "/usr/bin:/usr/sbin"
_TRIPLETS = {
    "i686": "i386-linux-gnu",
    "armv7l": "arm-linux-gnueabihf",
    "ppc64le": "powerpc64le-linux-gnu",
}


def hooks(pattern: str = "", kind: str | None = None) -> pd.DataFrame:
    """Return what can be hooked on this machine: tracepoints, raw tracepoints, tp_btf and iterators.

    A kind whose names cannot be read is one row named ``*`` that says why, whatever the pattern.

    Parameters
    ----------
    pattern
        A part of a name in either case; with ``*`` or ``?`` a glob for a whole name, with or without its
        category; between slashes (``/^sched_/``) a regular expression. A slash inside looks in the section.
    kind
        Only hooks of this kind: "tracepoint", "raw_tracepoint", "tp_btf" or "iter".

    Returns
    -------
    pandas.DataFrame
        kind, name, section (for ``SEC("...")``), available (bool), and why not ("" if it is).

    Raises
    ------
    CellError
        The kind or the regular expression is not one.

    Examples
    --------
    >>> hooks("openat", kind="tracepoint")["section"].tolist()[0]
    'tp/syscalls/sys_enter_openat'
    """
    import pandas as pd

    if kind is not None and kind not in _SEARCHED:
        raise CellError(f"hooks cannot be searched by kind {kind!r}", hint=f"kinds: {', '.join(_SEARCHED)}")
    wanted = _matcher(pattern)
    held = facts()
    rows: list[tuple[str, str, str, bool, str]] = []
    for each in [kind] if kind else _SEARCHED:
        missing = [need for need in _NEEDS[each] if not held.can(need)]
        why = f"needs {' and '.join(missing)}" if missing else ""
        section, read = _SEARCHED[each]
        try:
            pairs = [(name, f"{section}/{name.replace(':', '/')}") for name in sorted(read())]
            pairs = [pair for pair in pairs if wanted(*pair)]
        except (KernelSupportError, PrivilegeError) as error:
            pairs, why = [("*", f"{section}/*")], f"{error.what}: {error.hint}" if error.hint else error.what
        rows += [(each, *pair, not why, why) for pair in pairs]
    columns = {"kind": str, "name": str, "section": str, "available": bool, "why": str}
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def explain_missing(kind: str, target: str) -> HookNotFoundError | None:
    """Tell why a program of this kind cannot find its target, or return None if the target exists.

    None is also the answer where nothing can be said: an empty target, a kind without names (``syscall``), or
    a kind that this package does not attach.

    Parameters
    ----------
    kind
        A kind of :data:`ebpflab.program_types.PROGRAM_TYPES`.
    target
        What follows the section name, as in ``syscalls/sys_enter_openat`` or ``libc.so.6:malloc``.

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
    if not target:
        return None
    if kind == "tracepoint":
        wanted = "/".join(tracepoint_target(target))
        return _absent("tracepoint", wanted, [name.replace(":", "/") for name in tracefs.events()])
    if kind == "raw_tracepoint":
        return _explain_raw(target)
    if kind == "tp_btf":
        return _absent("tracepoint with BTF", target, _tracepoints_in_btf())
    if kind == "iter":
        return _absent("iterator", target, _iterators())
    if kind in ("uprobe", "uretprobe"):
        return _explain_uprobe(target, returns=kind == "uretprobe")
    return None


def suggest_target(section: Section, program: str) -> str:
    """Return what to write for a program whose section does not say where it is attached.

    Examples
    --------
    >>> suggest_target(parse_section("xdp"), "on_packet")
    'give --attach on_packet=INTERFACE, as in --attach on_packet=lo'
    """
    row = section.type
    example = f", as in --attach {program}={row.example}" if row.example else ""
    way = f"give --attach {program}={row.target}{example}"
    takes_target = f"{section.prefix}+" in row.sections and not row.hook
    return f'write SEC("{section.prefix}/{row.target}"), or {way}' if takes_target else way


def resolve_binary(name: str) -> Path | None:
    """Return the file that libbpf would probe for this name, or None if there is none.

    A name with a slash is a path. Others are looked for as libbpf does (``resolve_full_path`` in its
    ``src/libbpf.c``): libraries in LD_LIBRARY_PATH and the system's library directories, programs in PATH,
    ``/usr/bin`` and ``/usr/sbin``.

    Raises
    ------
    PrivilegeError
        This process may not look where the path leads.

    Examples
    --------
    >>> resolve_binary("libc.so.6")
    PosixPath('/lib/x86_64-linux-gnu/libc.so.6')
    """
    if "/" in name:
        try:
            return Path(name) if Path(name).is_file() else None
        except PermissionError:
            raise _unreadable(Path(name)) from None
    mode = os.R_OK if _is_library(name) else os.R_OK | os.X_OK
    found = (folder / name for folder in _search_path(name))
    return next((path for path in found if os.access(path, mode, effective_ids=True) and path.is_file()), None)


def function_names(path: Path) -> frozenset[str]:
    """Return the names of the functions in a binary's symbol tables (elf(5): .dynsym and .symtab).

    Raises
    ------
    HookNotFoundError
        It is not an ELF file.
    PrivilegeError
        This process may not read it.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            tables = [elf.get_section_by_name(name) for name in (".dynsym", ".symtab")]
            return frozenset(name for table in tables if table for name in _functions(elf, table))
    except PermissionError:
        raise _unreadable(path) from None
    except (ELFError, OSError, ValueError) as error:
        # The last two are what reading a damaged header ends in: an offset outside of any file.
        raise HookNotFoundError(
            f"{path} is not an ELF binary: {error}", hint="for a script, name its interpreter or a library"
        ) from None


def _unreadable(path: Path) -> PrivilegeError:
    hint = f"give this user read permission on {path}, or add CAP_DAC_READ_SEARCH"
    return PrivilegeError(f"{path} cannot be read", stage="attach", cause="CAP_DAC_READ_SEARCH", hint=hint)


def _functions(elf: Any, table: Any) -> Iterator[str]:
    # Read with struct rather than pyelftools' own loop, which takes seconds for a browser's 100,000 symbols.
    order = "<" if elf.little_endian else ">"
    strings = elf.get_section(table["sh_link"]).data()
    layout = struct.Struct(order + ("IBBHQQ" if elf.elfclass == 64 else "IIIBBH"))
    data = table.data()
    for symbol in layout.iter_unpack(data[: len(data) // layout.size * layout.size]):
        info, section = (symbol[1], symbol[3]) if elf.elfclass == 64 else (symbol[3], symbol[5])
        if info & 0xF == _STT_FUNC and section:
            end = strings.find(b"\0", symbol[0])
            # A symbol table may append the version: memcpy@@GLIBC_2.14.
            yield strings[symbol[0] : end].decode(errors="replace").partition("@")[0]


def _explain_raw(target: str) -> HookNotFoundError | None:
    try:
        names = _tracepoints_in_btf()
    except KernelSupportError:
        # A kernel without BTF has raw tracepoints all the same, and lists them nowhere.
        return None
    error = _absent("raw tracepoint", target, names)
    if error and re.match(r"sys_(enter|exit)_", target):
        general = "_".join(target.split("_")[:2])
        error.hint = f"system calls share one raw tracepoint: use raw_tp/{general} and compare the call's number"
    return error


def _explain_uprobe(target: str, *, returns: bool) -> HookNotFoundError | None:
    place = uprobe_target(target, returns=returns)
    path = resolve_binary(place.path)
    if path is None:
        near = nearest(place.path, _binaries_like(place.path))
        return HookNotFoundError(f"no binary {place.path}", nearest=near, hint=did_you_mean(near))
    try:
        functions = function_names(path)
    except HookNotFoundError as no_binary:
        return no_binary
    if place.function is None:
        return None
    error = _absent(f"function in {path}", place.function.partition("@")[0], functions)
    if error and not error.nearest:
        error.hint = f"it has symbols of {len(functions)} functions; others take an offset: {place.path}:0x..."
    return error


def _absent(what: str, name: str, names: Iterable[str]) -> HookNotFoundError | None:
    known = names if isinstance(names, frozenset) else frozenset(names)
    if name in known:
        return None
    near = nearest(name, known)
    return HookNotFoundError(f"no {what} is called {name!r}", nearest=near, hint=did_you_mean(near))


def _matcher(pattern: str) -> Callable[[str, str], object]:
    # The function that it returns is given a name and its section.
    text = pattern.strip()
    if len(text) > 1 and text[0] == text[-1] == "/":
        try:
            search = re.compile(text[1:-1], re.IGNORECASE).search
        except re.error as error:
            raise CellError(f"{text} is not a regular expression: {error}") from None
        return lambda name, _: search(name)
    in_section = "/" in text
    if "*" in text or "?" in text:
        glob = re.compile(fnmatch.translate(text), re.IGNORECASE).match
        if in_section:
            return lambda _, section: glob(section) or glob(section.partition("/")[2])
        return lambda name, _: glob(name) or glob(name.partition(":")[2])
    folded = text.lower()
    return lambda name, section: folded in (section if in_section else name).lower()


def _btf_names(expression: bytes) -> frozenset[str]:
    # Modules have BTF of their own beside the kernel's, each file with its own strings.
    try:
        files = sorted(_BTF_DIRECTORY.iterdir())
    except FileNotFoundError:
        files = []
    if _BTF_DIRECTORY / "vmlinux" not in files:
        raise KernelSupportError(
            "this kernel carries no BTF", hint="it takes a kernel built with CONFIG_DEBUG_INFO_BTF=y"
        )
    # Each string ends with a zero byte, and the section starts with one.
    names = re.compile(rb"\0" + expression + rb"(?=\0)")
    return frozenset(name.decode() for file in files for name in names.findall(_btf_strings(file)))


def _btf_strings(path: Path) -> bytes:
    # struct btf_header in include/uapi/linux/btf.h: magic, version, flags, hdr_len, type_off, type_len,
    # str_off, str_len; the offsets count from the header's end.
    with path.open("rb") as file:
        head = file.read(_BTF_HEADER.size)
        if len(head) < _BTF_HEADER.size or _BTF_HEADER.unpack(head)[0] != _BTF_MAGIC:
            raise DecodeError(f"{path} is not BTF of this machine")
        *_, header_size, _, _, start, size = _BTF_HEADER.unpack(head)
        file.seek(header_size + start)
        return file.read(size)


def _tracepoints_in_btf() -> frozenset[str]:
    return _btf_names(rb"btf_trace_(\w+)")


def _iterators() -> frozenset[str]:
    # Either half alone is also the name of other things: bpf_iter_num_new, bpf_iter__task__safe_trusted.
    found = _btf_names(rb"bpf_iter_(\w+)")
    return frozenset(name for name in found if f"_{name}" in found)


def _is_library(name: str) -> bool:
    return name.endswith(".so") or ".so." in name


def _search_path(name: str) -> list[Path]:
    if _is_library(name):
        machine = os.uname().machine
        own = f"/lib/{_TRIPLETS.get(machine, f'{machine}-linux-gnu')}"
        places = (os.environ.get("LD_LIBRARY_PATH", ""), _LIBRARIES, own)
    else:
        places = (os.environ.get("PATH", ""), _PROGRAMS, "")
    return [Path(folder) for place in places for folder in place.split(":") if folder]


def _binaries_like(name: str) -> Iterator[str]:
    folders = [Path(name).parent] if "/" in name else _search_path(name)
    for folder in folders:
        if os.access(folder, os.R_OK | os.X_OK) and folder.is_dir():
            with os.scandir(folder) as entries:
                files = [entry for entry in entries if entry.is_file()]
            yield from (entry.path if "/" in name else entry.name for entry in files)


_NEEDS = {row.kind: row.capabilities for row in PROGRAM_TYPES}
# What is searched: the section to write, and the function that reads all names.
_SEARCHED: dict[str, tuple[str, Callable[[], Iterable[str]]]] = {
    "tracepoint": ("tp", tracefs.events),
    "raw_tracepoint": ("raw_tp", _tracepoints_in_btf),
    "tp_btf": ("tp_btf", _tracepoints_in_btf),
    "iter": ("iter", _iterators),
}
