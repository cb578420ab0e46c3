"""Bindings of the running kernel's types: as clang lays them out, as libbpf writes them, as programs use them."""

from __future__ import annotations

import collections
import os
import random
import subprocess
from pathlib import Path

import pytest

import ebpflab
from ebpflab.btf import Kind
from ebpflab.btf_checks import spots
from ebpflab.compile import vmlinux
from ebpflab.inspectors.btf_source import open_btf
from ebpflab.toolchain import find_clang, find_libbpf_headers

CHILDREN = 23
STRUCTS = 211


def clang(*arguments):
    done = subprocess.run([str(find_clang()), *map(str, arguments)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[:3000]
    return done.stderr


def anonymous(btf, t):
    return any(not m.name and btf.strip(m.type_id).kind in (Kind.STRUCT, Kind.UNION) for m in t.members)


@pytest.fixture(scope="module")
def sample():
    """Structs and unions by a fixed seed, with many bitfields and anonymous members, as "struct file": type."""
    btf = open_btf().btf
    records = [t for t in btf.of_kind(Kind.STRUCT, Kind.UNION) if t.name and t.members]
    count = collections.Counter(t.name for t in btf if t.kind in (Kind.STRUCT, Kind.UNION, Kind.TYPEDEF))
    alone = [t for t in records if count[t.name] == 1]  # libbpf numbers those that share a name
    chance = random.Random(23)
    some = {
        "any": alone,
        "bitfields": [t for t in alone if any(btf.bit_range(m)[1] for m in t.members)],
        "anonymous": [t for t in alone if anonymous(btf, t)],
        "unions": [t for t in alone if t.kind is Kind.UNION],
    }
    chosen = {t.id: t for kind, n in zip(some, (131, 31, 31, 31), strict=True) for t in chance.sample(some[kind], n)}
    assert len(chosen) >= STRUCTS
    for kind in some:
        assert sum(t in some[kind] for t in chosen.values()) >= 31
    return {f"{t.kind.name.lower()} {t.name}": t for t in chosen.values()}


def layouts(header, sample, folder):
    """What clang makes of the header, from the debug information that it writes: size and members of each type."""
    source, made = folder / "layouts.c", folder / "layouts.o"
    variables = "".join(f"{name} variable{number};\n" for number, name in enumerate(sample))
    source.write_text(f"{header}\n{variables}")
    clang("-target", "bpf", "-g", "-O2", "-fms-extensions", "-w", "-c", source, "-o", made)
    back = open_btf(made).btf
    found = {name: back.find(t.name, t.kind) for name, t in sample.items()}
    return {name: (t.size, [s for s in spots(back, t) if s.path]) for name, t in found.items()}


def test_the_compiler_finds_every_member_of_200_structs_where_btf_has_it(sample, tmp_path):
    made = ebpflab.bindings(*sample)
    assert len(made.names) == len(sample)
    source = tmp_path / "check.c"
    source.write_text(made + made.checks())
    for target in (("-target", "bpf"), ()):
        assert clang(*target, "-Wall", "-fsyntax-only", source) == ""
    btf = open_btf().btf
    members = sum(not s.bits for t in sample.values() for s in spots(btf, t))
    assert made.checks().count("__builtin_offsetof") > members > 1000


def test_libbpf_s_own_dump_has_the_same_layouts(sample, tmp_path):
    btf = open_btf().btf
    ours = layouts(ebpflab.bindings(*sample), sample, tmp_path)
    theirs = layouts(vmlinux.dump(), sample, tmp_path)
    assert ours == theirs
    assert ours == {name: (t.size, list(spots(btf, t))) for name, t in sample.items()}
    assert sum(s.bits > 0 for _, found in ours.values() for s in found) > 100


def test_the_offsets_in_the_header_hold_in_libbpf_s_dump(sample, tmp_path):
    made = ebpflab.bindings(*sample)
    asked = [line for line in made.checks().splitlines() if any(f'"{name}: ' in line for name in sample)]
    source = tmp_path / "check.c"
    source.write_text(vmlinux.dump() + "\n".join(asked))
    clang("-target", "bpf", "-fms-extensions", "-w", "-fsyntax-only", source)


def test_every_named_type_of_the_kernel_compiles_and_checks(tmp_path):
    source = open_btf()
    kinds = (Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64, Kind.TYPEDEF)
    names = [t for t in source.btf.of_kind(*kinds) if t.name and source.btf.find(t.name, t.kind).id == t.id]
    keywords = {Kind.STRUCT: "struct ", Kind.UNION: "union ", Kind.ENUM: "enum ", Kind.ENUM64: "enum "}
    made = ebpflab.bindings(*(keywords.get(t.kind, "typedef ") + t.name for t in names))
    path = tmp_path / "all.c"
    path.write_text(made + made.checks())
    assert clang("-target", "bpf", "-Wall", "-fsyntax-only", path) == ""
    assert made.checks().count("_Static_assert") > 10 * len(names) / 2


PROGRAM = """
#include "task.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

const volatile int parent = 0;
int count = 0;
int pids[64], parents[64];
char comms[64][16];

SEC("tp_btf/sched_process_exit")
int BPF_PROG(gone, struct task_struct *task)
{
	int n;

	if (task->real_parent->tgid != parent)
		return 0;
	n = count++ & 63; /* the children end one after the other */
	pids[n] = task->tgid;
	parents[n] = BPF_CORE_READ(task, real_parent, tgid);
	bpf_core_read(&comms[n], sizeof(comms[n]), &task->comm);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
"""


def build(folder, route):
    """The program on its header: as clang alone compiles it, as a file beside the header, as a cell that holds both."""
    header = ebpflab.bindings("task_struct", "path")
    header.save(folder / "task.h")
    source = folder / "exits.bpf.c"
    source.write_text(PROGRAM)
    if route == "cell":
        return PROGRAM.replace('#include "task.h"', str(header))
    if route == "file":
        return str(source)
    made = folder / "exits.o"
    flags = ["-target", "bpf", "-O2", "-g", "-Wall", "-Werror", f"-isystem{find_libbpf_headers()}"]
    assert clang(*flags, "-D__TARGET_ARCH_x86", "-c", source, "-o", made) == ""
    return str(made)


def test_a_header_of_two_types_is_a_small_part_of_vmlinux_h_and_compiles_alone(tmp_path):
    made = ebpflab.bindings("task_struct", "path")
    assert len(made.encode()) < 0.15 * len(vmlinux.dump().encode())
    path = made.save(tmp_path / "task.c")
    for target in (("-target", "bpf"), ()):
        assert clang(*target, "-Wall", "-fsyntax-only", path) == ""


@pytest.mark.hook("tp_btf")
@pytest.mark.parametrize("route", ["object", "file", "cell"])
def test_a_program_built_on_the_header_reads_what_proc_says(load, tmp_path, route):
    session = load(build(tmp_path, route), vars={"parent": os.getpid()})
    expected = {}
    for number in range(CHILDREN):
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            Path("/proc/self/comm").write_text(f"child{number}")
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        os.close(reading)
        while (comm := Path(f"/proc/{pid}/comm").read_text().rstrip("\n")) != f"child{number}":
            os.sched_yield()
        status = Path(f"/proc/{pid}/status").read_text()
        ppid = int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:")))
        expected[pid] = (comm, ppid)
        os.close(writing)
        assert os.waitpid(pid, 0) == (pid, 0)
    rows = list(zip(session.vars["pids"], session.vars["comms"], session.vars["parents"], strict=True))
    seen = [(int(pid), (comm, int(ppid))) for pid, comm, ppid in rows[: session.vars["count"]]]
    # This process may have other children that end meanwhile: what another test started.
    ours = [(pid, facts) for pid, facts in seen if pid in expected]
    assert len(ours) == CHILDREN
    assert dict(ours) == expected


STUB = """
SEC("fentry/vfs_read")
int BPF_PROG(read, struct file *file)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 inode = BPF_CORE_READ(task, mm, exe_file, f_inode, i_ino);

	return file->f_path.dentry->d_name.len + inode + BPF_ANY + task->real_parent->signal->nr_threads;
}
"""


def test_a_stub_compiles_with_nothing_but_the_header_that_it_asks_for(tmp_path):
    made = ebpflab.bindings(stub=STUB)
    reached = {"struct mm_struct", "struct inode", "struct dentry", "struct signal_struct"}
    assert set(made.types["type"]) >= {"struct file", "struct task_struct", "u64"} | reached
    assert "struct super_block {" not in made  # many of these point at one, but the stub does not follow
    source = tmp_path / "stub.c"
    libbpf = "".join(f"#include <bpf/bpf_{name}.h>\n" for name in ("helpers", "core_read", "tracing"))
    source.write_text(made + libbpf + STUB)
    flags = ("-target", "bpf", "-O2", "-g", "-D__TARGET_ARCH_x86", f"-isystem{find_libbpf_headers()}")
    assert clang(*flags, "-Wall", "-c", source, "-o", tmp_path / "stub.o") == ""
