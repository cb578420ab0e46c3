"""What may stand in ``SEC("...")``: kinds of programs, and where each can be attached on this machine."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import HookNotFoundError
from ..inspectors import binaries, search, tracefs
from ..program_types import BY_KIND, PROGRAM_TYPES, parse_section
from . import names
from .names import MOST, Item

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..program_types import ProgramType

_DATA = (".maps", "license", ".rodata", ".data", ".bss", ".kconfig", ".ksyms", ".struct_ops", ".struct_ops.link")
_IN_BINARIES = ("uprobe", "uretprobe", "uprobe.multi", "uprobe.session", "usdt")
# Whose hooks are those of another kind, as far as their sections go.
_SHARED = {"lsm_cgroup": "lsm"}
# The shorter of two names for one thing comes first.
_SHORT = ("tp", "raw_tp", "tc", "xdp")


def sections(written: str) -> list[Item]:
    """Return the program sections that start with what has been written.

    Examples
    --------
    >>> [item.text for item in sections("tp/sysc")]
    ['tp/syscalls/']
    """
    mark = written[:1] if written[:1] == "?" else ""
    text = written[len(mark) :]
    prefix, slash, target = text.partition("/")
    row = _rows().get(prefix) if slash else None
    found = [item for item in _kinds() if item.text.startswith(text) and not (slash and item.text == text)]
    if row is not None:
        hooks = targets(_SHARED.get(row.kind, row.kind), target)
        found += [Item(f"{prefix}/{item.text}", item.kind, item.detail) for item in hooks]
    return [item._replace(text=mark + item.text) for item in found]


def data_sections(written: str, *, is_map: bool) -> list[Item]:
    """Return the sections of variables that start with what has been written; that of maps first, for a struct."""
    listed = _DATA if is_map else (*_DATA[1:], _DATA[0])
    return [Item(name, "section") for name in listed if name.startswith(written)]


def targets(kind: str, written: str) -> list[Item]:
    """Return where a program of a kind can be attached that starts with what has been written.

    Where many start so they are cut behind their next underscore, and where none does, those that contain it count.

    Raises
    ------
    KernelSupportError, PrivilegeError
        The names cannot be read.

    Examples
    --------
    >>> [item.text for item in targets("tracepoint", "sched/sched_sw")]
    ['sched/sched_swap_numa', 'sched/sched_switch']
    """
    if kind in _IN_BINARIES:
        return _in_binary(kind, written)
    if kind == "tracepoint":
        return _tracepoints(written)
    found = search.names(kind)
    ordered = names.in_order(found) if isinstance(found, frozenset) else tuple(sorted(found))
    chosen = names.stems(ordered, written) or names.containing(ordered, written)
    return [Item(name, kind) for name in chosen]


def events(written: str) -> list[Item]:
    """Return the tracepoints that start with what has been written, as ``category:event``."""
    return [Item(item.text.replace("/", ":"), item.kind) for item in _tracepoints(written.replace(":", "/"))]


def _tracepoints(written: str) -> list[Item]:
    listed = [name.replace(":", "/", 1) for name in tracefs.events()]
    category, slash, event = written.partition("/")
    if not slash:
        categories = sorted({name.partition("/")[0] for name in listed})
        found = [name for name in categories if name.startswith(category)]
        if found:
            return [Item(f"{name}/", "category") for name in found]
        return [Item(name, "tracepoint") for name in names.containing(listed, written)]
    within = sorted(name for name in listed if name.startswith(f"{category}/"))
    chosen = names.stems(within, written) or names.containing(within, event)
    return [Item(name, "tracepoint") for name in chosen]


def _in_binary(kind: str, written: str) -> list[Item]:
    binary, colon, function = written.partition(":")
    if not colon:
        return [Item(f"{name}:" if not name.endswith("/") else name, "binary") for name in _binaries(binary)]
    path = binaries.resolve_binary(binary)
    if path is None:
        return []
    try:
        ordered = _functions(path, path.stat().st_mtime_ns, kind == "usdt")
    except HookNotFoundError:  # a script
        return []
    chosen = names.stems(ordered, function) or names.containing(ordered, function)
    return [Item(f"{binary}:{name}", kind) for name in chosen]


@functools.lru_cache(maxsize=8)
def _functions(path: Path, _changed: int, usdt: bool) -> tuple[str, ...]:
    found = binaries.usdt_names(path) if usdt else binaries.function_names(path)
    return tuple(sorted(found))


def _binaries(written: str) -> list[str]:
    # Paths where one has begun, else what libbpf would find by its name alone.
    if "/" in written:
        folder = Path(written).parent if not written.endswith("/") else Path(written)
        return _listed([folder], written, whole=True)
    libc = binaries.resolve_binary("libc.so.6")
    libraries = _listed([libc.parent] if libc else [], written, ending=".so")
    programs = _listed([Path(folder) for folder in os.get_exec_path()], written) if written else []
    return [*libraries, *programs][:MOST] or ["/"]


def _listed(folders: Iterable[Path], written: str, *, whole: bool = False, ending: str = "") -> list[str]:
    found = set()
    for folder in folders:
        if not os.access(folder, os.R_OK | os.X_OK) or not folder.is_dir():
            continue
        with os.scandir(folder) as entries:
            for entry in entries:
                name = str(folder / entry.name) if whole else entry.name
                if name.startswith(written) and ending in name and (whole or entry.is_file()):
                    found.add(f"{name}/" if whole and entry.is_dir() else name)
    return sorted(found)


@functools.lru_cache(maxsize=1)
def _rows() -> dict[str, ProgramType]:
    return {section[:-1]: row for row in PROGRAM_TYPES for section in row.sections if section.endswith("+")}


@functools.lru_cache(maxsize=1)
def _kinds() -> tuple[Item, ...]:
    # Every section without its target; a slash at the end where one follows.
    listed = [(section, row) for row in PROGRAM_TYPES for section in row.sections]
    listed.sort(key=lambda pair: (pair[0].rstrip("+") not in _SHORT, pair[0]))
    return tuple(Item(section.replace("+", "/"), "section", _about(row)) for section, row in listed)


def _about(row: ProgramType) -> str:
    return f"{row.kind}: {row.target or row.hook}" if row.target or row.hook else row.kind


def kind_of(section: str) -> str:
    """Return the kind of program of a section, "" where it is none or not finished."""
    try:
        return parse_section(section).kind
    except HookNotFoundError:
        return ""


def kinds(written: str) -> list[Item]:
    """Return the kinds of programs that start with what has been written."""
    return [Item(kind, "kind") for kind in BY_KIND if kind.startswith(written)]
