"""Where types are read from: the running kernel, one of its modules, a BTF file, an ELF file."""

from __future__ import annotations

import functools
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..btf import Btf, Kind
from ..errors import DecodeError, KernelSupportError, TypeNotFoundError
from ..similar import did_you_mean, nearest
from . import kernel_btf
from .layout import vmlinux

if TYPE_CHECKING:
    from ..btf import Type

_ELF = b"\x7fELF"
# What a name without a keyword means, in this order; "struct file" asks for one of them.
_KEYWORDS = {
    "struct": (Kind.STRUCT,),
    "union": (Kind.UNION,),
    "enum": (Kind.ENUM, Kind.ENUM64),
    "typedef": (Kind.TYPEDEF,),
}
_NAMED = (Kind.STRUCT, Kind.UNION, Kind.TYPEDEF, Kind.ENUM, Kind.ENUM64, Kind.INT, Kind.FLOAT)


_QUALIFIERS = {"const", "volatile", "restrict"}
_INTEGER = {"signed", "unsigned", "char", "short", "int", "long"}


def _meaning(words: list[str]) -> list[str]:
    # int goes without saying, and so does signed, but for char.
    said = sorted(word for word in words if word != "int" and (word != "signed" or "char" in words))
    return said or ["int"]


@dataclass(frozen=True, eq=False)
class BtfSource:
    """Types, with where they are from.

    Attributes
    ----------
    name
        For people: "the running kernel", "module nf_tables", or the file's path.
    btf
        The types; for a module, those of its kernel, too.
    path
        The file that holds the BTF, raw or in an ELF section ``.BTF``.
    base
        For a module, the file with its kernel's BTF; else None.
    """

    name: str
    btf: Btf
    path: Path
    base: Path | None = None

    def find(self, name: str) -> int:
        """Return the id of the type of that name; ``struct`` and the other keywords may stand before it.

        Of several of one name the struct is meant first, then the union, the typedef, the enum, the integer.

        Raises
        ------
        TypeNotFoundError
            There is none; ``nearest`` has the names that resemble it.

        Examples
        --------
        >>> source = open_btf()
        >>> source.btf[source.find("task_struct")].name
        'task_struct'
        """
        words = [word for word in name.replace("*", " ").split() if word not in _QUALIFIERS]
        kinds = _KEYWORDS.get(words[0], ()) if len(words) == 2 else ()
        wanted = words[1] if kinds else " ".join(words)
        for kind in kinds or _NAMED:
            found = self.btf.find(wanted, kind) or (self._integer(words) if kind is Kind.INT else None)
            if found is not None:
                return found.id
        if self.btf.find(wanted, Kind.FWD) is not None:
            what = f"{wanted} is only declared in the types of {self.name}"
            raise TypeNotFoundError(what, hint="a module may define it: name that as the source")
        near = nearest(wanted, {t.name for t in self.btf.of_kind(*(kinds or _NAMED)) if t.name})
        hint = did_you_mean(near) or 'a type is named as in C, such as "task_struct" or "enum pid_type"'
        raise TypeNotFoundError(f"{self.name} has no type {name!r}", nearest=near, hint=hint)

    def _integer(self, words: list[str]) -> Type | None:
        # "unsigned long", which BTF calls "long unsigned int": the words that mean something, in any order.
        integers = self.btf.of_kind(Kind.INT) if _INTEGER.issuperset(words) and words else ()
        return next((t for t in integers if _meaning(t.name.split()) == _meaning(words)), None)


def open_btf(source: str | Path | BtfSource | None = None) -> BtfSource:
    """Return the types of a kernel, a module or a file.

    Parameters
    ----------
    source
        Nothing for the running kernel; the name of one of its modules ("nf_tables"); the path of a file with raw
        BTF, as those under ``/sys/kernel/btf``; or that of an ELF file with a section ``.BTF``: a BPF object, a
        kernel image, a module, which is read as one of the running kernel. A file of a module's name is "./NAME".

    Raises
    ------
    KernelSupportError, PrivilegeError
        The kernel carries no BTF, or it cannot be read.
    DecodeError
        The file cannot be read, or is not BTF.

    Examples
    --------
    >>> open_btf().name
    'the running kernel'
    """
    if isinstance(source, BtfSource):
        return source
    if source is None or source == "vmlinux":
        return _running(_identity(kernel_btf.DIRECTORY / "vmlinux"))
    named = str(source)
    if not named.strip() or "\0" in named:
        raise DecodeError(f"{named!r} names no BTF", hint="name a module, or the path of a BTF file or an ELF file")
    module = kernel_btf.DIRECTORY / named
    if "/" not in named and os.path.exists(module):  # noqa: PTH110 - a name too long for a file is none, not an error
        return _opened(_identity(module), f"module {named}")
    if "/" not in named and not os.path.exists(named):  # noqa: PTH110
        raise _no_module(named)
    return _opened(_identity(Path(named)), named)


class _File(NamedTuple):
    # A file as it is now: once it has changed, it is read anew.
    path: Path
    changed: int
    size: int


def _identity(path: Path) -> _File:
    try:
        found = path.stat()
    except OSError as error:
        if path.parent == kernel_btf.DIRECTORY:
            return _File(path, 0, 0)  # reading it says what is the matter
        raise DecodeError(f"cannot read {path}: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise DecodeError(f"{path} is not a file with BTF", hint="name a module, a BTF file or an ELF file")
    return _File(path, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=1)
def _running(file: _File) -> BtfSource:
    return BtfSource("the running kernel", vmlinux(), file.path)


@functools.lru_cache(maxsize=4)
def _opened(file: _File, name: str) -> BtfSource:
    path = file.path
    try:
        with path.open("rb") as stream:
            start = stream.read(len(_ELF))
            data = _section(path) if start == _ELF else start + stream.read()
    except OSError as error:
        raise DecodeError(f"cannot read {path}: {error.strerror}") from None
    if data[:2] not in (b"\x9f\xeb", b"\xeb\x9f"):
        raise DecodeError(f"{path} is neither BTF nor an ELF file", hint="BTF files are under /sys/kernel/btf")
    if not _goes_on(data):
        return BtfSource(name, Btf.parse(data), path)
    return BtfSource(name, Btf.parse(data, vmlinux()), path, kernel_btf.DIRECTORY / "vmlinux")


def _goes_on(data: bytes) -> bool:
    # Only BTF that goes on from another's has strings that do not start with the empty one.
    header = int.from_bytes(data[4:8], "little")
    start = header + int.from_bytes(data[16:20], "little")
    return data[:2] == b"\x9f\xeb" and data[start : start + 1] not in (b"\0", b"")


def _section(path: Path) -> bytes:
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            section, distilled = elf.get_section_by_name(".BTF"), elf.get_section_by_name(".BTF.base")
            data: bytes = section.data() if section else b""
    except (ELFError, OSError, ValueError) as error:
        raise DecodeError(f"{path} is not an ELF file that can be read: {error}") from None
    if distilled:
        what = f"{path} goes on from types that are only sketched in its section .BTF.base"
        raise DecodeError(what, hint=f"load the module and name it: open_btf({path.name.partition('.')[0]!r})")
    if not data:
        raise DecodeError(f"{path} has no section .BTF", hint="clang -g -target bpf and pahole -J write one")
    return data


def _no_module(name: str) -> KernelSupportError:
    try:
        there = sorted(path.name for path in kernel_btf.DIRECTORY.iterdir())
    except OSError:
        there = []
    near = did_you_mean(nearest(name, there))
    hint = near or "name a loaded module whose types are under /sys/kernel/btf, or the path of a file"
    return KernelSupportError(f"there is no BTF of a module {name!r}", hint=hint)
