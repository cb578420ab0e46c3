"""The folder of kernel headers that BCC compiles one program with, made from the running kernel's BTF.

BCC looks for headers below ``$BCC_KERNEL_SOURCE`` and includes ``include/linux/kconfig.h`` before anything else.
All that the program needs stands in that file; every other header that it includes is an empty file, so none has
to be known. What calls BCC's own helpers stands in ``after.h``, which is included behind these.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import cflags
from ..cell import Cell, without_comments
from ..compile import macros as uapi
from ..inspectors.tracefs import tracefs_root
from . import library, macros, modules, subset

# What BCC's own headers include.
_ALWAYS = (
    "uapi/linux/bpf.h",
    "uapi/linux/if_packet.h",
    "uapi/linux/if_ether.h",
    "linux/types.h",
    "linux/bpf_common.h",
    "linux/version.h",
    "linux/log2.h",
    "linux/autoconf.h",
    "asm/page.h",
)
# Headers of the kernel, whatever lies in the program's folders: a copy there would bring the types of another kernel.
_ALWAYS_KERNEL = re.compile(r"(?:\.\./)*(?:uapi|linux|asm|asm-generic)/.*\.h$|(?:.*/)?vmlinux\.h$")
# Other folders of the kernel; and headers of the C library, whose types BTF or the macros have.
_KERNEL = re.compile(
    r"(?:\.\./)*(?:net|scsi|trace|crypto|drm|sound|rdma|video|xen|misc|mtd|target|acpi|keys|kvm|media|memory|ras|soc|vdso"
    r"|generated|clocksource|hyperv|kernel|block|fs|mm|drivers|arch|security|ipc|lib)/.*\.h$"
    r"|(?:std(?:bool|def|int|lib)|string|errno|limits|inttypes)\.h$|sys/types\.h$"
)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"\n]+)[>"]', re.MULTILINE)
_QUOTED = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', re.MULTILINE)
_MACRO = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.MULTILINE)
_FUNCTION = re.compile(r"\b(\w+)\s*\([^;{}()]*(?:\([^()]*\)[^;{}()]*)*\)\s*\{")
_TRACEPOINT = re.compile(r"\bTRACEPOINT_PROBE\s*\(\s*(\w+)\s*,\s*(\w+)\s*\)|\btracepoint__(\w+)")
_FIELD = re.compile(r"^\s*field:([^;]*?)(\w+)(?:\[[^;]*)?;", re.MULTILINE)
_MODULE = re.compile(r"\bMODULE_K(?:RET)?FUNC_PROBE\s*\(\s*(\w+)|\bk(?:ret)?func__(\w+?)__")
_TYPED = re.compile(r"\b(\w+)\b(?=[ \t]*[ \t*][ \t*]*\w)")  # a word before another, as a type is before a name
_STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')
_MADE = re.compile(r" (?:tracepoint__|bpf_iter__)")  # tags that BCC makes
_ITERATOR = re.compile(r"\bBPF_ITER\s*\(\s*(\w+)")
# What BCC's rewriter puts into a program: its own calls, and the integers of tracepoints.
_INTEGERS = ("u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "bool", "size_t")
_OWN_WORDS = frozenset({"BPF_ANY", "BPF_NOEXIST", "BPF_EXIST", "BPF_F_CURRENT_CPU", "struct pt_regs", *_INTEGERS})
_COUNTER = "struct bpf_perf_event_value"  # what our definition of a BPF_PERF_ARRAY names
_HEAD = """#ifndef EBPFLAB_KCONFIG_H
#define EBPFLAB_KCONFIG_H
#define _UAPI__LINUX_BPF_H__
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))
#define LINUX_VERSION_CODE KERNEL_VERSION({version})
#undef __seg_gs
#undef __seg_fs
#define __seg_gs
#define __seg_fs
"""


@dataclass(frozen=True)
class Tree:
    """Kernel headers for one program.

    ``root`` is what ``BCC_KERNEL_SOURCE`` has to name, and ``flags`` what BCC's clang needs in addition. For another
    compiler: the program stands behind the text ``before``, BCC's own headers and the text ``after``, and the headers
    ``empty`` have nothing in them. ``module`` is the kernel module that has types of the program, if one has.
    """

    root: Path
    flags: tuple[str, ...]
    before: str
    after: str
    empty: tuple[str, ...]
    module: str = ""


def write(root: Path, program: Cell, *, local: Sequence[Path] = (), whole: bool = False) -> Tree:
    """Write the headers that a program needs.

    Parameters
    ----------
    root
        An empty folder that nobody else can write to.
    program
        The program, in BCC's C.
    local
        Folders where the program's own headers may be.
    whole
        Whether to give all types of the kernel, not only those that the program's words reach.

    Raises
    ------
    KernelSupportError
        The kernel has no BTF, or its types cannot be written in C exactly.
    ToolMissingError
        BCC's library or clang is missing.

    Examples
    --------
    >>> write(folder, Cell("int f(struct pt_regs *ctx) { return 0; }")).after
    ''
    """
    own, includes = _sources(program, local)
    used = _Used(own, includes)
    include = root / "include"
    empty = sorted({*_ALWAYS, *(name for name in includes if _is_kernel(name, local))})
    for name in empty:
        _put(include / inside(name), "")
    before = used.before(whole)
    _put(include / "linux" / "kconfig.h", before)
    _put(root / "after.h", used.after)
    flags = ("-include", str(root / "after.h"), *(f"-I{folder}" for folder in local))
    return Tree(root, flags, before, used.after, tuple(empty), used.module)


def taken_for_kernel(program: Cell, local: Sequence[Path]) -> tuple[str, ...]:
    """Return what a program includes in quotes and none of its folders has: it gets an empty header of the kernel.

    Examples
    --------
    >>> taken_for_kernel(Cell('#include "lib/common.h"'), [Path("/src")])
    ('lib/common.h',)
    """
    quoted = sorted(set(_QUOTED.findall(program.code)))
    return tuple(name for name in quoted if _is_kernel(name, local) and not _ALWAYS_KERNEL.match(name))


def inside(name: str) -> str:
    """Return the path of an included header below the folder that stands in for the kernel's.

    Examples
    --------
    >>> inside("../../fs/mount.h")
    'fs/mount.h'
    """
    return os.path.normpath(f"/{name}").lstrip("/")


def _is_kernel(name: str, local: Sequence[Path]) -> bool:
    own = any((folder / name).is_file() for folder in local)
    return bool(_ALWAYS_KERNEL.match(name) or (_KERNEL.match(name) and not own))


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


def _sources(program: Cell, local: Sequence[Path]) -> tuple[list[str], set[str]]:
    # The program and its own headers, without comments, and the names of all that they include.
    texts, names = [program.code, cflags.defines(program.cflags)], set(program.includes)
    queue = [(name, list(local)) for name in program.includes]
    seen: set[Path] = set()
    while queue:
        name, folders = queue.pop()
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is not None and path.resolve() not in seen and not _ALWAYS_KERNEL.match(name):
            seen.add(path.resolve())
            texts.append(without_comments(path.read_text(encoding="utf-8", errors="surrogateescape")))
            inner = _INCLUDE.findall(texts[-1])
            names.update(inner)
            queue += [(found, [path.parent, *local]) for found in inner]
    return texts, names


class _Carried:
    # What the headers that BCC carries use of the kernel, whatever the program is.
    def __init__(self, *names: str) -> None:
        text = "\n".join(without_comments(library.header(name)) for name in names)
        self.words = frozenset(macros.words(text))
        self.macros = macros.defined_in(text)
        self.declared = frozenset(subset.tags(text))
        whole = subset.tags(text, pointers=False)
        self.roots = self.words | whole
        # What of the kernel's these headers name, besides words that only read alike: a parameter, a member.
        used = {*_TYPED.findall(_STRING.sub('""', text)), *(word for word in self.words if word[:4].lower() == "bpf_")}
        self.kept = (used & subset.known(self.words)) | {tag.partition(" ")[2] for tag in whole}


class _Used:
    # What the texts of a program use of the kernel.
    def __init__(self, texts: list[str], includes: set[str]) -> None:
        self._text = "\n".join(texts)
        self._carried = _carried("bcc/proto.h" in includes, library.find_libbcc())
        fixed = self._carried.words
        self._words = macros.words(self._text)
        # A name that BCC's headers go on using has to stay the kernel's.
        self.defined = Cell(self._text).defined - self._carried.kept
        self.module = self._module_of_types()
        own = {*self.defined, *_FUNCTION.findall(self._text), *({*_MACRO.findall(self._text)} - fixed)}
        functions = macros.functions(self._words, own)
        compatible = subset.compatible()
        lower = {name: text for name, text in compatible.items() if name.islower()}
        aliases = macros.aliases(self._words, own, includes, lower)
        self.after = "".join([*aliases, *functions])
        self._words |= macros.words(self.after)
        self._fields = _formats(self._text)
        self._macros = self._defines(fixed, own, {k: v for k, v in compatible.items() if k not in lower})

    def _module_of_types(self) -> str:
        # One is looked for where the program names a tag that neither it nor the kernel has.
        tags = {tag for tag in subset.tags(self._text) if tag.partition(" ")[2] not in self.defined}
        tags = {tag for tag in tags if not _MADE.search(tag)}
        named = {first or second for first, second in _MODULE.findall(self._text)}
        return modules.module_for(tags - subset.known(tags), named)

    def _defines(self, fixed: frozenset[str], own: set[str], compatible: dict[str, str]) -> str:
        everything = self._words | fixed
        taken = own | subset.known(everything, self.module)
        found = "".join([*macros.calls(self._words), *macros.defines(everything, taken, compatible)])
        usual = uapi.subset(everything | macros.words(found), taken, [found])
        self._words |= macros.words(found)
        return "".join(macros.options(everything | macros.words(found))) + usual + found + _missing_helpers(fixed)

    def before(self, whole: bool) -> str:
        head = _HEAD.format(version=_version())
        options, others = _split(self._macros)
        declared = self._carried.declared
        text = subset.all_types(self.defined, declared, self.module) if whole else self._types()
        return f"{head}{options}\n{text}\n{others}#endif\n"

    def _types(self) -> str:
        used = macros.reached(self._carried.macros, self._words)
        texts = "\n".join([self._text, self.after, self._macros, *used])
        roots = {*_OWN_WORDS, *self._words, *self._carried.roots, *subset.tags(texts)}
        if "BPF_PERF_ARRAY" in self._words:
            roots.add(_COUNTER)
        roots |= {f"struct bpf_iter__{name}" for name in _ITERATOR.findall(self._text)}
        for spelled, field in self._fields:
            roots |= macros.words(spelled) | subset.tags(spelled, pointers=field in self._words)
        return subset.types(roots, self._words, self.defined, self._carried.declared, self.module)


def _split(text: str) -> tuple[str, str]:
    # The configuration comes before the types, since macros ask for it; the others would rewrite members.
    lines = text.splitlines(keepends=True)
    options = [line for line in lines if line.startswith("#define CONFIG_")]
    return "".join(options), "".join(line for line in lines if not line.startswith("#define CONFIG_"))


def _formats(text: str) -> list[tuple[str, str]]:
    # Type and name of each field of the tracepoints that a program names. BCC declares their structs itself.
    fields: list[tuple[str, str]] = []
    for match in _TRACEPOINT.finditer(text):
        words = match[3].split("__") if match[3] else [match[1], match[2]]
        for at in range(1, len(words)):
            path = tracefs_root() / "events" / "__".join(words[:at]) / "__".join(words[at:]) / "format"
            if os.access(path, os.R_OK):
                fields += _FIELD.findall(path.read_text(errors="replace"))
    return fields


def _missing_helpers(fixed: frozenset[str]) -> str:
    # Helper functions that a BCC newer than this kernel declares. Their numbers never change.
    wanted = sorted(word for word in fixed if word.startswith("BPF_FUNC_"))
    missing = set(wanted) - subset.known(wanted)
    return "".join(f"#define {name} {number}\n" for name, number in _helper_numbers().items() if name in missing)


@functools.cache
def _helper_numbers() -> dict[str, int]:
    # Newer headers write FN(name, number, ...), older ones FN(name) in the order of the numbers.
    found = re.findall(r"\bFN\((\w+)(?:,\s*(\d+))?", library.header("bpf.h"))
    return {f"BPF_FUNC_{name}": int(number or at) for at, (name, number) in enumerate(found)}


@functools.lru_cache(maxsize=8)
def _carried(with_proto: bool, _library: Path) -> _Carried:
    return _Carried("helpers.h", *(["proto.h"] if with_proto else []))


@functools.cache
def _version() -> str:
    numbers = [*re.findall(r"\d+", os.uname().release.partition("-")[0]), "0", "0"][:3]
    return ", ".join(numbers)
