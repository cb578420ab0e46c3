# The kernel's types as C declarations, each with what it needs, in a database of this kernel.
#
# BCC compiles for the host, so nothing relocates an access to the running kernel: what clang makes of the text is
# what the program reads. So the text is that of our own writer, which is exact, and the compiler confirms every
# size and offset of it once for each kernel, before the database gets its name.

from __future__ import annotations

import functools
import os
import re
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from .. import btf_checks, btf_layout, btf_plan, btf_writer, cache
from ..btf import Btf, Kind, Type
from ..compile import vmlinux
from ..errors import KernelSupportError
from ..toolchain import find_clang
from . import compat, modules

_KEPT = 64  # files: the declarations of kernels and modules, and what else is kept of each
_LONGEST = 1000  # links from a member to a type with a name
_FLAGS = ("-fms-extensions", "-Wno-microsoft-anon-tag", "-Wno-visibility", "-ferror-limit=5")
_SCHEMA = """
PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;
CREATE TABLE block (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE name (word TEXT NOT NULL, block INTEGER NOT NULL);
CREATE TABLE need (block INTEGER NOT NULL, other INTEGER NOT NULL);
CREATE TABLE pointer (block INTEGER NOT NULL, member TEXT NOT NULL, other INTEGER NOT NULL);
CREATE TABLE macro (name TEXT NOT NULL, text TEXT NOT NULL);
"""
_INDICES = """
CREATE INDEX name_word ON name (word);
CREATE INDEX need_block ON need (block);
CREATE INDEX pointer_block ON pointer (block);
"""
_RECORDS = (Kind.STRUCT, Kind.UNION)
_DECLARED = (*_RECORDS, Kind.ENUM, Kind.ENUM64, Kind.TYPEDEF)


_making = threading.Lock()


def database(module: str = "") -> sqlite3.Connection:
    # The types of the kernel, and of a module. One thread makes it, and those that come meanwhile wait.
    with _making:
        return _database(_path(module), module)


@functools.cache
def _database(path: Path, module: str) -> sqlite3.Connection:
    # Tables: block, the declarations in an order that compiles; name, what each declares ("struct file" for a tag,
    # "u32" for a typedef or an enumerator); need and pointer, what it takes by value and what its members point at;
    # macro, the macros that stand for what other kernels had. Raises KernelSupportError.
    if not path.exists():
        _build(path, modules.btf(module))
        cache.trim(path.parent, _KEPT)
    # The cache never changes once written; "immutable" spares every lock.
    return sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True, check_same_thread=False)


def _forked() -> None:
    # A thread that a forked process does not have may have held it.
    global _making
    _making = threading.Lock()


os.register_at_fork(after_in_child=_forked)


def identity() -> str:
    # A change of the kernel or of what writes the declarations can change them.
    makers = (btf_plan, btf_layout, btf_writer, compat)
    sources = [Path(__file__), *(Path(str(module.__file__)) for module in makers)]
    return f"{vmlinux.btf_hash()}-{cache.key(*(source.read_bytes() for source in sources))[:8]}"


@functools.cache
def _identity() -> str:
    return identity()


def is_ready() -> bool:
    # Whether this kernel's declarations have been made before; making them takes some seconds.
    return _path().exists()


def _path(module: str = "") -> Path:
    own = f"-{module}-{modules.digest(module)}" if module else ""
    return cache.directory("bcc") / f"{_identity()}{own}.sqlite"


def _build(path: Path, btf: Btf) -> None:
    asked = (t.id for t in btf.of_kind(*_DECLARED) if t.name or t.kind in btf_plan.ENUMS)
    planned = btf_plan.Plan(btf, asked)
    types = [btf[entry.type_id] for entry in planned.entries]
    texts = list(btf_writer.definitions(btf, planned))
    _confirm(header(texts) + btf_checks.checks(btf, planned))
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".building.")
    os.close(handle)
    try:
        db = sqlite3.connect(temporary)
        db.executescript(_SCHEMA)
        _fill(db, btf, planned, types, texts)
        db.executemany("INSERT INTO macro VALUES (?, ?)", compat.macros(btf))
        db.executescript(_INDICES)
        db.commit()
        db.close()
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _confirm(text: str) -> None:
    # A wrong layout would be read without a word, so a text that the compiler sees otherwise is not used at all.
    command = [str(find_clang()), *_FLAGS, "-fsyntax-only", "-x", "c", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        first = [line for line in done.stderr.split("\n") if "error:" in line][:5]
        raise KernelSupportError(
            "the kernel's types cannot be written in C exactly, so no BCC cell can be compiled",
            details=first,
            hint="--headers DIR takes the types from the headers of this kernel instead",
            stage="compile",
        )


def header(blocks: Iterable[str], tags: Iterable[str] = ()) -> str:
    # Declarations as one text, with every tag declared before: one first seen among parameters is seen by them alone.
    body = "\n".join(blocks)
    known = {*re.findall(r"\b(?:struct|union) \w+\b", body), *(tag for tag in tags if not tag.startswith("enum "))}
    return "".join(f"{tag};\n" for tag in sorted(known)) + f"\n{body}"


def _fill(db: sqlite3.Connection, btf: Btf, planned: btf_plan.Plan, types: list[Type], texts: list[str]) -> None:
    owner = {_key(t, planned): number for number, t in enumerate(types)}
    walker = _Walker(btf, planned, owner)
    db.executemany("INSERT INTO block VALUES (?, ?)", enumerate(texts))
    for number, t in enumerate(types):
        words = [_key(t, planned)] if t.name else []
        words += re.findall(r"(?m)^\t+(\w+) = \(?-?\d", texts[number])  # enumerators, also of enums inside a struct
        needs, pointers = walker.uses(t)
        db.executemany("INSERT INTO name VALUES (?, ?)", ((word, number) for word in words))
        db.executemany("INSERT INTO need VALUES (?, ?)", ((number, other) for other in needs - {number}))
        db.executemany("INSERT INTO pointer VALUES (?, ?, ?)", ((number, m, other) for m, other in pointers))


def _key(t: Type, planned: btf_plan.Plan) -> str:
    keyword = btf_plan.tag(t).partition(" ")[0] if t.kind is not Kind.TYPEDEF else ""
    return f"{keyword} {planned.names.of(t) if t.name else t.id}".strip()


class _Walker:
    # Finds which declarations one names: those that it needs whole, and those that a member points at.
    def __init__(self, btf: Btf, planned: btf_plan.Plan, owner: dict[str, int]) -> None:
        self._btf, self._planned, self._owner = btf, planned, owner
        self._needs: set[int] = set()
        self._pointers: set[tuple[str, int]] = set()

    def uses(self, t: Type) -> tuple[set[int], set[tuple[str, int]]]:
        self._needs, self._pointers = set(), set()
        if t.kind in _RECORDS:
            self._members(t)
        elif t.kind is Kind.TYPEDEF:
            self._walk(t.type_id, t.name, pointed=False)
        return self._needs, self._pointers

    def _members(self, record: Type) -> None:
        for member in record.members:
            core = self._btf.strip(member.type_id)
            if not member.name and core.kind in _RECORDS:  # written where it stands, also if it has a tag
                self._members(core)
            else:
                self._walk(member.type_id, member.name, pointed=False)

    def _walk(self, type_id: int, member: str, *, pointed: bool) -> None:
        named = False  # behind a typedef, which has its own needs: only what it points at is still of interest
        for t in self._chain(type_id):
            if t.kind is Kind.PTR:
                pointed = True
            elif t.kind is Kind.ARRAY and t.type_id:
                pointed = False  # its elements have to be whole, also behind a pointer
            elif t.kind is Kind.FUNC_PROTO and not named:
                pointed = True
                for param in t.params:
                    self._walk(param.type_id, "", pointed=True)
            elif t.kind is Kind.TYPEDEF or (t.kind in btf_plan.ENUMS and t.name):
                self._needs.add(self._owner[_key(t, self._planned)])
                named = True
            elif t.kind in _RECORDS and not t.name and not named:
                self._members(t)
            elif t.kind in (*_RECORDS, Kind.FWD) and t.name:
                other = self._owner.get(_key(t, self._planned))
                if other is not None and pointed:
                    self._pointers.add((member, other))
                elif other is not None:
                    self._needs.add(other)

    def _chain(self, type_id: int) -> Iterator[Type]:
        # Down to a name that stands for a type; a typedef is one, and what it stands for is needed by it.
        for _ in range(_LONGEST):
            t = self._btf[type_id]
            yield t
            if t.kind in (*_RECORDS, *btf_plan.ENUMS, Kind.FWD, Kind.INT, Kind.FLOAT, Kind.VOID):
                return
            type_id = t.type_id
