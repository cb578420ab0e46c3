"""Names in the BTF of the running kernel and its modules, found without building the types.

Files under ``/sys/kernel/btf`` (``Documentation/bpf/btf.rst``): the kernel's own, and one for each module, whose
types and strings are numbered on from the kernel's. Every name is in the string section, where looking for it is
much quicker than reading the types. What a name is a name of stands in the types: functions, structs.
"""

from __future__ import annotations

import functools
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..btf import TAILS, Kind
from ..errors import DecodeError, KernelSupportError

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY = Path("/sys/kernel/btf")
_MAGIC = 0xEB9F
# struct btf_header in include/uapi/linux/btf.h: magic, version, flags, hdr_len, type_off, type_len, str_off,
# str_len; the offsets count from the header's end.
_HEADER = struct.Struct("=HBBIIIII")
_HEAD = struct.Struct("=III")  # struct btf_type


def names(expression: bytes) -> frozenset[str]:
    r"""Return what the group of a regular expression matches, among all names that match it whole.

    Raises
    ------
    KernelSupportError
        The kernel carries no BTF.
    DecodeError
        A file is not BTF of this machine.

    Examples
    --------
    >>> "sched_switch" in names(rb"btf_trace_(\w+)")
    True
    """
    return frozenset[str]().union(*(_names(file, expression) for file in _files()))


def has(name: str) -> bool:
    """Tell whether anything in the kernel's own BTF has this name: a type, a member, an enumerator."""
    return _has(DIRECTORY / "vmlinux", name.encode())


def functions() -> frozenset[str]:
    """Return the names of all functions whose types are known, those of modules included.

    The first call takes about 100 ms, later ones only look whether modules have come or gone.
    """
    return _functions(_files())


def members(kind: Kind, expression: bytes) -> dict[str, tuple[str, ...]]:
    """Return the structs or unions of the kernel whose names match, each with the names of its members."""
    return _members(DIRECTORY / "vmlinux", kind, expression)


class _Btf(NamedTuple):
    types: bytes
    strings: bytes


class _File(NamedTuple):
    # A module that is loaded again has another file under the same name.
    path: Path
    inode: int


@functools.lru_cache(maxsize=1024)
def _names(file: _File, expression: bytes) -> frozenset[str]:
    # Each string ends with a zero byte, and the section starts with one.
    found = re.findall(rb"\0" + expression + rb"(?=\0)", _read(file.path).strings)
    return frozenset(name.decode() for name in found)


# The kernel's own BTF cannot change while it runs.
@functools.lru_cache(maxsize=64)
def _has(path: Path, name: bytes) -> bool:
    return b"\0%b\0" % name in _read(path).strings


@functools.lru_cache(maxsize=4)
def _members(path: Path, kind: Kind, expression: bytes) -> dict[str, tuple[str, ...]]:
    btf = _read(path)
    found = re.finditer(rb"(?<=\0)" + expression + rb"(?=\0)", btf.strings)
    wanted = {match.start(): match[0].decode() for match in found}
    rows = ((wanted[name], at, count) for name, at, count in _types(btf, kind) if name in wanted)
    return {name: tuple(_member_names(btf, at, count)) for name, at, count in rows}


def _files() -> tuple[_File, ...]:
    # The kernel's own, then those of its modules.
    try:
        paths = sorted(DIRECTORY.iterdir(), key=lambda path: (path.name != "vmlinux", path))
        found = tuple(_File(path, path.stat().st_ino) for path in paths)
    except FileNotFoundError:
        found = ()
    if not found or found[0].path.name != "vmlinux":
        raise _no_btf()
    return found


def _no_btf() -> KernelSupportError:
    return KernelSupportError("this kernel carries no BTF", hint="it takes a kernel built with CONFIG_DEBUG_INFO_BTF=y")


def _read(path: Path) -> _Btf:
    try:
        return _parse(path.read_bytes(), path)
    except FileNotFoundError:
        raise _no_btf() from None


def _parse(data: bytes, path: Path) -> _Btf:
    if len(data) < _HEADER.size or _HEADER.unpack_from(data)[0] != _MAGIC:
        raise DecodeError(f"{path} is not BTF of this machine")
    *_, header, types_at, types_size, strings_at, strings_size = _HEADER.unpack_from(data)
    return _Btf(data[header + types_at :][:types_size], data[header + strings_at :][:strings_size])


@functools.lru_cache(maxsize=1)
def _functions(files: tuple[_File, ...]) -> frozenset[str]:
    kernel, *modules = (_read(file.path) for file in files)
    found = {_string(kernel.strings, name) for name, _, _ in _types(kernel, Kind.FUNC)}
    base = len(kernel.strings)  # where a module's strings begin to count
    for module in modules:
        for name, _, _ in _types(module, Kind.FUNC):
            found.add(_string(module.strings, name - base) if name >= base else _string(kernel.strings, name))
    return frozenset(found)


def _types(btf: _Btf, wanted: Kind) -> Iterator[tuple[int, int, int]]:
    # Of each type of a kind: the offset of its name, where what follows its head starts, and how many entries.
    types, end, at = btf.types, len(btf.types) - _HEAD.size, 0
    tails, unpack, number = {int(kind): tail for kind, tail in TAILS.items()}, _HEAD.unpack_from, int(wanted)
    while at <= end:
        name, info, _ = unpack(types, at)
        kind, count = info >> 24 & 0x7F, info & 0xFFFFFF
        if kind == number:
            yield name, at + 12, count
        if kind not in tails:
            raise DecodeError(f"the kernel's BTF has a type of the unknown kind {kind}")
        fixed, each = tails[kind]
        at += 12 + fixed + each * count


def _member_names(btf: _Btf, at: int, count: int) -> Iterator[str]:
    for name, _, _ in _HEAD.iter_unpack(btf.types[at : at + count * _HEAD.size]):
        yield _string(btf.strings, name)


def _string(strings: bytes, offset: int) -> str:
    end = strings.find(0, offset)
    if end < 0:
        raise DecodeError("the kernel's BTF has a name outside of its strings")
    return strings[offset:end].decode(errors="replace")
