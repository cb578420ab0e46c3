"""What beginners write: each mistake is named, shown in its line, and answered with what to do."""

import pytest

import ebpflab
from ebpflab.errors import CellError, CompileError, EbpflabError, HookNotFoundError, VerifierError
from ebpflab.inspectors.tracefs import tracefs_root

OPEN = 'SEC("tp/syscalls/sys_enter_openat")\nint on_open(void *ctx)\n{\n'
MAP = (
    "struct {\n\t__uint(type, BPF_MAP_TYPE_HASH);\n\t__uint(max_entries, 10);\n\t__type(key, u32);\n"
    '\t__type(value, u64);\n} counts SEC(".maps");\n'
)
# The mistake, what is raised, the line of the cell, and words of the answer.
MISTAKES = {
    "no section": ("int on_open(void *ctx) { return 0; }", CellError, None, "put a section before a function"),
    "a misspelt section": (OPEN.replace("tp/", "tracepint/") + "return 0; }", HookNotFoundError, 1, "tracepoint"),
    "an argument too few": (
        OPEN + "\tchar comm[16];\n\tbpf_get_current_comm(comm);\n\treturn 0;\n}",
        CompileError,
        5,
        "it is declared long bpf_get_current_comm(void *buf, __u32 size_of_buf)",
    ),
    "an argument too many": (
        OPEN + "\treturn bpf_ktime_get_ns(1 + (2 * 3));\n}",
        CompileError,
        4,
        "it is declared __u64 bpf_ktime_get_ns(void)",
    ),
    "a map without its address": (
        MAP + OPEN + "\tu32 key = 0;\n\treturn bpf_map_lookup_elem(counts, &key) != 0;\n}",
        CompileError,
        11,
        "write & before its name",
    ),
    "a key without its address": (
        MAP + OPEN + "\tu32 key = 0;\n\treturn bpf_map_lookup_elem(&counts, key) != 0;\n}",
        VerifierError,
        11,
        "clang warned here: incompatible integer to pointer conversion",
    ),
    "a struct too large for the stack": (
        "struct big { char path[1024]; int n; };\n"
        + OPEN
        + '\tstruct big b = {};\n\tbpf_get_current_comm(b.path, 16);\n\tbpf_printk("%s", b.path);\n\treturn b.n;\n}',
        CompileError,
        3,
        "move b (line 5) into a BPF_MAP_TYPE_PERCPU_ARRAY map",
    ),
    "an array too large for the stack": (
        OPEN + '\tchar path[600];\n\tbpf_get_current_comm(path, 600);\n\tbpf_printk("%s", path);\n\treturn 0;\n}',
        CompileError,
        2,
        "move path[600] (line 4)",
    ),
    "a misspelt helper": (OPEN + "\treturn bpf_ktime_get_nss();\n}", CompileError, 4, "did you mean bpf_ktime_get_ns"),
    "a function of the C library": (
        OPEN + '\tchar b[8] = "abc";\n\treturn strlen(b);\n}',
        CompileError,
        5,
        "there is no C library in the kernel",
    ),
    "BCC's map in libbpf's C": (
        "BPF_HASH(counts, u32);\n" + OPEN + "\treturn 0;\n}",
        CellError,
        2,
        "the cell mixes two dialects: line 1 is BCC's C",
    ),
    "a format in a variable": (
        OPEN + '\tchar *name = "abc";\n\tbpf_printk(name);\n\treturn 0;\n}',
        CompileError,
        5,
        'bpf_printk("%s", text)',
    ),
    "an open quote": (OPEN.replace('openat")', "openat)") + "\treturn 0;\n}", CompileError, 1, "closing quote"),
    "Python": ("def on_open(ctx):\n    return 0", CompileError, 1, "a %%bpf cell holds C"),
    "a pointer that was never set": (
        "struct event { u32 pid; };\n"
        + OPEN
        + "\tstruct event *e;\n\te->pid = 5;\n\treturn bpf_get_current_comm(e, 4);\n}",
        CompileError,
        6,
        "declare struct event e = {}; and write e.pid for e->pid and &e for e",
    ),
    "one of two that has nothing left": (
        OPEN.replace("on_open", "other") + "\treturn 0;\n}\n" + OPEN + "\tint *n;\n\t*n = 5;\n\treturn 0;\n}",
        CompileError,
        10,
        "clang left nothing of on_open: it uses n, which was never set",
    ),
    "a pointer that is NULL": (
        OPEN + "\tint *n = 0;\n\t*n = 5;\n\treturn 0;\n}",
        CompileError,
        2,
        "look for a pointer that is NULL",
    ),
    "SEC misspelt": (OPEN.replace("SEC", "SCE") + "\treturn 0;\n}", CompileError, 1, "did you mean SEC?"),
    "SEC of a map misspelt": (
        MAP.replace("SEC", "SCE") + OPEN + "\treturn 0;\n}",
        CompileError,
        6,
        "SCE is unknown",
    ),
    "BPF_PROG misspelt": (
        'SEC("fentry/vfs_read")\nint BPF_PORG(on_read, struct file *file)\n{\n\treturn 0;\n}',
        CompileError,
        2,
        "did you mean BPF_PROG?",
    ),
    "BCC's probe misspelt": (
        "TRACEPOINT_PROB(syscalls, sys_enter_openat)\n{\n\treturn args->dfd;\n}",
        CompileError,
        1,
        "did you mean TRACEPOINT_PROBE?",
    ),
    "a field that a tracepoint has not": (
        OPEN.replace("void", "struct tracepoint__syscalls__sys_enter_openat") + "\treturn ctx->fildes;\n}",
        CompileError,
        4,
        "%bpf format syscalls:sys_enter_openat lists its fields",
    ),
    "bpftrace's language": (
        "tracepoint:syscalls:sys_enter_openat { @[comm] = count(); }",
        CellError,
        1,
        "begin the cell with %%bpftrace NAME",
    ),
    "bpftrace's language with a filter": (
        "// reads\nkprobe:vfs_read /pid == 1/ {\n @ = count();\n}",
        CellError,
        2,
        "%%bpftrace",
    ),
    "bpftrace's BEGIN": ('BEGIN { printf("x"); }', CellError, 1, "%%bpftrace"),
    "several of bpftrace's probes": (
        "kprobe:vfs_read,\nkprobe:vfs_write\n{ @ = count(); }",
        CellError,
        1,
        "%%bpftrace",
    ),
    "a licence that forbids": (
        'char LICENSE[] SEC("license") = "Proprietary";\n' + OPEN + '\tbpf_printk("x");\n\treturn 0;\n}',
        VerifierError,
        5,
        '"GPL"',
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_beginners_mistake_is_named_where_it_is_and_answered(mistake):
    source, kind, line, words = MISTAKES[mistake]
    with pytest.raises(EbpflabError) as caught:
        ebpflab.load(source, attach=False)
    assert type(caught.value) is kind
    assert (caught.value.where and caught.value.where.line) == line
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) < 15


def test_bcc_s_dialect_under_the_other_engine_is_told(load):
    with pytest.raises(CellError, match="leave out --engine libbpf"):
        load("BPF_HASH(counts, u32);\nTRACEPOINT_PROBE(syscalls, sys_enter_openat) { return 0; }", engine="libbpf")


def test_a_function_that_nothing_runs_is_a_warning_of_the_session(load):
    unused = "int on_close(void *ctx)\n{\n\treturn 0;\n}\nint called(int x)\n{\n\treturn x;\n}\n"
    session = load(unused + OPEN + "\treturn called(3);\n}", attach=False)
    (warning,) = session.warnings
    assert warning.message == "on_close() has no SEC(...): nothing runs it"
    assert (warning.where.line, warning.where.text) == (1, "int on_close(void *ctx)")
    assert "nothing runs it" in repr(session)


def test_a_function_whose_section_is_in_a_macro_is_no_warning(load):
    session = load(
        '#define ON SEC("tp/syscalls/sys_enter_getppid") int\nON f(void *ctx) { return 0; }\n' + OPEN + "\treturn 0;\n}"
    )
    assert session.warnings == ()
    assert "f" in session.programs["name"].tolist()


def test_fields_and_labels_that_look_like_bpftrace_s_probes_are_c(load):
    flags = "struct flags {\n\tu32 usdt:1,\n\titer:2,\n\ttest:3;\n};\n"
    body = "\tu32 n = bpf_ktime_get_ns();\n\tif (n)\n\t\tgoto profile;\n\tn = 1;\nprofile:\n\treturn n;\n}"
    assert load(f"{flags}{OPEN}{body}", attach=False).state == "loaded"


def test_where_bpf_printk_writes_is_told_below_the_cell(load):
    session = load(OPEN + '\tbpf_printk("x");\n\treturn 0;\n}', attach=False)
    assert f"bpf_printk writes to {tracefs_root()}/trace_pipe" in repr(session)
    assert "trace_pipe" not in repr(load(OPEN + "\treturn 0; /* bpf_printk */\n}", attach=False))


def test_the_macros_that_are_named_after_uprobes_are_there_whatever_the_age_of_libbpf(load):
    enter = 'SEC("uprobe/libc.so.6:getppid") int BPF_UPROBE(on_call, long first) { return first & 1; }\n'
    leave = 'SEC("uretprobe/libc.so.6:getppid") int BPF_URETPROBE(on_return, long got) { return got & 1; }\n'
    session = load(enter + leave, attach=False)
    assert session.programs["name"].tolist() == ["on_call", "on_return"]
