"""Cells compiled for the running kernel: headers cut to measure, the object cache, programs as people paste them.

Expected layouts are the kernel's own BTF, expected code is what clang makes of the whole header.
"""

from __future__ import annotations

import collections
import io
import os
import random
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import cells
import pytest
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from ebpflab import toolchain
from ebpflab.btf import Btf, Kind
from ebpflab.cell import Cell, read
from ebpflab.compile import clang, compile_cell, vmlinux
from ebpflab.errors import CompileError, EbpflabError, KernelSupportError

PROGRAMS = sorted((cells.ROOT / "tests/data/programs").glob("*.bpf.c"))
WITH_KERNEL_TYPES = [path for path in PROGRAMS if read(path).headers == "vmlinux"]
AGGREGATES = (Kind.STRUCT, Kind.UNION)
ENUMS = (Kind.ENUM, Kind.ENUM64)

pytestmark = pytest.mark.skipif(
    shutil.which("clang") is None and not os.environ.get("EBPFLAB_REQUIRE_KERNEL"), reason="clang is not installed"
)


def program(body="return 0;", before=""):
    return f'{before}\nSEC("raw_tp/sys_enter") int h(void *ctx) {{ {body} }}\n'


def code_of(data):
    """The instructions of an object by section, read with pyelftools."""
    sections = ELFFile(io.BytesIO(data)).iter_sections()
    return {s.name: s.data() for s in sections if s["sh_flags"] & SH_FLAGS.SHF_EXECINSTR and s["sh_size"]}


def check_syntax(text):
    command = ["clang", "-target", "bpf", "-fsyntax-only", "-ferror-limit=0", "-w", "-x", "c", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def kernel():
    return Btf.parse(Path("/sys/kernel/btf/vmlinux").read_bytes())


@pytest.fixture
def forget():
    """Makes the compiler look at clang and the kernel anew, before and after the test."""

    def forgetting():
        for cached in (clang.identity, vmlinux.btf_hash, vmlinux.identity, vmlinux._database, toolchain._looked_up):
            getattr(cached, "cache_clear", lambda: None)()  # a test may have put another function in its place

    yield forgetting
    forgetting()


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    vmlinux.subset([])  # the kernel's types stay where they are: only objects are compiled anew
    monkeypatch.setenv("EBPFLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def clang_runs(tmp_path, monkeypatch, forget, empty_cache):
    """A clang that writes down each run; call it for how often clang has compiled."""
    log, wrapper = tmp_path / "runs", tmp_path / "clang-wrapper"
    log.touch()
    # One that merely waits for a source has not compiled: what comes in by then decides.
    wrapper.write_text(
        f"""#!/bin/sh
        [ "$1" = --version ] && exec {shutil.which("clang")} "$@"
        source=$(mktemp); cat > "$source"; [ -s "$source" ] && echo run >> {log}
        {shutil.which("clang")} "$@" < "$source"; status=$?; rm "$source"; exit $status
        """
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("EBPFLAB_CLANG", str(wrapper))
    clang.identity.cache_clear()
    toolchain._looked_up.cache_clear()
    return lambda: len(log.read_text().split())


# --- vmlinux.h ----------------------------------------------------------------------------------------------


def named_members(btf, aggregate, base=0):
    """Name and offset in bytes of each member that offsetof takes, also of those in anonymous structs and unions."""
    for member in aggregate.members:
        offset, bits = btf.bit_range(member)
        core = btf.strip(member.type_id)
        if member.name and not bits:
            yield member.name, (base + offset) // 8
        elif not member.name and core.kind in AGGREGATES:
            yield from named_members(btf, core, base + offset)


def test_every_struct_and_member_of_the_whole_header_lies_where_the_kernel_has_it(kernel):
    # A tag that several types share is told apart in the header (X, X___2), and the BTF does not say which is which.
    tags = collections.Counter(t.name for t in kernel.of_kind(*AGGREGATES, *ENUMS) if t.name)
    asserts = []
    for t in kernel.of_kind(*AGGREGATES):
        if tags[t.name] != 1:
            continue
        c_type = f"{t.kind.name.lower()} {t.name}"
        asserts.append(f'_Static_assert(sizeof({c_type}) == {t.size}, "");')
        for name, offset in named_members(kernel, t):
            asserts.append(f'_Static_assert(__builtin_offsetof({c_type}, {name}) == {offset}, "");')
    assert len(asserts) > 10_000
    done = check_syntax(vmlinux.whole() + "\n".join(asserts))
    assert (done.returncode, done.stderr[:2000]) == (0, "")


@pytest.mark.parametrize("path", WITH_KERNEL_TYPES, ids=lambda path: path.name)
def test_the_part_of_the_header_gives_the_same_instructions_as_the_whole(path, monkeypatch, empty_cache):
    part = compile_cell(read(path))
    assert (part.headers, part.cached, part.warnings) == ("subset", False, ())
    monkeypatch.setattr(vmlinux, "subset", lambda words, defined=frozenset(), btf=None: vmlinux.whole(defined))
    monkeypatch.setenv("EBPFLAB_CACHE", f"{empty_cache}-whole")
    whole = compile_cell(read(path))
    assert not whole.cached
    assert code_of(part.object) == code_of(whole.object)
    assert code_of(part.object)


def test_there_are_a_dozen_programs_to_compare():
    assert len(WITH_KERNEL_TYPES) >= 12


def test_the_part_is_small(kernel):
    assert len(vmlinux.subset({"task_struct", "pid", "__u64"})) < len(vmlinux.whole()) / 10


def test_a_type_that_only_a_macro_spells_is_found_in_the_whole_header():
    before = "#define TASK(part) struct task_##part\nstruct key { int own; };"
    body = "TASK(struct) *t = (void *)bpf_get_current_task(); return BPF_CORE_READ(t, real_parent, tgid);"
    compiled = compile_cell(Cell(program(body, before)))
    assert compiled.headers == "whole"
    assert code_of(compiled.object)


def test_a_type_that_exists_nowhere_is_an_error_of_the_cell():
    with pytest.raises(CompileError) as caught:
        compile_cell(Cell(program("struct no_such_type x; return x.y;")))
    assert caught.value.where.line == 2
    assert "no_such_type" in str(caught.value)


# --- Names that the kernel has, too -------------------------------------------------------------------------

COLLIDING = """\
struct key { u32 number; };
struct nsproxy { u64 mine; };
struct event { u64 uts; u32 tgid; enum { DONE = 41, MM_FILEPAGES } state; };
typedef struct { u32 x; } atomic_t;
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 12);
	__type(value, struct event); } events SEC(".maps");
SEC("syscall")
int send(struct key *key)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct nsproxy own = { key->number };
	atomic_t counter = { 1 };
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 1;
	e->uts = BPF_CORE_READ(task, nsproxy, uts_ns, ns.inum);
	e->tgid = BPF_CORE_READ(task, tgid) + own.mine + counter.x;
	e->state = MM_FILEPAGES;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
"""


def test_names_of_the_kernel_may_be_defined_anew_and_its_own_types_still_work(load, kernel):
    for name, kind in {"key": Kind.STRUCT, "nsproxy": Kind.STRUCT, "atomic_t": Kind.TYPEDEF}.items():
        assert kernel.find(name, kind), f"{name} does not collide on this kernel"
    session = load(COLLIDING)
    assert session.test_run("send", ctx=(1000).to_bytes(4, "little"))["retval"] == 0
    assert session.events.wait(1, timeout=5)
    row = session.events.df().iloc[0]
    assert row["uts"] == Path("/proc/self/ns/uts").stat().st_ino
    assert row["tgid"] == os.getpid() + 1000 + 1
    assert row["state"] == "MM_FILEPAGES"


@pytest.mark.parametrize("seed", range(3))
def test_hundreds_of_the_kernels_names_may_be_defined_anew_in_another_way(kernel, seed):
    pick = random.Random(seed)
    tags = {t.name for t in kernel.of_kind(*AGGREGATES, *ENUMS)}
    typedefs = {t.name for t in kernel.of_kind(Kind.TYPEDEF)}
    enumerators = {v.name for t in kernel.of_kind(*ENUMS) for v in t.values}
    # The header's own guard, and the base types that libbpf's headers go on using, cannot be anything else.
    some = [sorted(n for n in names if n and not n.startswith("__")) for names in (tags, typedefs, enumerators)]
    structs, types, values = (set(pick.sample(names, 200)) for names in some)
    lines = [f"struct {name} {{ char own[3]; }};" for name in sorted(structs)]
    lines += [f"typedef struct {{ char own[5]; }} {name};" for name in sorted(types - values)]
    lines += [f"enum {{ {name} = 77 }};" for name in sorted(values)]
    lines += [f'_Static_assert(sizeof(struct {name}) == 3, "");' for name in sorted(structs)]
    lines += [f'_Static_assert(sizeof({name}) == 5, "");' for name in sorted(types - values)]
    cell = Cell("\n".join(lines))
    done = check_syntax(vmlinux.whole(cell.defined) + cell.source)
    assert (done.returncode, done.stderr[:2000]) == (0, "")


@pytest.mark.parametrize(
    ("before", "body"),
    [
        (
            "typedef unsigned int u32; typedef unsigned long long u64, __u64; typedef unsigned int __u32;",
            "u64 a = 1; return a;",
        ),
        ("typedef unsigned long u64;", "u64 a = bpf_ktime_get_ns(); return a;"),
        ("typedef _Bool bool; enum { false, true };", "bool a = true; return a;"),
        ("struct record { int packed; }; enum { byte, aligned, push, pop, clang };", "return aligned;"),
        ("struct pt_regs { long di; };", "return PT_REGS_PARM1((struct pt_regs *)ctx);"),
        (
            "struct mm { int x; };",
            "struct task_struct *t = (void *)bpf_get_current_task(); return BPF_CORE_READ(t, mm, start_brk);",
        ),
        ("enum { BPF_ANY, BPF_NOEXIST };", "return BPF_NOEXIST;"),
        ("typedef unsigned long long duration_t;", "duration_t d = 1; return d;"),
    ],
)
def test_a_cell_may_define_for_itself_what_comes_with_the_prelude(before, body):
    compiled = compile_cell(Cell(program(body, before)))
    assert (compiled.headers, compiled.warnings) == ("subset", ())


# --- Programs as they are pasted ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
@pytest.mark.parametrize("how", ["file", "cell"])
def test_a_tutorials_program_compiles_as_it_stands(path, how):
    cell = read(path) if how == "file" else Cell(path.read_text())
    compiled = compile_cell(
        cell, keep_types=[f"struct {name}" for name in cell.struct_names] + list(cell.typedef_names)
    )
    assert compiled.warnings == ()
    assert compiled.headers == ("uapi" if cell.headers == "uapi" else "subset")
    assert set(code_of(compiled.object)) - {".text"} == {section for section, _ in cell.sections}


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_a_licence_is_added_only_where_there_is_none(path):
    section = ELFFile(io.BytesIO(compile_cell(read(path)).object)).get_section_by_name("license")
    assert section.data().rstrip(b"\0").decode() in ("GPL", "Dual BSD/GPL")
    assert section.data().count(b"GPL") == 1


LIBC = (
    "stddef.h",
    "stdbool.h",
    "stdint.h",
    "string.h",
    "errno.h",
    "arpa/inet.h",
    "netinet/in.h",
    "sys/socket.h",
    "linux/types.h",
)


@pytest.mark.parametrize("header", LIBC)
def test_headers_that_xdp_tutorials_include_beside_linux_bpf_h_are_found(header):
    before = f"#include <linux/bpf.h>\n#include <{header}>\n#include <bpf/bpf_helpers.h>\n"
    assert compile_cell(Cell(program(before=before))).headers == "uapi"


@pytest.mark.parametrize("header", ["stddef.h", "stdbool.h"])
def test_the_compilers_own_headers_go_with_kernel_types(header):
    body = (
        "bool yes = true; struct task_struct *t = (void *)bpf_get_current_task(); return BPF_CORE_READ(t, tgid) + yes;"
    )
    assert compile_cell(Cell(program(body, f"#include <{header}>"))).headers == "subset"


def test_the_dialect_of_every_program_is_libbpfs():
    assert {path.name: read(path).dialect for path in PROGRAMS} == {path.name: "libbpf" for path in PROGRAMS}


# --- The object cache ---------------------------------------------------------------------------------------


def test_the_second_time_clang_does_not_run(clang_runs):
    cell = Cell(program("return 17;"))
    first, second = compile_cell(cell), compile_cell(cell)
    assert (first.cached, second.cached, clang_runs()) == (False, True, 1)
    assert (second.object, second.headers) == (first.object, first.headers)


def test_whatever_goes_into_an_object_makes_it_another(clang_runs, monkeypatch):
    cell = Cell(program("return 17;", "struct kept { int x; };"))
    compile_cell(cell)
    compile_cell(Cell(cell.source + "\n"))
    compile_cell(cell, contexts="struct context { int y; };")
    compile_cell(cell, keep_types=["struct kept"])
    assert clang_runs() == 4
    flags = clang.base_flags()
    monkeypatch.setattr(clang, "base_flags", lambda: (*flags, "-DMORE"))
    assert not compile_cell(cell).cached
    monkeypatch.setattr(vmlinux, "identity", lambda btf=None: "another kernel")
    assert not compile_cell(cell).cached
    assert clang_runs() == 6
    assert compile_cell(cell).cached


def test_another_clang_compiles_anew(clang_runs, tmp_path, forget):
    cell = Cell(program("return 18;"))
    compile_cell(cell)
    wrapper = tmp_path / "clang-wrapper"
    wrapper.write_text(wrapper.read_text() + "# a newer one\n")
    forget()
    assert not compile_cell(cell).cached


@pytest.mark.parametrize("where", ["beside the file", "in the working directory"])
def test_a_local_header_that_changes_compiles_anew(clang_runs, tmp_path, monkeypatch, where):
    folder = tmp_path / "src"
    (folder / "sub").mkdir(parents=True)
    (folder / "mine.h").write_text('#pragma once\n#include "sub/inner.h"\n')
    (folder / "sub/inner.h").write_text('#include "innermost.h"\n')
    (folder / "sub/innermost.h").write_text("#define VALUE 1\nstruct task_struct;\n")
    source = program("return VALUE;", '#include "mine.h"')
    (folder / "x.bpf.c").write_text(source)
    if where == "in the working directory":
        monkeypatch.chdir(folder)
        cell = Cell(source)
    else:
        monkeypatch.chdir(tmp_path)
        cell = read(Path("src/x.bpf.c"))
    one = compile_cell(cell)
    assert compile_cell(cell).cached
    (folder / "sub/innermost.h").write_text("#define VALUE 2\n")
    two = compile_cell(cell)
    assert (two.cached, clang_runs()) == (False, 2)
    assert code_of(one.object) != code_of(two.object)


@pytest.mark.parametrize("include", ['#define HEADER "mine.h"\n#include HEADER', '#include_next "mine.h"'])
def test_a_header_that_only_clang_can_find_is_read_at_every_compile(clang_runs, tmp_path, monkeypatch, include):
    monkeypatch.chdir(tmp_path)
    cell = Cell(program("return VALUE;", include))
    made = []
    for number in (1, 2):
        (tmp_path / "mine.h").write_text(f"#define VALUE {number}\n")
        made.append(compile_cell(cell))
    assert ([each.cached for each in made], clang_runs()) == ([False, False], 2)
    assert code_of(made[0].object) != code_of(made[1].object)


def test_types_that_only_a_local_header_names_are_in_the_part(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.h").write_text(
        "static int parent(struct task_struct *t) { return BPF_CORE_READ(t, real_parent, tgid); }\n"
    )
    body = "return parent((void *)bpf_get_current_task());"
    assert compile_cell(Cell(program(body, '#include "mine.h"'))).headers == "subset"


def test_warnings_are_reported_again_when_the_object_comes_from_the_cache(clang_runs):
    cell = Cell(program("int x; return x;"))
    first, second = compile_cell(cell), compile_cell(cell)
    assert (second.cached, clang_runs()) == (True, 1)
    assert [(w.severity, w.where.line) for w in first.warnings] == [("warning", 2)]
    assert "uninitialized" in first.warnings[0].message
    assert second.warnings == first.warnings


def test_a_cell_that_does_not_compile_is_compiled_again(clang_runs):
    cell = Cell(program("return 1 +;"))
    for run in (1, 2):
        with pytest.raises(CompileError, match="expected expression"):
            compile_cell(cell)
        assert clang_runs() == run


def test_a_cache_that_others_can_write_to_is_refused_before_clang_runs(clang_runs, empty_cache):
    compile_cell(Cell(program("return 19;")))
    (empty_cache / "objects").chmod(0o777)
    with pytest.raises(EbpflabError, match="can be written by other users"):
        compile_cell(Cell(program("return 19;")))
    with pytest.raises(EbpflabError, match="can be written by other users"):
        compile_cell(Cell(program("return 20;")))
    assert clang_runs() == 1


def test_objects_are_for_their_user_alone(empty_cache):
    compile_cell(Cell(program("return 21;")))
    modes = {stat.S_IMODE(path.stat().st_mode) & 0o022 for path in (empty_cache, *empty_cache.rglob("*"))}
    assert modes == {0}


COMPILER = """
    import sys, hashlib
    from ebpflab.cell import Cell
    from ebpflab.compile import compile_cell
    print("ready", flush=True)
    sys.stdin.readline()
    compiled = compile_cell(Cell(sys.argv[1]))
    print(compiled.headers, compiled.cached, hashlib.sha256(compiled.object).hexdigest())
"""


def test_two_processes_may_compile_the_same_cell_at_once_into_an_empty_cache(tmp_path):
    script = "\n".join(line.strip() for line in COMPILER.splitlines())
    command = [sys.executable, "-c", script, program("return 23;")]
    environment = cells.environment(EBPFLAB_CACHE=str(tmp_path / "cache"))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, env=environment, **pipes) for _ in range(2)]
    try:
        assert [p.stdout.readline() for p in both] == ["ready\n"] * 2
        for p in both:
            p.stdin.write("go\n")
            p.stdin.flush()
        results = [p.communicate(timeout=60) for p in both]
    finally:
        for p in both:
            p.kill()
            p.wait()
    assert [error for _, error in results] == ["", ""]
    kinds, _, digests = zip(*(output.split() for output, _ in results), strict=True)
    assert set(kinds) == {"subset"}
    assert len(set(digests)) == 1
    assert sorted(p.suffix for p in (tmp_path / "cache/objects").iterdir()) == [".log", ".o"]
    assert [p.suffix for p in (tmp_path / "cache/vmlinux").iterdir()] == [".sqlite"]


@pytest.mark.parametrize("how", ["file", "cell"])
def test_a_local_vmlinux_h_does_not_stand_in_for_ours(tmp_path, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vmlinux.h").write_text("#error an old copy of another kernel\n")
    source = program("return 24;", '#include "vmlinux.h"\n#include <vmlinux.h>')
    (tmp_path / "x.bpf.c").write_text(source)
    assert compile_cell(read(Path("x.bpf.c")) if how == "file" else Cell(source)).headers == "subset"


# --- A kernel without BTF -----------------------------------------------------------------------------------


def test_without_btf_there_is_one_clear_error_and_a_program_with_its_own_headers_still_compiles(
    forget, empty_cache, monkeypatch, tmp_path
):
    monkeypatch.setattr(vmlinux, "KERNEL_BTF", tmp_path / "no/vmlinux")
    forget()
    with pytest.raises(KernelSupportError, match=r"carries no type information: .*no/vmlinux does not exist") as caught:
        compile_cell(Cell(program()))
    assert "CONFIG_DEBUG_INFO_BTF" in caught.value.hint
    minimal = next(path for path in PROGRAMS if path.name == "minimal.bpf.c")
    assert compile_cell(read(minimal)).headers == "uapi"


def test_btf_that_may_not_be_read_says_so(forget, monkeypatch, tmp_path):
    monkeypatch.setattr(vmlinux, "KERNEL_BTF", tmp_path)
    forget()
    with pytest.raises(KernelSupportError, match="cannot read the kernel's type information"):
        compile_cell(Cell(program()))
