# vmlinux.h from a kernel's BTF, whole and as the small part that one program needs.
#
# libbpf prints the whole header (2.8 MB, 130,000 lines on 6.18). Parsing it costs clang 0.3 s and puts every
# enumerator into the object's debug info, so each cell gets only the declarations that its own words can
# reach. The header is split once per kernel into declarations with their dependencies, kept in SQLite; a
# cell's part is then a short walk: by-value members are needed whole, a pointer's target only when the cell
# names the member that points at it, anything else is declared forward.

from __future__ import annotations

import ctypes as ct
import functools
import hashlib
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from .. import _libbpf, cache
from ..btf import Btf, Kind
from ..errors import KernelSupportError

KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")

_KEPT = 8  # kernels whose headers are kept

_SCHEMA = """
CREATE TABLE block (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE name (word TEXT NOT NULL, block INTEGER NOT NULL);
CREATE TABLE need (block INTEGER NOT NULL, other INTEGER NOT NULL);
CREATE TABLE pointer (block INTEGER NOT NULL, member TEXT NOT NULL, other INTEGER NOT NULL);
"""
_INDICES = """
CREATE INDEX name_word ON name (word);
CREATE INDEX need_block ON need (block);
CREATE INDEX pointer_block ON pointer (block);
"""
_HEAD = """#ifndef __VMLINUX_H__
#define __VMLINUX_H__
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif
"""
_TAIL = """
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif
#endif
"""
_TAG = re.compile(r"\b(struct|union|enum) (\w+)")
# Names that the prelude and libbpf's headers go on using, whoever defines them.
_SHARED = re.compile(r"__(?:[us](?:8|16|32|64)|[bl]e(?:16|32|64)|wsum|sum16)")
_UNTOUCHED = r"__attribute__\(\((?:[^()]|\([^()]*\))*\)\)|^#.*"
_AFTER_MEMBER = re.compile(r"[;\[:]| __attribute__")
_WORD = re.compile(r"[A-Za-z_]\w*")
_KEYWORDS = frozenset(
    [
        "struct",
        "union",
        "enum",
        "typedef",
        "const",
        "volatile",
        "unsigned",
        "signed",
        "int",
        "char",
        "short",
        "long",
        "float",
        "double",
        "void",
        "_Bool",
    ]
)


@functools.cache
def btf_hash(btf: Path | None = None) -> str:
    # The kernel's BTF is the identity that matters: two kernels with the same types share everything here.
    # Here and below, `btf` is a file with the BTF of another kernel than the running one.
    path = btf or KERNEL_BTF
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=12).hexdigest()
    except FileNotFoundError as error:
        raise KernelSupportError(
            f"this kernel carries no type information: {path} does not exist",
            hint="boot a kernel built with CONFIG_DEBUG_INFO_BTF=y (the stock kernels of Debian 11, Ubuntu 20.10, "
            "Fedora 31 and later have it)",
        ) from error
    except OSError as error:
        raise KernelSupportError(
            f"cannot read the kernel's type information: {error}", hint=f"check the permissions of {path}"
        ) from error


def whole(defined: frozenset[str] = frozenset(), btf: Path | None = None) -> str:
    # The complete vmlinux.h; `defined` as for `subset`.
    text = header(row[0] for row in _database(btf).execute("SELECT text FROM block ORDER BY id"))
    return rename(text, defined) if defined else text


def subset(words: Iterable[str], defined: frozenset[str] = frozenset(), btf: Path | None = None) -> str:
    # The declarations that a text with these words can reach. `defined`: names that the text defines itself;
    # the kernel's types of those names are kept under NAME___kern (libbpf ignores what follows three underscores
    # when it matches types, so even those relocate rightly).
    db = _database(btf)
    tokens = set(words)
    chosen = _close(db, {word for word in tokens if word not in defined or _SHARED.fullmatch(word)}, tokens)
    marks = ",".join("?" * len(chosen))
    rows = db.execute(f"SELECT text FROM block WHERE id IN ({marks}) ORDER BY id", sorted(chosen))  # noqa: S608 - marks only
    text = header(row[0] for row in rows)
    return rename(text, defined) if defined else text


def header(blocks: Iterable[str]) -> str:
    body = "\n\n".join(blocks)
    declared = {(m[1], m[2]) for m in re.finditer(r"^(struct|union) (\w+) \{", body, re.MULTILINE)}
    forward = sorted({(m[1], m[2]) for m in _TAG.finditer(body) if m[1] != "enum"} - declared)
    first = "".join(f"{kind} {name};\n" for kind, name in forward)
    # A struct may also be used by pointer before its own definition; C wants no more than its name.
    return f"{_HEAD}{first}{''.join(f'{kind} {name};{chr(10)}' for kind, name in sorted(declared))}\n{body}\n{_TAIL}"


def _close(db: sqlite3.Connection, roots: set[str], members: set[str]) -> set[int]:
    chosen: set[int] = set()
    queue: list[int] = []
    words = sorted(roots)
    for start in range(0, len(words), 500):
        part = words[start : start + 500]
        marks = ",".join("?" * len(part))
        queue.extend(row[0] for row in db.execute(f"SELECT block FROM name WHERE word IN ({marks})", part))  # noqa: S608
    while queue:
        block = queue.pop()
        if block in chosen:
            continue
        chosen.add(block)
        queue.extend(row[0] for row in db.execute("SELECT other FROM need WHERE block = ?", (block,)))
        pointers = db.execute("SELECT member, other FROM pointer WHERE block = ?", (block,))
        queue.extend(other for member, other in pointers if member in members)
    return chosen


def rename(text: str, defined: frozenset[str]) -> str:
    # Tags, typedefs and enumerators get new names; members stay as they are, having a name space of their own.
    names = sorted(name for name in defined if not _SHARED.fullmatch(name))
    if not names:
        return text

    def renamed(match: re.Match[str]) -> str:
        return f"{match[0]}___kern" if match[1] and not _is_member(match) else match[0]

    return re.sub(rf"(?m:{_UNTOUCHED})|\b({'|'.join(map(re.escape, names))})\b", renamed, text)


def _is_member(match: re.Match[str]) -> bool:
    # A member stands on an indented line, and its declaration ends with its name: `T name;`, `T *name[4];`,
    # `T name: 3;`, `T (*name)(...)`. A tag can stand like that, but its keyword tells it.
    text, start = match.string, match.start()
    if text[text.rfind("\n", 0, start) + 1] != "\t" or text.endswith(("struct ", "union ", "enum "), 0, start):
        return False
    return text.endswith("(*", 0, start) or bool(_AFTER_MEMBER.match(text, match.end()))


@functools.cache
def _database(btf: Path | None = None) -> sqlite3.Connection:
    path = _path(btf)
    if not path.exists():
        _build(path, dump(btf))
        cache.trim(path.parent, _KEPT)
    # The cache never changes once written; "immutable" spares every lock.
    return sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True, check_same_thread=False)


def is_ready(btf: Path | None = None) -> bool:
    # Whether this kernel's header has been made before; making it takes a few seconds.
    return _path(btf).exists()


def _path(btf: Path | None) -> Path:
    return cache.directory("vmlinux") / f"{identity(btf)}.sqlite"


@functools.cache
def identity(btf: Path | None = None) -> str:
    # A change of the kernel, of this file or of libbpf can change what the header holds.
    version = cache.key(Path(__file__).read_bytes(), _libbpf.library().libbpf_version_string())
    return f"{btf_hash(btf)}-{version[:8]}"


def dump(btf: Path | None = None) -> str:
    # The kernel's types as C, in an order that compiles, by libbpf's own dumper. Raises KernelSupportError.
    btf_hash(btf)  # one clear error when there is no BTF at all
    path = btf or KERNEL_BTF
    lib = _libbpf.library()
    types = lib.btf__parse(os.fsencode(btf), None) if btf else lib.btf__load_vmlinux_btf()
    if not types:
        raise KernelSupportError(
            f"libbpf cannot read {path}: {os.strerror(ct.get_errno())}",
            hint="a newer libbpf may know this kernel's BTF; set EBPFLAB_LIBBPF to its path",
        )
    pieces: list[bytes] = []
    buffer = ct.create_string_buffer(1 << 16)

    @_libbpf.DUMP  # type: ignore[untyped-decorator]
    def collect(_context: int, fmt: int, va_list: int) -> None:
        pieces.append(_libbpf.format_va(fmt, va_list, buffer))

    dumper = lib.btf_dump__new(types, ct.cast(collect, ct.c_void_p), None, None)
    try:
        with _libbpf.interrupts_later():
            for type_id in range(1, lib.btf__type_cnt(types)):
                lib.btf_dump__dump_type(dumper, type_id)
    finally:
        lib.btf_dump__free(dumper)
        lib.btf__free(types)
    kernel = Btf.parse(path.read_bytes())
    small = {enum.name: enum.size for enum in kernel.of_kind(Kind.ENUM) if enum.name and enum.size < 4}
    return _fit_va_list(_fit_enums(b"".join(pieces).decode(), small), kernel)


def _fit_enums(text: str, small: dict[str, int]) -> str:
    # libbpf before 1.2 prints a packed enum as a plain one of four bytes, and every member behind it moves.
    def fit(match: re.Match[str]) -> str:
        width = small.get(match[1])
        if width is None or "mode(" in match[3]:
            return match[0]
        mode = {1: "byte", 2: "HI"}[width]
        return f"enum {match[1]} {{{match[2]}}} __attribute__((mode({mode})));"

    return re.sub(r"(?m)^enum (\w+) \{([^}]*)\}([^;]*);", fit, text)


def _fit_va_list(text: str, kernel: Btf) -> str:
    # libbpf leaves this type to the compiler, and that of clang's BPF target is a pointer.
    found = kernel.find("__builtin_va_list", Kind.TYPEDEF)
    if found is None:
        return text
    words = kernel.sizeof(found.id) // 8
    return text.replace("typedef __builtin_va_list va_list;", f"typedef unsigned long long va_list[{words}];")


def _build(path: Path, text: str) -> None:
    blocks = [block for block in re.split(r"\n\n+", text) if block.strip()]
    blocks = [block for block in blocks if not re.fullmatch(r"(struct|union|enum) \w+;", block.strip())]
    owner: dict[str, int] = {}  # "struct task_struct", "u32", "BPF_MAP_TYPE_HASH" -> block
    for number, block in enumerate(blocks):
        owner.update((name, number) for name in _defines(block))
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".building.")
    os.close(handle)
    try:
        db = sqlite3.connect(temporary)
        db.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;" + _SCHEMA)
        db.executemany("INSERT INTO block VALUES (?, ?)", enumerate(blocks))
        db.executemany("INSERT INTO name VALUES (?, ?)", ((k.split(" ")[-1], v) for k, v in owner.items()))
        for number, block in enumerate(blocks):
            needs, pointers = _uses(block, owner)
            db.executemany("INSERT INTO need VALUES (?, ?)", ((number, other) for other in needs if other != number))
            db.executemany("INSERT INTO pointer VALUES (?, ?, ?)", ((number, m, other) for m, other in pointers))
        db.executescript(_INDICES)
        db.commit()
        db.close()
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _defines(block: str) -> Iterator[str]:
    if tag := re.match(r"(struct|union|enum) (\w+) \{", block):
        yield f"{tag[1]} {tag[2]}"
    yield from re.findall(r"(?m)^\t+(\w+) = -?\d+[UL]*,$", block)  # enumerators, also of enums inside a struct
    if block.startswith("typedef"):
        last = block[block.rfind("}") + 1 :]
        function = re.search(r"\(\*(\w+)\)", last)
        plain = re.search(r"(\w+)(?:\[[^;]*\])?(?: __attribute__.*)?;$", last)
        if match := function or plain:
            yield match[1]


def _uses(block: str, owner: dict[str, int]) -> tuple[set[int], set[tuple[str, int]]]:
    # What a declaration needs whole, and what its members point at. Members stand one to a line in a dump.
    needs: set[int] = set()
    pointers: set[tuple[str, int]] = set()
    for line in block.split("\n"):
        direct = re.match(
            r"\s*(?:typedef )?(?:const |volatile )*(struct|union) (\w+) (?:const |volatile )*(\**)\s*(\w+)", line
        )
        for kind, name in _TAG.findall(line):
            other = owner.get(f"{kind} {name}")
            if other is None:
                continue
            if kind == "enum":
                needs.add(other)  # C has no forward declaration of an enum
            elif direct and direct[2] == name and not direct[3]:
                needs.add(other)
            elif direct and direct[2] == name:
                pointers.add((direct[4], other))
        for word in _WORD.findall(_TAG.sub("", line)):
            if word not in _KEYWORDS and word in owner:
                needs.add(owner[word])  # a typedef, which has to be declared even behind a pointer
    return needs, pointers
