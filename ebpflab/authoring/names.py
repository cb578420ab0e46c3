"""All names that can be written: of the kernel's types, its helpers and kfuncs, libbpf's macros; quick to search.

What takes long to gather is kept on disk, in a file for each kernel.
"""

from __future__ import annotations

import bisect
import functools
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import cache, tables, toolchain
from ..btf import Kind
from ..errors import EbpflabError, ToolMissingError
from ..inspectors.helpers import helpers
from ..inspectors.kernel_btf import DIRECTORY
from ..inspectors.layout import vmlinux

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

MOST = 400  # answers at a time: IPython passes on 500
_LAST = chr(0x10FFFF)  # sorts behind every other character
_SEPARATOR = re.compile(r"[_./:]+")
_KEPT = 100  # files: one for each type of program, and for each set of modules
_VERSION = Path("/proc/version")
_MODULES = Path("/proc/modules")
_OWN = Path(__file__).parents[1] / "compile" / "include"
_HEADERS = ("bpf_helpers.h", "bpf_core_read.h", "bpf_tracing.h", "bpf_endian.h", "usdt.bpf.h")
_DEFINE = re.compile(
    r"(?:^/\*(?P<doc>(?:[^*]|\*(?!/))*)\*/\n)?^#[ \t]*define[ \t]+(?P<name>[A-Za-z_]\w*)(?P<parameters>\([^)\n]*\))?"
    r"(?P<body>(?:\\\n|[^\n])*)",
    re.MULTILINE,
)
_INTERNAL = re.compile(r"___|_$|__PT_|__BPF_|EBPFLAB|bpf_ringbuf_|bpf_perf_event_output|__bpf")


class Item(NamedTuple):
    """A completion: the text to insert, what it is in one word, and what more can be said in a line."""

    text: str
    kind: str
    detail: str = ""


class Macro(NamedTuple):
    """A macro of libbpf's headers or of ours: parameters with their parentheses, "" without any; body; comment."""

    name: str
    parameters: str
    body: str
    doc: str


@dataclass(frozen=True)
class KernelNames:
    """The names of the kernel's types, each tuple sorted; ``enumerators`` maps a name to its enum's."""

    structs: tuple[str, ...]
    unions: tuple[str, ...]
    enums: tuple[str, ...]
    typedefs: tuple[str, ...]
    enumerators: dict[str, str]
    constants: tuple[str, ...]  # the enumerators, sorted


@functools.lru_cache(maxsize=1)
def kernel() -> KernelNames:
    """Return the names of the running kernel's types; read once, from disk if they were read before.

    Raises
    ------
    KernelSupportError, PrivilegeError
        The kernel carries no BTF, or it cannot be read.

    Examples
    --------
    >>> "task_struct" in kernel().structs
    True
    """
    found = stored("types", (), lambda: asdict(_names()))
    lists = {key: tuple(found[key]) for key in ("structs", "unions", "enums", "typedefs", "constants")}
    return KernelNames(**lists, enumerators=found["enumerators"])


def starting(names: Sequence[str], prefix: str, limit: int = MOST) -> list[str]:
    """Return the names of a sorted sequence that start with a prefix, at most so many.

    Examples
    --------
    >>> starting(("a", "ba", "bb", "c"), "b")
    ['ba', 'bb']
    """
    low = bisect.bisect_left(names, prefix)
    high = bisect.bisect_left(names, prefix + _LAST) if prefix else len(names)
    return list(names[low : min(high, low + limit)])


@functools.lru_cache(maxsize=16)
def in_order(names: frozenset[str]) -> tuple[str, ...]:
    """Return the names sorted; the last few sets are remembered, for sorting 60,000 takes 20 ms."""
    return tuple(sorted(names))


def stems(names: Sequence[str], prefix: str, limit: int = MOST) -> list[str]:
    """Return what may follow a prefix among sorted names, at most so many.

    Where that is more, names are cut behind their next underscore, dot or slash, so that one can go on from there.

    Examples
    --------
    >>> stems(("vfs_open", "vfs_read", "xfs"), "", 2)
    ['vfs_', 'xfs']
    """
    found = starting(names, prefix, limit + 1)
    while len(found) > limit:
        groups = list(_groups(names, prefix, limit))
        if len(groups) > 1 or groups[0] == prefix:
            return groups
        prefix = groups[0]
        found = starting(names, prefix, limit + 1)
    return found


def _groups(names: Sequence[str], prefix: str, limit: int) -> Iterator[str]:
    # One look for each group, not for each of its names: a kernel has 60,000 functions.
    at, end = bisect.bisect_left(names, prefix), bisect.bisect_left(names, prefix + _LAST)
    for _ in range(limit):
        if at >= end:
            return
        cut = _SEPARATOR.search(names[at], len(prefix))
        stem = names[at][: cut.end()] if cut else names[at]
        after = bisect.bisect_left(names, stem + _LAST, at, end) if cut else at + 1
        yield stem if after > at + 1 else names[at]
        at = after


def containing(names: Sequence[str], part: str, limit: int = MOST) -> list[str]:
    """Return names with a part anywhere in them, in either case."""
    folded = part.lower()
    return [name for name in names if folded in name.lower()][:limit]


@functools.lru_cache(maxsize=1)
def macros() -> dict[str, Macro]:
    """Return the macros that a cell can use, by name: libbpf's, ours, and the kernel's that BTF does not know.

    Without libbpf's headers most of its own are missing.

    Examples
    --------
    >>> macros()["BPF_CORE_READ"].parameters
    '(src, a, ...)'
    """
    listed = tables.macros().items()
    found = {name: Macro(name, each.signature.removeprefix(name), "", each.summary) for name, each in listed}
    files = [_OWN / "ebpflab.h", _OWN / "losses.h", _OWN / "macros.h"]
    try:
        folder = toolchain.find_libbpf_headers() / "bpf"
        files += [folder / name for name in _HEADERS if (folder / name).is_file()]
    except ToolMissingError:
        pass
    for file in files:
        for match in _DEFINE.finditer(file.read_text(errors="replace")):
            if not _INTERNAL.match(match["name"]):
                macro = Macro(match["name"], match["parameters"] or "", _tidy(match["body"]), _comment(match["doc"]))
                found.setdefault(macro.name, macro)
    return found


@functools.lru_cache(maxsize=1)
def macro_names() -> tuple[str, ...]:
    """Return the names of :func:`macros`, sorted."""
    return tuple(sorted(macros()))


@functools.lru_cache(maxsize=1)
def helper_numbers() -> dict[str, int]:
    """Return the helpers that the running kernel has for any program, by name, with their numbers (``BPF_FUNC_*``).

    Examples
    --------
    >>> helper_numbers()["bpf_ktime_get_ns"]
    5
    """
    found = vmlinux().find("bpf_func_id", Kind.ENUM, Kind.ENUM64)
    listed = ((v.name.removeprefix("BPF_FUNC_"), v.value) for v in (found.values if found else ()))
    return {f"bpf_{name}": value for name, value in listed if value and not name.startswith("__")}


@functools.lru_cache(maxsize=1)
def signatures() -> dict[str, str]:
    """Return how C declares each helper, by name; {} where libbpf's headers are not installed.

    Examples
    --------
    >>> signatures()["bpf_ktime_get_ns"]
    '__u64 bpf_ktime_get_ns(void)'
    """
    try:
        return {helper.name: helper.signature for helper in helpers()}
    except ToolMissingError:
        return {}


def stored(what: str, parts: Iterable[str], make: Callable[[], Any]) -> Any:
    """Return what was made for this kernel before, or make it and keep it; JSON on disk.

    Parameters
    ----------
    what
        A word for the file's name.
    parts
        What else the answer depends on, besides the kernel and this package.
    make
        Makes it, as something that JSON can hold.
    """
    path = stored_path(what, parts)
    if path is not None and (found := load(path)) is not None:
        return found
    made = make()
    keep(path, made)
    return made


def stored_path(what: str, parts: Iterable[str]) -> Path | None:
    """Return the file where something about this kernel is kept, None where nothing can be."""
    try:
        return cache.directory("names") / f"{what}-{cache.key(_kernel_key(), *parts)}.json"
    except (EbpflabError, OSError):
        return None  # a read-only home: everything works, only more slowly


def load(path: Path) -> Any:
    """Return what a file of ours holds, or None where there is none that can be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def keep(path: Path | None, value: Any) -> None:
    """Write to a file of ours, where that is possible."""
    if path is None:
        return
    try:
        cache.write(path, json.dumps(value).encode())
        cache.trim(path.parent, _KEPT)
    except OSError:
        return  # a full disk: what was found is used all the same


@functools.lru_cache(maxsize=1)
def _kernel_key() -> str:
    # Its types, its version, and what writes the file.
    own = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    release = os.uname().release
    return cache.key((DIRECTORY / "vmlinux").read_bytes(), release, _VERSION.read_text(), own)


def modules() -> str:
    """Return the names of the loaded modules, which bring kfuncs, as one text."""
    try:
        return " ".join(sorted(line.split()[0] for line in _MODULES.read_text().splitlines()))
    except OSError:
        return ""


def _names() -> KernelNames:
    btf = vmlinux()

    def of(*kinds: Kind) -> tuple[str, ...]:
        return tuple(sorted({t.name for t in btf.of_kind(*kinds) if t.name}))

    enums = list(btf.of_kind(Kind.ENUM, Kind.ENUM64))
    enumerators = {v.name: t.name for t in enums for v in t.values}
    return KernelNames(
        of(Kind.STRUCT),
        of(Kind.UNION),
        tuple(sorted({t.name for t in enums if t.name})),
        of(Kind.TYPEDEF),
        enumerators,
        tuple(sorted(enumerators)),
    )


def _tidy(body: str) -> str:
    lines = [line.rstrip(" \t\\") for line in body.strip().splitlines()]
    return "\n".join(lines)


def _comment(text: str | None) -> str:
    lines = (line.strip().removeprefix("*").strip() for line in (text or "").splitlines())
    return "\n".join(lines).strip()
