# Objects with sections that a libbpf before 1.2 does not know, and leaves out without a word: SEC(".struct_ops.link")
# and SEC("struct_ops.s/NAME"). They get names that it knows, of the same length, so that nothing else moves. What
# the names meant is not lost: every struct_ops map gets a link anyway, and the engine knows who may sleep.

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

from ..errors import LoadError

if TYPE_CHECKING:
    import ctypes as ct

_LINKED, _SLEEPABLE = ".struct_ops.link", "struct_ops.s"
_NEW_NAMES = (
    (b".struct_ops.link\0", b".struct_ops\0link\0"),
    (b"struct_ops.s/", b"struct_ops/s/"),
    (b"struct_ops.s\0", b"struct_ops/s\0"),
)


class Readable(NamedTuple):
    # An object that this libbpf understands, and the sections of its programs as they were called, by new name.
    data: bytes
    sections: Mapping[str, str]


def readable(lib: ct.CDLL, data: bytes) -> Readable:
    # Raises LoadError when both spellings of a section are in the object: an older libbpf reads one only.
    old = (lib.libbpf_major_version(), lib.libbpf_minor_version()) < (1, 2)
    if not old or not any(name in data for name, _ in _NEW_NAMES):
        return Readable(data, {})
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(BytesIO(data))
        names = {section.name for section in elf.iter_sections()}
        # Names of sections are in a table of the ELF file, and once more in BTF.
        tables = [elf.get_section(elf["e_shstrndx"]), elf.get_section_by_name(".BTF")]
    except ELFError:
        return Readable(data, {})  # libbpf finds better words for what is wrong with it
    if {_LINKED, ".struct_ops"} <= names:
        hint = 'use SEC(".struct_ops") for all: ebpflab makes links of them wherever the kernel has such links'
        what = 'libbpf before 1.2 does not take SEC(".struct_ops") and SEC(".struct_ops.link") together'
        raise LoadError(what, hint=hint)
    changed = bytearray(data)
    for table in filter(None, tables):
        start, end = table["sh_offset"], table["sh_offset"] + table["sh_size"]
        for name, new in _NEW_NAMES:
            changed[start:end] = changed[start:end].replace(name, new)
    programs = [name.removeprefix("?") for name in names]
    sleepable = [name for name in programs if f"{name}/".startswith(f"{_SLEEPABLE}/")]
    return Readable(bytes(changed), {name.replace(".s", "/s", 1): name for name in sleepable})
