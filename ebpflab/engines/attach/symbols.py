# Where in its file each function of a binary is (elf(5)).

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

_FUNCTION = 2  # STT_FUNC


def function_offsets(path: Path, names: Collection[str]) -> Iterator[int]:
    # Offsets in the file of the functions of these names; a function may have several. A symbol has its address in
    # memory, and a segment tells which part of the file is there.
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        elf = ELFFile(file)
        segments = [segment.header for segment in elf.iter_segments("PT_LOAD")]
        for table in filter(None, map(elf.get_section_by_name, (".dynsym", ".symtab"))):
            for address in (address for name, address in _functions(elf, table) if name in names):
                for s in segments:
                    if s.p_vaddr <= address < s.p_vaddr + s.p_filesz:
                        yield address - s.p_vaddr + s.p_offset


def _functions(elf: Any, table: Any) -> Iterator[tuple[str, int]]:
    # Read with struct: pyelftools' own loop takes seconds for a browser's 100,000 symbols.
    strings, data = elf.get_section(table["sh_link"]).data(), table.data()
    wide = elf.elfclass == 64
    layout = struct.Struct(("<" if elf.little_endian else ">") + ("IBBHQQ" if wide else "IIIBBH"))
    for name, *rest in layout.iter_unpack(data[: len(data) // layout.size * layout.size]):
        info, section, address = (rest[0], rest[2], rest[3]) if wide else (rest[2], rest[4], rest[0])
        if info & 0xF == _FUNCTION and section:
            # A symbol table may append the version: memcpy@@GLIBC_2.14.
            yield strings[name : strings.find(b"\0", name)].decode(errors="replace").partition("@")[0], address
