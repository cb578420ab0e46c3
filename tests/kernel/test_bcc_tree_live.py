"""Programs of BCC's dialect, rewritten with nothing but the running kernel's BTF, in processes that may die."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcc_corpus
import pytest

from ebpflab.bcc import declarations, library, process, rewriter, tree
from ebpflab.bcc.rewriter import RewriteError, rewrite
from ebpflab.cell import Cell
from ebpflab.errors import KernelSupportError, ToolMissingError
from ebpflab.inspectors.tracefs import events

COUNTS = """
#include <uapi/linux/ptrace.h>
struct data_t { u32 pid; u64 ts; char comm[16]; };
BPF_PERF_OUTPUT(events);
BPF_HASH(counts, u32, u64, 4093);
BPF_RINGBUF_OUTPUT(ring, 8);
TRACEPOINT_PROBE(syscalls, sys_enter_openat) {
    struct data_t d = {};
    d.pid = bpf_get_current_pid_tgid() >> 32;
    counts.increment(d.pid);
    events.perf_submit(args, &d, sizeof(d));
    ring.ringbuf_output(&d, sizeof(d), 0);
    return 0;
}
int kprobe__vfs_read(struct pt_regs *ctx, struct file *file) {
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    u32 parent = task->real_parent->tgid;
    counts.increment(parent);
    return 0;
}
"""
# An address space that the BPF back end knows nothing of: LLVM gives up and aborts.
ABORTS = """
#define __far __attribute__((address_space(256)))
struct a { __far int *p; };
int f(struct a *c) { int *q = (int *)c->p; return *q; }
"""


@pytest.fixture(autouse=True)
def bcc():
    try:
        library.find_libbcc()
    except ToolMissingError as error:
        pytest.skip(str(error))
    yield
    process.close()


def test_a_program_comes_out_as_plain_c_with_its_tables_and_the_types_of_its_records():
    made = rewrite(COUNTS)
    assert made.functions == ("kprobe__vfs_read", "tracepoint__syscalls__sys_enter_openat")
    events, counts, ring = made.tables  # as they stand in the program
    assert [(t.name, t.type, t.key_size, t.leaf_size) for t in made.tables] == [
        ("events", 4, 4, 4),
        ("counts", 1, 4, 8),
        ("ring", 27, 0, 0),
    ]
    assert (counts.max_entries, ring.max_entries) == (4093, 8 * os.sysconf("SC_PAGE_SIZE"))
    assert events.fields == ring.fields == ("pid#u32", "ts#u64", "comm#char[16]")
    assert (counts.key_desc, counts.leaf_desc, counts.fields) == ('"unsigned int"', '"unsigned long long"', ())
    assert (made.license, made.log, made.headers) == ("GPL", "", "subset")
    assert "counts.increment" not in made.text
    assert "bpf_map_lookup_elem_(bpf_pseudo_fd(1, -2)" in made.text
    assert made.text.count("bpf_probe_read(") == 2  # task->real_parent, and its ->tgid
    assert made.text.startswith("\n#include <uapi/linux/ptrace.h>\nstruct data_t {")
    assert "footer" not in made.text


def test_a_function_gets_a_line_before_it_and_one_behind_its_brace_and_all_else_stays():
    made = rewrite("\n\nstruct s { int a; };\nint f(void *ctx) { return 0; }\n")
    lines = [
        "",
        "",
        "struct s { int a; };",
        '__attribute__((section(".bpf.fn.f")))',
        "int f(void *ctx) {",
        " return 0; }",
    ]
    assert made.text.split("\n")[:6] == lines


def test_it_makes_no_difference_that_bcc_sees_a_short_list_of_symbols(monkeypatch):
    monkeypatch.setattr(process, "_symbols", lambda: Path("/nonexistent"))
    whole = rewrite(COUNTS)
    process.close()
    monkeypatch.undo()
    assert rewrite(COUNTS) == whole


def test_the_types_are_confirmed_by_the_compiler_or_not_used():
    declarations._confirm('struct s { int a; };\n_Static_assert(sizeof(struct s) == 4, "struct s");\n')
    with pytest.raises(KernelSupportError, match="cannot be written in C exactly") as caught:
        declarations._confirm('struct s { int a; };\n_Static_assert(sizeof(struct s) == 8, "struct s");\n')
    assert "struct s" in caught.value.details[0]


def test_a_member_stands_where_the_kernel_has_it(tmp_path):
    """The offsets of the text that a program gets, beside those that bpftool reads from the kernel."""
    program = Cell("int f(struct task_struct *t, struct inode *i, struct sock *s) { return t->real_parent->tgid; }")
    made = tree.write(tmp_path / "tree", program)
    dumped = subprocess.run(
        ["bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux"], capture_output=True, text=True, check=True
    ).stdout
    lines = []
    for tag, members in (
        ("task_struct", ("real_parent", "tgid")),
        ("inode", ("i_size", "i_data")),
        ("sock", ("sk_rcvbuf",)),
    ):
        block = dumped.partition(f" STRUCT '{tag}' ")[2].partition("\n[")[0]
        for member in members:
            bits = int(block.partition(f"'{member}' ")[2].partition("bits_offset=")[2].split()[0])
            lines.append(f'_Static_assert(__builtin_offsetof(struct {tag}, {member}) * 8 == {bits}, "{tag}");')
        size = int(block.partition("size=")[2].split()[0])
        lines.append(f'_Static_assert(sizeof(struct {tag}) == {size}, "{tag}");')
    declarations._confirm(made.before + "\n".join(lines))
    assert len(lines) == 8


def test_a_program_s_own_struct_of_a_kernel_s_name_is_its_own():
    text = """
    struct mnt_namespace { u64 first; };
    enum zone_type { ZONE_MINE = 5 };
    BPF_HASH(counts, struct mnt_namespace);
    int f(struct pt_regs *ctx) {
        struct task_struct *task = (struct task_struct *)bpf_get_current_task();
        struct mnt_namespace mine = { .first = (u64)task->nsproxy->mnt_ns + ZONE_MINE };
        counts.increment(mine);
        return 0;
    }
    """
    made = rewrite(text)
    assert made.tables[0].key_size == 8
    assert made.headers == "subset"


def test_a_type_that_only_the_preprocessor_names_is_found_among_all():
    made = rewrite("#define KERNELS(x) struct x##_struct\nint f(void *c) { return sizeof(KERNELS(mm)) > 8; }")
    assert made.headers == "whole"


def test_headers_of_the_program_s_own_are_read_and_any_of_the_kernel_s_may_be_named(tmp_path):
    (tmp_path / "mine.h").write_text('#include "deeper.h"\n#include <linux/nothing/of/the/kind.h>\n')
    (tmp_path / "deeper.h").write_text("#define PARENT(t) t->real_parent\n")
    text = (
        '#include "mine.h"\n#include <net/sock.h>\n'
        "int f(struct pt_regs *c) { struct task_struct *t = (void *)8; return PARENT(t)->tgid; }"
    )
    assert rewrite(text, local=[tmp_path]).functions == ("f",)
    with pytest.raises(RewriteError, match=r"'mine.h' file not found"):
        rewrite(text)


def test_what_lies_in_the_working_directory_is_not_taken_for_a_header(tmp_path, monkeypatch):
    (tmp_path / "linux").mkdir()
    (tmp_path / "linux" / "sched.h").write_text("#error this is no header of the kernel\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vmlinux.h").write_text("struct task_struct { int of_another_kernel; };\n")
    text = '#include <linux/sched.h>\n#include "vmlinux.h"\nint f(void *c) { return sizeof(struct task_struct); }'
    assert rewrite(text).functions == rewrite(text, local=[tmp_path]).functions == ("f",)
    assert Path.cwd() == tmp_path


def test_options_reach_the_compiler():
    text = "int f(void *c) { return ANSWER; }"
    assert rewrite(text, ["-DANSWER=42"]).functions == ("f",)
    with pytest.raises(RewriteError, match="undeclared identifier 'ANSWER'"):
        rewrite(text)


def test_real_headers_are_used_where_they_are_asked_for(tmp_path):
    made = tree.write(tmp_path / "tree", Cell(COUNTS))
    assert rewrite(COUNTS, headers=made.root).headers == str(made.root)


def test_an_error_has_every_message_with_its_place():
    with pytest.raises(RewriteError) as caught:
        rewrite("int f(void *c) {\n    return nonsense;\n}\nint g(void *c) { return missing(7); }\n")
    assert caught.value.what == "use of undeclared identifier 'nonsense'"
    assert "/virtual/main.c:2:12: error: use of undeclared identifier 'nonsense'" in caught.value.log
    assert "/virtual/main.c:4:25: error: implicit declaration of function 'missing'" in caught.value.log
    assert "return nonsense" in caught.value.log
    assert len(caught.value.details) == 2
    assert "bcc/footer" not in caught.value.log


def test_ten_thousand_wrong_lines_are_a_short_error(capfd):
    with pytest.raises(RewriteError) as caught:
        rewrite("int f(void *c) {\n" + "".join(f"    nonsense{n}();\n" for n in range(10_007)) + "    return 0;\n}\n")
    assert len(str(caught.value)) < 2000
    assert caught.value.log.count("error: ") >= 19
    assert capfd.readouterr() == ("", "")


def test_a_compiler_that_aborts_is_an_error_and_the_next_program_is_served(capfd):
    with pytest.raises(RewriteError, match=r"BCC's compiler crashed \(SIG\w+\), in a process of its own") as caught:
        rewrite(ABORTS)
    assert "Cannot select" in caught.value.log
    assert rewrite(COUNTS).functions[0] == "kprobe__vfs_read"
    assert capfd.readouterr() == ("", "")


def test_a_library_that_cannot_be_loaded_is_a_missing_tool(tmp_path, monkeypatch):
    false = tmp_path / "libbcc.so.0"
    false.write_bytes(library.find_libbcc().read_bytes()[:100])
    monkeypatch.setenv("EBPFLAB_LIBBCC", str(false))
    with pytest.raises(ToolMissingError, match="cannot be loaded") as caught:
        rewrite(COUNTS, headers=tmp_path)
    assert str(false) in caught.value.details[0]


def test_a_compiler_that_does_not_end_is_stopped(monkeypatch):
    monkeypatch.setattr(rewriter, "_TIMEOUT", 0.001)
    with pytest.raises(RewriteError, match="did not come to an end"):
        rewrite(COUNTS)


def test_eight_programs_at_once_get_each_its_own():
    folder = Path.cwd()
    texts = [f"BPF_ARRAY(a{n}, u64, {n + 3});\nint f{n}(void *c) {{ return 0; }}" for n in range(7)] + [ABORTS]
    seen: list[Path] = []

    def one(text):
        try:
            return rewrite(text)
        except RewriteError as error:
            return error
        finally:
            seen.append(Path.cwd())

    with ThreadPoolExecutor(8) as pool:
        *made, refused = pool.map(one, texts)
    assert [m.functions for m in made] == [(f"f{n}",) for n in range(7)]
    assert [m.tables[0].max_entries for m in made] == [n + 3 for n in range(7)]
    assert isinstance(refused, RewriteError)
    assert seen == [folder] * 8


def children(pid):
    return [int(p) for task in Path(f"/proc/{pid}/task").iterdir() for p in (task / "children").read_text().split()]


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_the_child_that_waits_ends_with_its_parent_however_that_ends():
    code = (
        "import time; from ebpflab.bcc.rewriter import rewrite\n"
        "rewrite('int f(void *c) { return 0; }')\nprint('done', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "done\n"
        (waiting,) = children(parent.pid)
        folder = Path(f"/proc/{waiting}/cwd").readlink()
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        deadline = time.monotonic() + 10
        while not gone(waiting) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert gone(waiting)
    assert not folder.parent.exists()


def test_without_the_right_to_make_maps_that_is_what_the_error_says():
    code = (
        "from ebpflab.bcc.rewriter import rewrite\nfrom ebpflab.errors import PrivilegeError\n"
        "try:\n    rewrite('BPF_HASH(h, u32); int f(void *c) { return 0; }')\n"
        "except PrivilegeError as error:\n    print(error.cause, error.what)"
    )
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.startswith("CAP_BPF the kernel does not let this process make maps"), done.stderr
    assert done.stderr == ""


def test_the_list_of_symbols_stays_whole_for_everybody_else():
    rewrite(COUNTS)
    with Path("/proc/kallsyms").open() as file:
        assert sum(1 for _ in file) > 10_007
    assert "kallsyms" not in Path("/proc/self/mountinfo").read_text()
    assert {thread.name for thread in threading.enumerate()} <= {"MainThread", "clang", "bcc"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    reason = bcc_corpus.missing()
    if reason:
        pytest.skip(reason)
    found = bcc_corpus.texts(
        bcc_corpus.fetch(tmp_path_factory.mktemp("tools")), every="EBPFLAB_BCC_CORPUS" in os.environ
    )
    assert len({text.tool for text in found}) > 97
    return found


def test_of_the_programs_that_bcc_s_tools_carry_98_in_100_compile(corpus):
    """One program of each tool; all that the tools can make, some 400, with EBPFLAB_BCC_CORPUS set: three minutes."""
    refused = []
    for text in corpus:
        try:
            rewrite(text.text, text.cflags)
        except RewriteError as error:
            refused.append((text.tool, text.arguments, error.what))
    assert len(refused) <= 0.02 * len(corpus), refused


def test_a_probe_at_any_tracepoint_compiles():
    """23 of them; all of them, some 2,300, with EBPFLAB_BCC_CORPUS set: six minutes."""
    names = events() if "EBPFLAB_BCC_CORPUS" in os.environ else random.Random(7).sample(events(), 23)
    refused = []
    for name in names:
        category, _, event = name.partition(":")
        made = rewrite(f"TRACEPOINT_PROBE({category}, {event}) {{ return 0; }}")
        if f"struct tracepoint__{category}__{event} {{" not in made.text or made.headers != "subset":
            refused.append(name)
    assert refused == []
