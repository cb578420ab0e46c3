"""Functions and USDT probes of programs and libraries, by name.

Functions come from the symbol tables of an ELF file (elf(5)), USDT probes from its notes
(https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation).
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import HookNotFoundError, PrivilegeError
from ..program_types import is_pattern, uprobe_target, usdt_target
from ..similar import did_you_mean, nearest
from .functions import expression_hint, matching
from .kernel import elf_notes
from .missing import absent

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_STT_FUNC = 2
_NT_STAPSDT = 3
# Where libbpf looks for a library besides LD_LIBRARY_PATH, and for a program besides PATH.
_LIBRARIES, _PROGRAMS = "/usr/lib64:/usr/lib", "/usr/bin:/usr/sbin"
_TRIPLETS = {
    "i686": "i386-linux-gnu",
    "armv7l": "arm-linux-gnueabihf",
    "ppc64le": "powerpc64le-linux-gnu",
}


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
    with _elf(path) as elf:
        tables = [elf.get_section_by_name(name) for name in (".dynsym", ".symtab")]
        return frozenset(name for table in tables if table for name, _ in _functions(elf, table))


def function_offsets(path: Path, names: Collection[str]) -> frozenset[int]:
    """Return where in the file the functions of these names begin, in bytes; aliases of one function are one place.

    A symbol has its address in memory, and a PT_LOAD segment tells which part of the file is there (elf(5)).

    Raises
    ------
    HookNotFoundError
        It is not an ELF file.
    PrivilegeError
        This process may not read it.
    """
    with _elf(path) as elf:
        segments = [segment.header for segment in elf.iter_segments("PT_LOAD")]
        tables = filter(None, map(elf.get_section_by_name, (".dynsym", ".symtab")))
        wanted = {address for table in tables for name, address in _functions(elf, table) if name in names}
        return frozenset(
            address - s.p_vaddr + s.p_offset
            for s in segments
            for address in wanted
            if s.p_vaddr <= address < s.p_vaddr + s.p_filesz
        )


def usdt_names(path: Path) -> frozenset[str]:
    """Return a binary's USDT probes, each as ``provider:name``.

    Raises
    ------
    HookNotFoundError
        It is not an ELF file.
    PrivilegeError
        This process may not read it.

    Examples
    --------
    >>> "libstdcxx:throw" in usdt_names(resolve_binary("libstdc++.so.6"))
    True
    """
    with _elf(path) as elf:
        section = elf.get_section_by_name(".note.stapsdt")
        if section is None:
            return frozenset()
        order, address = "<" if elf.little_endian else ">", elf.elfclass // 8
        return frozenset(usdt_notes(_bytes(elf, section), order, address))


def usdt_notes(notes: bytes, order: str, address: int) -> Iterator[str]:
    """Yield ``provider:name`` of each note in the bytes of a section ``.note.stapsdt``.

    Parameters
    ----------
    order
        "<" for little endian, ">" for big endian.
    address
        Bytes of an address: a note starts with three, and then has three strings, each with a zero byte.
    """
    for kind, name, data in elf_notes(notes, order):
        words = data[3 * address :].split(b"\0", 2)
        if kind == _NT_STAPSDT and name == b"stapsdt" and len(words) == 3:
            yield b":".join(words[:2]).decode(errors="replace")


def explain_uprobe(target: str, *, returns: bool = False) -> HookNotFoundError | None:
    """Tell why ``PATH:FUNCTION`` does not exist, or return None if it does.

    Raises
    ------
    AttachError
        The target is not of this form.
    PrivilegeError
        This process may not look.
    """
    place = uprobe_target(target, returns=returns)
    if place.function is not None and is_pattern(place.function):
        return explain_uprobe_pattern(target)
    path = resolve_binary(place.path)
    if path is None:
        return no_binary(place.path)
    try:
        functions = function_names(path)
    except HookNotFoundError as error:
        return error
    if place.function is None:
        return None
    hint = f"it has symbols of {len(functions)} functions; others take an offset: {place.path}:0x..."
    return absent(f"function in {path}", place.function.partition("@")[0], functions, hint)


def explain_uretprobe(target: str) -> HookNotFoundError | None:
    """Tell why ``PATH:FUNCTION`` has no return to probe, or return None if it has; see :func:`explain_uprobe`."""
    return explain_uprobe(target, returns=True)


def explain_uprobe_pattern(target: str) -> HookNotFoundError | None:
    """Tell that no function in a binary matches ``PATH:PATTERN``, or return None if one does.

    Raises
    ------
    AttachError, PrivilegeError
        See :func:`explain_uprobe`.
    """
    place = uprobe_target(target)
    if place.function is None or not is_pattern(place.function):
        return explain_uprobe(target)
    path = resolve_binary(place.path)
    if path is None:
        return no_binary(place.path)
    try:
        functions = function_names(path)
    except HookNotFoundError as error:
        return error
    if matching(place.function, functions):
        return None
    near = nearest(re.sub(r"[^\w.]+", "", place.function), functions)
    hint = f"names like it: {', '.join(near)}" if near else f"it has symbols of {len(functions)} functions"
    hint = expression_hint(place.function) or hint
    return HookNotFoundError(f"no function in {path} matches {place.function!r}", nearest=near, hint=hint)


def explain_usdt(target: str) -> HookNotFoundError | None:
    """Tell why ``PATH:PROVIDER:NAME`` does not exist, or return None if it does.

    Raises
    ------
    AttachError, PrivilegeError
        See :func:`explain_uprobe`.
    """
    binary, provider, name = usdt_target(target)
    path = resolve_binary(binary)
    if path is None:
        return no_binary(binary)
    try:
        probes = usdt_names(path)
    except HookNotFoundError as error:
        return error
    hint = None if probes else "it was built without them; a uprobe on one of its functions does as well"
    return absent(f"USDT probe in {path}", f"{provider}:{name}", probes, hint)


def no_binary(name: str) -> HookNotFoundError:
    """Return the error that there is no such binary, with the nearest there are."""
    near = nearest(name, _binaries_like(name))
    return HookNotFoundError(f"no binary {name}", nearest=near, hint=did_you_mean(near))


@contextlib.contextmanager
def _elf(path: Path) -> Iterator[Any]:
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as file:
            yield ELFFile(file)
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


def _functions(elf: Any, table: Any) -> Iterator[tuple[str, int]]:
    # Read with struct rather than pyelftools' own loop, which takes seconds for a browser's 100,000 symbols.
    order = "<" if elf.little_endian else ">"
    strings = _bytes(elf, elf.get_section(table["sh_link"]))
    layout = struct.Struct(order + ("IBBHQQ" if elf.elfclass == 64 else "IIIBBH"))
    data = _bytes(elf, table)
    for symbol in layout.iter_unpack(data[: len(data) // layout.size * layout.size]):
        info, section, address = (
            (symbol[1], symbol[3], symbol[4]) if elf.elfclass == 64 else (symbol[3], symbol[5], symbol[1])
        )
        if info & 0xF == _STT_FUNC and section:
            end = strings.find(b"\0", symbol[0])
            # A symbol table may append the version: memcpy@@GLIBC_2.14.
            yield strings[symbol[0] : end].decode(errors="replace").partition("@")[0], address


def _bytes(elf: Any, section: Any) -> bytes:
    # A damaged header may promise more bytes than there is memory for, so at most what is in the file is read.
    start, size = section["sh_offset"], section["sh_size"]
    if start + size > elf.stream.seek(0, os.SEEK_END):
        raise ValueError("a section lies outside of the file")
    elf.stream.seek(start)
    return bytes(elf.stream.read(size))


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
