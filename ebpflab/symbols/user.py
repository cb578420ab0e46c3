"""Names of addresses in processes: from ``/proc/PID/maps`` (proc_pid_maps(5)), ELF files and the maps of JITs."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from .elf import ElfSymbols
from .table import Addresses, Symbol, SymbolTable

_KEPT_FILES = 256
_LARGEST_MAP = 256 << 20  # bytes of a JIT's map that are read
_NO_FILES = ("/memfd:", "/dev/", "/SYSV", "//anon")  # mappings with a path that no ELF file is behind


class Mapping(NamedTuple):
    """Executable memory of a process: addresses, and which part of which file lies there."""

    start: int
    end: int
    offset: int
    device: str
    inode: int
    path: str

    @property
    def label(self) -> str:
        """What to call memory without symbols: the file's name, ``vdso``, ``anon``."""
        return self.path.removesuffix(" (deleted)").rpartition("/")[2].strip("[]") or "anon"


@dataclass(frozen=True)
class Process:
    """The executable memory of a process at one moment; what is found in it stays true after the process is gone."""

    pid: int
    inner_pid: int  # in its own PID namespace
    owner: int
    mappings: tuple[Mapping, ...]

    def places(self, addresses: Addresses) -> list[int]:
        """Return for each address its place in :attr:`mappings`, or -1."""
        starts = np.array([m.start for m in self.mappings], np.uint64)
        ends = np.array([m.end for m in self.mappings] + [0], np.uint64)
        found = np.searchsorted(starts, addresses, side="right").astype(np.int64) - 1
        inside = addresses < ends[found]
        return [place if known else -1 for place, known in zip(found.tolist(), inside.tolist(), strict=True)]


class UserSymbols:
    """Names of addresses in processes.

    Files are read once and kept by device, inode and time of change, so that processes share them.

    Examples
    --------
    >>> symbols = UserSymbols()
    >>> symbols.find(symbols.process(os.getpid()), np.array([0x55D0C0DE1000], np.uint64))
    [Symbol(name='PyEval_EvalCode', offset=18, origin='python3.11')]
    """

    def __init__(self) -> None:
        self._files: dict[tuple[int, int, int], ElfSymbols | None] = {}
        self._seen: dict[tuple[str, int, str], ElfSymbols | None] = {}  # by mapping, when the file cannot be opened
        self._jits: dict[str, tuple[tuple[int, int], SymbolTable]] = {}

    def process(self, pid: int) -> Process | None:
        """Return the memory of a process as it is now; None if there is no such process, or it may not be read."""
        try:
            folder = Path(f"/proc/{pid}")
            lines = (folder / "maps").read_bytes().splitlines()
            status = (folder / "status").read_text(errors="replace").partition("\nNSpid:")[2].split("\n", 1)[0]
            owner = folder.stat().st_uid
        except OSError:  # it has exited, or belongs to somebody else
            return None
        mappings = tuple(_executable(lines))
        return Process(pid, int((status.split() or [str(pid)])[-1]), owner, mappings) if mappings else None

    def find(self, process: Process, addresses: Addresses) -> list[Symbol | None]:
        """Return the symbol of each address; without a name in memory that has no symbols, None outside of any."""
        found: list[Symbol | None] = [None] * len(addresses)
        places = process.places(addresses)
        for place in set(places) - {-1}:
            rows = [row for row, each in enumerate(places) if each == place]
            named = self._find_in(process, process.mappings[place], addresses[rows])
            for row, symbol in zip(rows, named, strict=True):
                found[row] = symbol
        return found

    def _find_in(self, process: Process, mapping: Mapping, addresses: Addresses) -> list[Symbol]:
        inside = addresses - np.uint64(mapping.start) + np.uint64(mapping.offset)
        if mapping.path == "[vdso]":
            elf = self._vdso()
        elif mapping.inode and not mapping.path.startswith(_NO_FILES):
            elf = self._file(process, mapping)
        else:
            elf = None
        named = elf.find(inside) if elf else self._jit(process).find(addresses)
        return [
            symbol._replace(origin=mapping.label) if symbol else Symbol("", offset, mapping.label)
            for symbol, offset in zip(named, inside.tolist(), strict=True)
        ]

    def _file(self, process: Process, mapping: Mapping) -> ElfSymbols | None:
        known = (mapping.device, mapping.inode, mapping.path)
        file = _open(process, mapping)
        if file is None:
            return self._seen.get(known)
        with file:
            status = os.fstat(file.fileno())
            key = (status.st_dev, status.st_ino, status.st_mtime_ns)
            if key not in self._files:
                _make_room(self._files)
                self._files[key] = ElfSymbols.read(file)
        _make_room(self._seen)
        self._seen[known] = self._files.get(key)
        return self._seen[known]

    def _vdso(self) -> ElfSymbols | None:
        # The kernel gives every process the same one, so ours will do.
        key = (0, 0, 0)
        if key not in self._files:
            self._files[key] = ElfSymbols.of_bytes(_own_memory("[vdso]"))
        return self._files[key]

    def _jit(self, process: Process) -> SymbolTable:
        # perf's convention (tools/perf/Documentation/jit-interface.txt), in the process's own /tmp while it lives.
        inner = f"/proc/{process.pid}/root/tmp/perf-{process.inner_pid}.map"
        for path in (inner, f"/tmp/perf-{process.pid}.map"):  # noqa: S108 (perf's convention)
            try:
                with open(path, "rb", opener=_regular) as file:
                    status = os.fstat(file.fileno())
                    if status.st_uid not in (0, process.owner):
                        continue  # anybody may put names there for somebody else's process
                    version = (status.st_mtime_ns, status.st_size)
                    if self._jits.get(path, (None,))[0] != version:
                        _make_room(self._jits)
                        self._jits[path] = version, jit_symbols(file.read(_LARGEST_MAP))
                    return self._jits[path][1]
            except OSError:
                continue
        return jit_symbols(b"")


def jit_symbols(text: bytes) -> SymbolTable:
    """Return the symbols of a JIT's map: lines of a start, a size and a name, the first two in hexadecimal."""
    found: dict[int, tuple[int, str]] = {}
    for line in text.splitlines():
        words = line.split(None, 2)
        try:
            found[int(words[0], 16)] = int(words[1], 16), words[2].decode(errors="replace")
        except (IndexError, ValueError):
            continue  # the line that is being written
    names = [name for _, name in found.values()]
    sizes = np.array([size for size, _ in found.values()], np.uint64)
    return SymbolTable.of(np.array(list(found), np.uint64), sizes, lambda place: (names[place], ""), 0)


def _executable(lines: list[bytes]) -> Iterator[Mapping]:
    for line in lines:
        words = line.decode(errors="surrogateescape").split(None, 5)
        if "x" in words[1]:
            start, _, end = words[0].partition("-")
            path = words[5] if len(words) > 5 else ""
            yield Mapping(int(start, 16), int(end, 16), int(words[2], 16), words[3], int(words[4]), path)


def _open(process: Process, mapping: Mapping) -> IO[bytes] | None:
    # Through the process, which may see other files than we do, and may run one that was deleted; after its end
    # by the path alone, if the same file is still there.
    path = mapping.path.removesuffix(" (deleted)")
    exact = f"/proc/{process.pid}/map_files/{mapping.start:x}-{mapping.end:x}"
    for candidate in (exact, f"/proc/{process.pid}/root{path}", path):
        try:
            file = open(candidate, "rb", opener=_regular)  # noqa: SIM115 (the caller closes it)
        except OSError:
            continue
        if candidate == exact or os.fstat(file.fileno()).st_ino == mapping.inode:
            return file
        file.close()
    return None


def _regular(path: str, flags: int) -> int:
    # Whoever runs a process decides what lies at such a path: to open a FIFO may wait, to open a device may act.
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise OSError(errno.EINVAL, "no regular file", path)
        return os.open(f"/proc/self/fd/{place}", flags | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(place)


def _own_memory(name: str) -> bytes:
    lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    ranges = [line.split()[0] for line in lines if line.endswith(name)]
    if not ranges:
        return b""
    start, end = (int(address, 16) for address in ranges[0].split("-"))
    with Path("/proc/self/mem").open("rb", buffering=0) as memory:
        memory.seek(start)
        return memory.read(end - start)


def _make_room(kept: dict[Any, Any]) -> None:
    for oldest in list(kept)[: len(kept) + 1 - _KEPT_FILES] if len(kept) >= _KEPT_FILES else ():
        kept.pop(oldest, None)
