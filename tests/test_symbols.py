"""Names of addresses: the dynamic linker, nm and the text of kallsyms say what is right."""

from __future__ import annotations

import bisect
import contextlib
import ctypes
import mmap
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflab.stacks import Resolver
from ebpflab.symbols import KernelSymbols, UserSymbols
from ebpflab.symbols.elf import ElfSymbols
from ebpflab.symbols.user import jit_symbols

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

KALLSYMS = """\
0000000000000000 A fixed_percpu_data
0000000000001000 D cpu_info
ffffffff81000000 T _stext
ffffffff81000000 T startup_64
ffffffff81000070 t __pfx_early
ffffffff81000080 t early.cold
ffffffff81000200 W weak_one
ffffffff82000000 D some_data
ffffffff82800000 B _end
ffffffffc0000000 t probe\t[virtio_net]
ffffffffc0300000 t bpf_prog_6deef7357e7b4530_handle\t[bpf]
"""


def addresses(*values):
    return np.array(values, np.uint64)


def test_a_kernel_address_is_named_by_the_symbol_before_it(tmp_path):
    path = tmp_path / "kallsyms"
    path.write_text(KALLSYMS)
    symbols = KernelSymbols(path)
    wanted = {
        0xFFFFFFFF81000000: "_stext+0x0",  # the first of two, as the kernel chooses
        0xFFFFFFFF8100001F: "_stext+0x1f",
        0xFFFFFFFF81000081: "early.cold+0x1",
        0xFFFFFFFF81000205: "weak_one+0x5",
        0xFFFFFFFF82000010: "some_data+0x10",
        0xFFFFFFFFC0000ABC: "probe+0xabc [virtio_net]",
        0xFFFFFFFFC0300010: "bpf_prog_6deef7357e7b4530_handle+0x10 [bpf]",
        0x1008: "None",  # an offset into per-CPU memory is no address
        0xFFFF888012345678: "None",
        0xFFFFFFFFC0200000: "None",  # too far behind
    }
    assert [str(symbol) for symbol in symbols.find(list(wanted))] == list(wanted.values())
    assert symbols.hidden() is None


def test_a_module_that_is_loaded_later_is_found_and_one_that_left_stays_known(tmp_path, monkeypatch):
    path = tmp_path / "kallsyms"
    path.write_text(KALLSYMS)
    symbols = KernelSymbols(path)
    new, old = 0xFFFFFFFFC0500004, 0xFFFFFFFFC0000004
    assert [str(s) for s in symbols.find([new, old])] == ["None", "probe+0x4 [virtio_net]"]
    path.write_text(KALLSYMS.replace("ffffffffc0000000 t probe\t[virtio_net]", "ffffffffc0500000 t late\t[dummy]"))
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 60)
    assert [str(s) for s in symbols.find([new, old])] == ["late+0x4 [dummy]", "probe+0x4 [virtio_net]"]


def test_hidden_addresses_are_said_to_be_hidden(tmp_path):
    path = tmp_path / "kallsyms"
    path.write_text("".join(f"{0:016x}{line[16:]}\n" for line in KALLSYMS.splitlines()))
    symbols = KernelSymbols(path)
    assert symbols.find([0xFFFFFFFF81000000]) == [None]
    assert "kptr_restrict" in symbols.hidden()
    assert "there is no" in KernelSymbols(tmp_path / "nothing").hidden()


def test_functions_of_this_process_are_found_where_the_dynamic_linker_has_them():
    symbols, libc = UserSymbols(), ctypes.CDLL(None)
    process = symbols.process(os.getpid())
    names = ["getppid", "qsort", "malloc"]
    places = [ctypes.cast(getattr(libc, name), ctypes.c_void_p).value for name in names]
    found = symbols.find(process, addresses(*places, places[0] + 3, 16))
    assert found[-1] is None
    assert found[3].offset == 3
    assert [(s.offset, s.origin.split(".")[0].split("-")[0]) for s in found[:3]] == [(0, "libc")] * 3
    # A function may have several names: the linker says whether the one we found is one.
    own = [
        ctypes.cast(getattr(libc, s.name), ctypes.c_void_p).value if hasattr(libc, s.name) else None for s in found[:3]
    ]
    assert all(mine in (None, place) for mine, place in zip(own, places, strict=True))
    assert found[0].name in ("getppid", "__getppid")


def test_addresses_in_processes_are_shown_with_the_distance_from_their_function():
    place = ctypes.cast(ctypes.CDLL(None).getppid, ctypes.c_void_p).value
    values, pids = addresses(place, place + 3, 16), np.array([os.getpid()] * 3, np.uint32)
    resolver = Resolver([])
    assert [text.lstrip("_") for text in resolver.addresses("user", values, pids)] == [
        "getppid+0x0 [libc.so.6]",
        "getppid+0x3 [libc.so.6]",
        "0x10",
    ]
    assert resolver.addresses("user", values[2:], None) == ["0x10"]
    assert resolver.stacks("user", np.array([5, -17]), pids[:2]) == ["[missing]", "[EEXIST]"]
    assert resolver.notes() == []


def test_the_vdso_has_symbols():
    symbols = UserSymbols()
    process = symbols.process(os.getpid())
    vdso = next((m for m in process.mappings if m.path == "[vdso]"), None)
    if vdso is None:
        pytest.skip("this machine gives processes no vDSO")
    span = np.arange(vdso.start, vdso.end, 16, dtype=np.uint64)
    names = {s.name for s in symbols.find(process, span)}
    assert names & {"__vdso_clock_gettime", "clock_gettime", "__kernel_clock_gettime", "__vdso_gettimeofday"}
    assert {s.origin for s in symbols.find(process, span)} == {"vdso"}


def test_code_of_a_jit_is_named_by_its_map_and_by_nobody_else():
    before = UserSymbols().process(os.getpid()).mappings
    code = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_EXEC)
    process = UserSymbols().process(os.getpid())
    (start,) = (m.start for m in process.mappings if m not in before)
    path = Path(f"/tmp/perf-{os.getpid()}.map")
    with contextlib.ExitStack() as stack:
        stack.callback(code.close)
        symbols = UserSymbols()
        assert [(s.name, s.origin) for s in symbols.find(process, addresses(start + 5))] == [("", "anon")]
        stack.callback(path.unlink, missing_ok=True)
        path.write_text(f"{start:x} 10 LFoo;::bar\n{start + 16:x} 10 py::main:/x y.py\n")
        found = symbols.find(process, addresses(start + 5, start + 16, start + 40))
        assert [s.name for s in found] == ["LFoo;::bar", "py::main:/x y.py", ""]
        assert [s.offset for s in found[:2]] == [5, 0]


def test_a_line_of_a_jits_map_that_is_not_whole_yet_is_left_out():
    table = jit_symbols(b"1000 10 first\nzz 10 none\n1010 10 sec ond\n1020 1")
    assert [s and s.name for s in table.find(addresses(0xFFF, 0x1000, 0x1010, 0x1020))] == [
        None,
        "first",
        "sec ond",
        None,
    ]


def test_a_process_that_is_gone_has_no_memory():
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert UserSymbols().process(child.pid) is None
    assert UserSymbols().process(2**22 + 1) is None


@pytest.mark.skipif(shutil.which("nm") is None, reason="binutils is not installed")
def test_every_function_of_a_binary_is_found_where_nm_has_it():
    path = Path(shutil.which("gcc") or sys.executable).resolve()
    text = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True).stdout
    text += subprocess.run(["nm", "--defined-only", path], capture_output=True, text=True, check=False).stdout
    rows = [line.split() for line in text.splitlines()]
    names: dict[int, set[str]] = {}
    for row in rows:
        if len(row) == 3 and row[1] in "tTwWi":
            names.setdefault(int(row[0], 16), set()).add(row[2].partition("@")[0])
    with path.open("rb") as file:
        elf = ElfSymbols.read(file)
    starts = [int(a) for a in elf.table.starts]
    assert starts
    assert starts == sorted(set(starts))
    for start, symbol in zip(starts, elf.table.find(elf.table.starts), strict=True):
        assert symbol.offset == 0
        assert start in names
        assert symbol.name in names[start]


@pytest.fixture(scope="module")
def binary():
    return Path(shutil.which("true")).read_bytes()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), max_size=8), st.integers(0, 40000))
def test_a_damaged_binary_has_no_symbols_or_some(binary, changes, length):
    image = bytearray(binary[:length] if length < len(binary) else binary)
    for place, byte in changes:
        if place < len(image):
            image[place] = byte
    elf = ElfSymbols.of_bytes(bytes(image))
    assert elf is None or isinstance(elf.find(addresses(0, 0x1000)), list)


def test_a_linear_search_finds_the_same_kernel_symbols():
    lines = [line.split() for line in Path("/proc/kallsyms").read_text().splitlines()]
    symbols = [(int(words[0], 16), words[2]) for words in lines if words[1] not in "aA" and words[0][0] == "f"]
    starts = sorted({start for start, _ in symbols})
    if not starts:
        pytest.skip("kernel symbols are hidden from this user")
    wanted = [start + extra for start in starts[:: len(starts) // 101] for extra in (0, 1)]
    for address, symbol in zip(wanted, KernelSymbols().find(wanted), strict=True):
        start = starts[bisect.bisect_right(starts, address) - 1]
        names = [name for place, name in symbols if place == start]
        if not all(name.startswith("__pfx_") for name in names):
            assert symbol.name in names
            assert symbol.offset == address - start
