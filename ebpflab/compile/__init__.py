"""From a cell to a BPF object: prelude, kernel headers, clang, and a cache of what came out."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import cache, cflags, toolchain
from ..cell import Cell, without_comments
from ..errors import CompileError, Diagnostic
from . import clang, macros, vmlinux

_INCLUDES = Path(__file__).parent / "include"
_KEPT_OBJECTS = 500
# What the prelude and libbpf's macros need from vmlinux.h, whatever the cell says.
_BASE_WORDS = frozenset(
    [
        "__u8",
        "__u16",
        "__u32",
        "__u64",
        "__s8",
        "__s16",
        "__s32",
        "__s64",
        "u8",
        "u16",
        "u32",
        "u64",
        "s8",
        "s16",
        "s32",
        "s64",
        "bool",
        "true",
        "false",
        "size_t",
        "pid_t",
        "ktime_t",
        "__be16",
        "__be32",
        "__be64",
        "__le16",
        "__le32",
        "__le64",
        "__wsum",
        "__sum16",
        "pt_regs",
        "in6_addr",
        "BPF_F_CURRENT_CPU",
        "BPF_ANY",
        "BPF_NOEXIST",
    ]
)
# Headers that need no other headers of the system.
_SELF_SUFFICIENT = re.compile(r"(?:^|/)vmlinux\.h$|^bpf/bpf_\w+\.h$")
_COMPUTED = re.compile(r'^[ \t]*#[ \t]*(?:include[ \t]*[^ \t<"]|include_next\b|import\b)', re.MULTILINE)
# Words of an error that a type missing from the subset of vmlinux.h can cause.
_MISSING = re.compile(r"incomplete|undeclared|unknown type|no member|undefined|not complete|forward declaration")


@dataclass(frozen=True)
class Compiled:
    """A BPF object with where it came from.

    ``headers`` says which kernel types it was compiled against: ``subset`` or ``whole`` of vmlinux.h,
    or ``uapi``; ``cached`` whether clang did not have to run, ``first`` whether vmlinux.h had to be made for
    this kernel, which takes a few seconds.
    """

    object: bytes
    warnings: tuple[Diagnostic, ...]
    headers: str
    cached: bool
    first: bool = False


@dataclass(frozen=True)
class Target:
    """A kernel to compile for that is not the running one.

    ``btf`` is a file with its BTF, such as a copy of its ``/sys/kernel/btf/vmlinux``, and ``cpus`` the number of
    CPUs that it counts as possible (``/sys/devices/system/cpu/possible``).
    """

    btf: Path
    cpus: int


def compile_cell(
    cell: Cell, *, contexts: str = "", keep_types: Sequence[str] = (), target: Target | None = None
) -> Compiled:
    """Compile a cell.

    Parameters
    ----------
    cell
        The cell, in libbpf's C.
    contexts
        C text put before the cell: the context structs of the tracepoints that it names.
    keep_types
        C types (``struct event``) whose layout has to stay in the object though no map names them.
    target
        The kernel to compile for; the running one if not given.

    Raises
    ------
    CompileError
        With every message of clang, mapped to cell lines.
    ToolMissingError
        When clang or libbpf's headers are not installed.
    KernelSupportError
        When the cell needs vmlinux.h and the kernel has no BTF.

    Examples
    --------
    >>> compile_cell(Cell('SEC("raw_tp/sys_enter") int h(void *ctx) { return 0; }')).headers
    'subset'
    """
    headers = local_headers(cell)
    text = _translation_unit(cell, contexts, keep_types, headers)
    btf, cpus = (target.btf, target.cpus) if target else (None, _possible_cpus())
    flags = _flags(cell, cpus)
    uapi = cell.headers == "uapi"
    key = cache.key(
        text,
        repr([*clang.base_flags(), *flags]),
        clang.identity(),
        "" if uapi else vmlinux.identity(btf),
        _prelude(),
        *headers,
    )
    folder = cache.directory("objects")
    stored, log = folder / f"{key}.o", folder / f"{key}.log"
    with contextlib.suppress(FileNotFoundError):  # never stored, or just trimmed away by another process
        os.utime(log)
        os.utime(stored)
        kind, _, messages = log.read_text().partition("\n")
        return Compiled(stored.read_bytes(), _warnings(messages, cell), kind, cached=True)
    first = not uapi and not vmlinux.is_ready(btf)
    kind, (data, messages) = (
        ("uapi", clang.run(text, flags, cell)) if uapi else _with_vmlinux(text, flags, cell, headers, btf)
    )
    if are_known(cell, headers):
        cache.write(log, f"{kind}\n{messages}".encode())
        cache.write(stored, data)
        cache.trim(folder, 2 * _KEPT_OBJECTS)
    return Compiled(data, _warnings(messages, cell), kind, cached=False, first=first)


def kept_types(cell: Cell, *, always: bool = False) -> list[str]:
    # The `keep_types` of a cell. A buffer that names its record type needs nothing kept; the structs of a foreign
    # source, and those that an iterator writes, would vanish from BTF, and so does what the maps in a map hold.
    iterates = any(section.lstrip("?").partition("/")[0] in ("iter", "iter.s") for section, _ in cell.sections)
    nested = any(word in cell.words for word in ("BPF_MAP_TYPE_ARRAY_OF_MAPS", "BPF_MAP_TYPE_HASH_OF_MAPS"))
    if not (always or iterates or nested) and all(ring.typed for ring in cell.rings):
        return []
    return [f"struct {name}" for name in cell.struct_names] + list(cell.typedef_names)


def _with_vmlinux(
    text: str, flags: list[str], cell: Cell, headers: Sequence[str], btf: Path | None
) -> tuple[str, tuple[bytes, str]]:
    words = {*cell.words, *_BASE_WORDS, *_option_words(cell)}
    extra = [toolchain.find_libbpf_headers() / name for name in cell.includes if not _SELF_SUFFICIENT.search(name)]
    for header in [*headers, *(path.read_text() for path in extra if path.is_file())]:
        words.update(re.findall(r"[A-Za-z_]\w*", without_comments(header)))
    try:
        return "subset", clang.run(text, flags, cell, vmlinux.subset(words, cell.defined, btf))
    except CompileError as error:
        if not any(_MISSING.search(d.message) for d in error.diagnostics):
            raise
    # A type that only a macro names, or a member reached through a helper's result, is not in the subset.
    return "whole", clang.run(text, flags, cell, vmlinux.whole(cell.defined, btf))


def _translation_unit(cell: Cell, contexts: str, keep_types: Sequence[str], headers: Sequence[str]) -> str:
    # Everything of ours stands under its own #line, so that lines of the cell stay lines of the cell.
    keep = "".join(
        f'static const {c_type} *ebpflab_keep_{number} __attribute__((used, section(".data.ebpflab")));\n'
        for number, c_type in enumerate(keep_types)
    )
    # A prelude's typedef that the cell or its headers define gets another name, out of their way.
    own = _own_typedefs([cell.code, *map(without_comments, headers)])
    aside = "".join(f"#define {name} ebpflab_{name}\n" for name in own)
    back = "".join(f"#undef {name}\n" for name in own)
    # A cell with the text of a header that stands in for vmlinux.h (bindings) defines its types itself.
    back += "#undef __VMLINUX_H__\n" if "__VMLINUX_H__" in cell.words else ""
    licence = "" if cell.licensed else 'char ebpflab_license[] SEC("license") = "GPL";\n'
    names = (
        ""
        if cell.headers == "uapi"
        else macros.subset(
            {*cell.words, *_option_words(cell)}, cell.defined, [cell.code, cflags.defines(cell.cflags), *headers]
        )
    )
    return (
        f'{aside}#include "{_INCLUDES / "ebpflab.h"}"\n{back}#line 1 "macros"\n{names}\n'
        f'#line 1 "contexts"\n{contexts}\n'
        f'#line 1 "{clang.CELL}"\n{cell.source}\n#line 1 "ebpflab"\n{keep}{licence}'
    )


def _flags(cell: Cell, cpus: int) -> list[str]:
    flags = [*cell.cflags, *(f"-I{folder}" for folder in local_folders(cell))]
    flags += [f"-isystem{toolchain.find_libbpf_headers()}", counters_flag(cpus)]
    if cell.headers == "uapi":
        flags += ["-DEBPFLAB_UAPI", *(f"-isystem{folder}" for folder in toolchain.find_uapi_headers())]
    elif any(not _SELF_SUFFICIENT.search(name) for name in cell.includes):  # usdt.bpf.h wants linux/errno.h
        flags += [f"-idirafter{folder}" for folder in toolchain.find_uapi_headers()]
    return flags


def local_folders(cell: Cell) -> list[Path]:
    return [*cflags.folders(cell.cflags), *([cell.path.resolve().parent] if cell.path else []), Path.cwd()]


def _option_words(cell: Cell) -> list[str]:
    return re.findall(r"[A-Za-z_]\w*", cflags.defines(cell.cflags))


def counters_flag(cpus: int | None = None) -> str:
    # The number of counters at a call site: up to the next power of two, so that a mask can stand for a bound.
    return f"-DEBPFLAB_CPUS={1 << ((cpus or _possible_cpus()) - 1).bit_length()}"


@functools.cache
def _possible_cpus() -> int:
    # "0-127" or "0,2-3": what counts is the highest.
    listed = Path("/sys/devices/system/cpu/possible").read_text()
    return max(int(number) for number in re.findall(r"\d+", listed)) + 1


@functools.cache
def loss_counters() -> str:
    # The part of the prelude that counts the records that a full buffer refuses.
    return (_INCLUDES / "losses.h").read_text()


@functools.cache
def _prelude() -> str:
    return (_INCLUDES / "ebpflab.h").read_text() + loss_counters()


def _own_typedefs(texts: Sequence[str]) -> list[str]:
    # The typedefs of the prelude that these texts define themselves.
    ours = "|".join(re.findall(r"^typedef [^;]*?\b(\w+)(?:\[\d+\])?;", _prelude(), re.MULTILINE))
    theirs = re.compile(rf"(?:\btypedef\b[^;{{}}]*|\}}\s*)\b({ours})\s*(?:\[[^\]]*\]\s*)?;")
    return sorted({name for text in texts for name in theirs.findall(text)})


def local_headers(cell: Cell) -> list[str]:
    # The texts of the user's own headers, and of those that they include: they belong to the cache key.
    texts: list[str] = []
    seen: set[Path] = set()
    queue = [(name, local_folders(cell)) for name in cell.includes]
    while queue:
        name, folders = queue.pop()
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is not None and path.name != "vmlinux.h" and path not in seen:
            seen.add(path)
            texts.append(path.read_text(encoding="utf-8", errors="surrogateescape"))
            # A header's own folder comes first for what it includes.
            inner = [path.parent, *local_folders(cell)]
            queue.extend((found, inner) for found in re.findall(r'#\s*include\s*[<"]([^>"\n]+)[>"]', texts[-1]))
    return texts


def are_known(cell: Cell, headers: Sequence[str]) -> bool:
    # Whether `headers` (of local_headers) are all that the cell includes of its own. Only clang knows which file
    # "#include MACRO" names, or the next one of a name: what is made of those must not be kept.
    return not any(_COMPUTED.search(text) for text in (cell.code, *headers))


def _warnings(messages: str, cell: Cell) -> tuple[Diagnostic, ...]:
    return tuple(d for d in clang.parse(messages, cell) if d.severity == "warning")
