"""Functions of ELF files by address (elf(5): .symtab, .dynsym, and PT_LOAD for where a file lies in memory)."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .table import Addresses, Symbol, SymbolTable

_FUNC, _IFUNC = 2, 10  # STT_FUNC, STT_GNU_IFUNC
_MOST = 1 << 16  # bytes of a function whose size its assembler did not give
_FIELDS = {  # Elf64_Sym, Elf32_Sym
    64: [("name", "u4"), ("info", "u1"), ("other", "u1"), ("section", "u2"), ("value", "u8"), ("size", "u8")],
    32: [("name", "u4"), ("value", "u4"), ("size", "u4"), ("info", "u1"), ("other", "u1"), ("section", "u2")],
}


@dataclass(frozen=True)
class ElfSymbols:
    """The functions of one ELF file, found by their place in the file.

    Examples
    --------
    >>> with open("/bin/true", "rb") as file:
    ...     ElfSymbols.read(file).find(np.array([0x2000], np.uint64))
    [None]
    """

    table: SymbolTable
    segments: NDArray[np.uint64]  # (n, 3): place in the file, bytes, address

    @classmethod
    def read(cls, file: IO[bytes]) -> ElfSymbols | None:
        """Read a file; None if it is no ELF file, or a damaged one."""
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile

        try:
            elf = ELFFile(file)
            loads = [segment.header for segment in elf.iter_segments("PT_LOAD")]
            tables = [_functions(elf, name) for name in (".symtab", ".dynsym")]
        except (ELFError, OSError, ValueError, KeyError, OverflowError):
            return None  # the last ones are what reading a damaged header ends in
        segments = np.array([(s.p_offset, s.p_filesz, s.p_vaddr) for s in loads], np.uint64).reshape(-1, 3)
        return cls(_joined(tables), segments)

    @classmethod
    def of_bytes(cls, image: bytes) -> ElfSymbols | None:
        """Read the bytes of a file, such as those of the vDSO."""
        return cls.read(io.BytesIO(image))

    def find(self, places: Addresses) -> list[Symbol | None]:
        """Return the function at each place in the file, in bytes from its start; None where there is none."""
        addresses = np.zeros(len(places), np.uint64)
        mapped = np.zeros(len(places), bool)
        for start, size, address in self.segments:
            inside = (places >= start) & (places < start + size)
            addresses[inside] = places[inside] - start + address
            mapped |= inside
        found = self.table.find(addresses)
        return [symbol if known else None for symbol, known in zip(found, mapped.tolist(), strict=True)]


def _functions(elf: Any, name: str) -> tuple[NDArray[Any], bytes]:
    section = elf.get_section_by_name(name)
    fields = np.dtype([(n, ("<" if elf.little_endian else ">") + code) for n, code in _FIELDS[elf.elfclass]])
    if section is None or section["sh_type"] == "SHT_NOBITS":  # of a file that holds debugging information only
        return np.zeros(0, fields), b""
    data = _bytes(elf.stream, section)
    symbols = np.frombuffer(data, fields, len(data) // fields.itemsize)
    wanted = np.isin(symbols["info"] & 0xF, (_FUNC, _IFUNC)) & (symbols["section"] != 0)
    return symbols[wanted], _bytes(elf.stream, elf.get_section(section["sh_link"]))


def _bytes(file: IO[bytes], section: Any) -> bytes:
    # A damaged header may promise more bytes than there is memory for.
    start, size = section["sh_offset"], section["sh_size"]
    if start + size > file.seek(0, io.SEEK_END):
        raise ValueError("a section lies outside of the file")
    file.seek(start)
    return file.read(size)


def _joined(tables: list[tuple[NDArray[Any], bytes]]) -> SymbolTable:
    starts = np.concatenate([symbols["value"].astype(np.uint64) for symbols, _ in tables])
    sizes = np.concatenate([symbols["size"].astype(np.uint64) for symbols, _ in tables])
    names = np.concatenate([symbols["name"].astype(np.int64) for symbols, _ in tables])
    first = len(tables[0][0])

    def name_of(place: int) -> tuple[str, str]:
        strings = tables[place >= first][1]
        start = int(names[place])
        name = strings[start : strings.find(b"\0", start)]
        return name.decode(errors="replace").partition("@")[0], ""  # it may carry a version: memcpy@@GLIBC_2.14

    return SymbolTable.of(starts, sizes, name_of, _MOST)
