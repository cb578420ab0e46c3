"""Cells compiled for another kernel than the running one, as tests/vm does on the host for its guests."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from ebpflab.btf import Btf, Kind
from ebpflab.cell import Cell
from ebpflab.compile import Target, compile_cell, vmlinux
from ebpflab.errors import KernelSupportError

RUNNING = Path("/sys/kernel/btf/vmlinux")
CELL = Cell("""\
u64 seen[EBPFLAB_CPUS];
SEC("raw_tp/sys_enter")
int h(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	return BPF_CORE_READ(task, tgid);
}
""")
# A kernel of another layout, with all that the prelude wants of one.
OTHER = """
typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32; typedef unsigned long long __u64;
typedef signed char __s8; typedef short __s16; typedef int __s32; typedef long long __s64;
typedef __u8 u8; typedef __u16 u16; typedef __u32 u32; typedef __u64 u64;
typedef __s8 s8; typedef __s16 s16; typedef __s32 s32; typedef __s64 s64;
typedef __u16 __be16, __le16, __sum16; typedef __u32 __be32, __le32, __wsum; typedef __u64 __be64, __le64;
typedef _Bool bool; typedef unsigned long size_t; typedef int pid_t; typedef s64 ktime_t;
enum { false, true }; enum { BPF_ANY, BPF_NOEXIST }; enum bpf_flags { BPF_F_CURRENT_CPU = 4294967295ULL };
struct pt_regs { unsigned long di, si, dx; };
struct task_struct { char before[97 * 4]; pid_t tgid; };
struct all {
	u8 a; u16 b; u32 c; u64 d; s8 e; s16 f; s32 g; s64 h; __be16 i; __le16 j; __sum16 k; __be32 l; __le32 m; __wsum n;
	__be64 o; __le64 p; bool q; size_t r; ktime_t s; struct pt_regs t; struct task_struct u; enum bpf_flags v;
} all;
int any = BPF_ANY + true;
"""

pytestmark = pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")


def section(data, name):
    return ELFFile(io.BytesIO(data)).get_section_by_name(name).data()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    vmlinux.subset([])  # the running kernel's types stay where they are
    monkeypatch.setenv("EBPFLAB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def other(tmp_path):
    command = ["clang", "-target", "bpf", "-O2", "-g", "-c", "-x", "c", "-", "-o", "-"]
    done = subprocess.run(command, input=OTHER.encode(), capture_output=True, check=True)
    path = tmp_path / "other.btf"
    path.write_bytes(section(done.stdout, ".BTF"))
    return path


def test_a_cell_compiled_for_this_very_kernel_from_a_copy_of_its_types_is_found_again(tmp_path):
    copy = tmp_path / "vmlinux"
    copy.write_bytes(RUNNING.read_bytes())
    possible = Path("/sys/devices/system/cpu/possible").read_text()
    elsewhere = compile_cell(CELL, target=Target(copy, cpus=int(possible.strip().rpartition("-")[2]) + 1))
    here = compile_cell(CELL)
    assert (elsewhere.cached, here.cached) == (False, True)
    assert here.object == elsewhere.object


def test_a_cell_is_compiled_against_the_types_of_its_target(other):
    compiled = compile_cell(CELL, target=Target(other, cpus=1))
    assert compiled.headers == "subset"
    types = Btf.parse(section(compiled.object, ".BTF"))
    tgid = next(member for member in types.find("task_struct", Kind.STRUCT).members if member.name == "tgid")
    assert types.bit_range(tgid) == (97 * 4 * 8, 0)
    assert not compile_cell(CELL).cached


@pytest.mark.parametrize(("cpus", "counters"), [(1, 1), (2, 2), (3, 4), (64, 64), (97, 128)])
def test_there_is_a_counter_for_each_cpu_up_to_a_power_of_two(other, cpus, counters):
    compiled = compile_cell(CELL, target=Target(other, cpus))
    symbols = ELFFile(io.BytesIO(compiled.object)).get_section_by_name(".symtab")
    assert symbols.get_symbol_by_name("seen")[0]["st_size"] == 8 * counters


def test_a_target_without_types_is_an_error_of_that_kernel(tmp_path):
    with pytest.raises(KernelSupportError, match=r"no type information: .*/no/vmlinux does not exist"):
        compile_cell(CELL, target=Target(tmp_path / "no/vmlinux", cpus=1))
