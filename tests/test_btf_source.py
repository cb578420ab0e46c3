"""Where types are read from, and what is said where there are none."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from ebpflab.btf import Btf, Kind
from ebpflab.errors import DecodeError, EbpflabError, KernelSupportError, TypeNotFoundError
from ebpflab.inspectors.btf_source import BtfSource, open_btf
from ebpflab.inspectors.types import type

DATA = Path(__file__).parent / "data" / "btf"
KINDS = DATA / "kinds.BTF"


def raw(types: bytes, strings: bytes) -> bytes:
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings


# typedef p_t -> pointer to a const of itself, which nothing sound contains.
CIRCLE = raw(
    struct.pack("<3I", 1, Kind.TYPEDEF << 24, 2)
    + struct.pack("<3I", 0, Kind.PTR << 24, 3)
    + struct.pack("<3I", 0, Kind.CONST << 24, 3),
    b"\0p_t\0",
)
INTEGERS = raw(
    b"".join(
        struct.pack("<4I", name, Kind.INT << 24, size, encoding << 24 | size * 8)
        for name, size, encoding in ((1, 8, 0), (19, 4, 1), (23, 4, 0), (36, 1, 1), (41, 8, 1))
    ),
    b"\0long unsigned int\0int\0unsigned int\0char\0long long int\0",
)


@pytest.fixture
def integers() -> BtfSource:
    return BtfSource("a test", Btf.parse(INTEGERS), Path("nowhere"))


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("unsigned long", "long unsigned int"),
        ("unsigned long int", "long unsigned int"),
        ("const unsigned long *", "long unsigned int"),
        ("unsigned", "unsigned int"),
        ("signed int", "int"),
        ("signed", "int"),
        ("long long", "long long int"),
        ("char", "char"),
    ],
)
def test_integers_are_found_as_c_spells_them(integers: BtfSource, written: str, name: str) -> None:
    assert integers.btf[integers.find(written)].name == name


@pytest.mark.parametrize("written", ["unsigned short", "", "   ", "struct", "unsigned long struct"])
def test_what_is_no_type_is_not_found(integers: BtfSource, written: str) -> None:
    with pytest.raises(TypeNotFoundError):
        integers.find(written)


def test_a_module_goes_on_from_its_kernel() -> None:
    kernel = Btf.parse(INTEGERS)
    strings = len(b"\0long unsigned int\0int\0unsigned int\0char\0long long int\0")
    module = raw(struct.pack("<3I", strings, Kind.TYPEDEF << 24, 2), b"pid_t\0")
    both = Btf.parse(module, kernel)
    assert len(both) == len(kernel) + 1
    found = both.find("pid_t", Kind.TYPEDEF)
    assert found is not None
    assert found.id == 6
    assert both.strip(found.id).name == "int"
    with pytest.raises(DecodeError, match="goes on from its kernel's"):
        Btf.parse(module)


@pytest.mark.parametrize("name", ["", "  ", "a" * 300, "no_such_module", "nul\0"])
def test_a_source_that_is_none_is_an_error_of_ours(name: str) -> None:
    with pytest.raises((DecodeError, KernelSupportError)):
        open_btf(name)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/zero")):
        with pytest.raises(DecodeError, match="is not a file with BTF"):
            open_btf(path)
    (tmp_path / "text").write_text("root:x:0:0")
    with pytest.raises(DecodeError, match="neither BTF nor an ELF file"):
        open_btf(tmp_path / "text")
    (tmp_path / "elf").write_bytes(b"\x7fELF\x02\x01")
    with pytest.raises(DecodeError, match="not an ELF file that can be read"):
        open_btf(tmp_path / "elf")


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "types.BTF"
    path.write_bytes(INTEGERS)
    assert len(open_btf(path).btf) == 5
    path.write_bytes(KINDS.read_bytes())
    assert len(open_btf(path).btf) == len(Btf.parse(KINDS.read_bytes()))


def test_a_type_that_only_refers_to_itself_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "circle.BTF"
    path.write_bytes(CIRCLE)
    with pytest.raises(EbpflabError):
        type("p_t", source=path).path("x")
