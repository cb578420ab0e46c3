"""What is said of the usual mistakes in cells of BCC's dialect: the cell's line, and nothing of BCC's own insides."""

from __future__ import annotations

import re

import pytest

import ebpflab
from ebpflab.bcc import library, lowering, process
from ebpflab.cell import Cell
from ebpflab.errors import CellError, CompileError, ToolMissingError, VerifierError

HEAD = """#include <uapi/linux/ptrace.h>
struct data_t { u32 pid; char comm[16]; };
BPF_HASH(counts, u32, u64);
BPF_PERF_OUTPUT(events);
"""


def probe(body, before=""):
    """A program whose body begins in line 7, or as many lines later as stand before it."""
    start = "int kprobe__vfs_read(struct pt_regs *ctx, struct file *file) {\n    u32 pid = 1; u64 one = 1;\n"
    return f"{HEAD}{before}{start}{body}\n    return 0;\n}}\n"


def traced(body):
    openat = "TRACEPOINT_PROBE(syscalls, sys_enter_openat) {\n    u32 k = args->dfd;\n    return 0;\n}\n"
    return f"{openat}TRACEPOINT_PROBE(syscalls, sys_enter_close) {{\n{body}\n    return 0;\n}}\n"


# The cell; the line and the column of the error; words of it, and of what to do.
MISTAKES = {
    "an unknown name": (probe("    pid = nonsense;"), 7, 11, "undeclared identifier 'nonsense'", None),
    "an unknown name in a method": (probe("    counts.increment(nonsense);"), 7, 22, "'nonsense'", None),
    "a table's name misspelt": (probe("    count.increment(pid);"), 7, 5, "did you mean 'counts'", None),
    "another table's method": (
        probe("    counts.perf_submit(ctx, &pid, 4);"), 7, 12, "the table counts has no method perf_submit",
        "belongs to BPF_PERF_OUTPUT; BPF_HASH has lookup",
    ),
    "a method misspelt": (
        probe("    counts.incremnt(pid);"), 7, 12,
        "has no method incremnt", "did you mean increment",
    ),
    "no semicolon": (probe("    pid = 2\n    one = 3;"), 7, 12, "expected ';'", "a ';' is missing"),
    "no semicolon in a macro": (
        probe("    COUNT(pid);",
              "#define COUNT(x) do { \\\n    u64 y = (x) \\\n    counts.increment(y); \\\n} while (0)\n"),
        11, 5, "expected ';'", "a ';' is missing",
    ),
    "a struct that the kernel has not": (
        probe("    struct nothing_here *p = (void *)file;\n    pid = p->pid;"), 8, 12,
        "incomplete definition of type 'struct nothing_here'", "%bpf type nothing_here",
    ),
    "a member that a struct has not": (
        probe("    pid = file->f_nothing;"), 7, 17,
        "'f_nothing' in 'struct file'", "%bpf type",
    ),
    "a field that a tracepoint has not": (
        traced("    u32 k = args->nofield;"), 6, 19,
        "no member named 'nofield'", "%bpf format syscalls:sys_enter_close lists its fields",
    ),
    "a mistake behind two tracepoints": (traced("    u64 k = nonsense;"), 6, 13, "'nonsense'", None),
    "too few arguments of a method": (
        probe("    events.perf_submit(ctx, &pid);"), 7, 33, "too few arguments",
        "events.perf_submit(ctx, &data, sizeof(data))",
    ),
    "too few arguments of a helper": (probe("    bpf_get_current_comm(&one);"), 7, 30, "too few arguments", None),
    "a function of the C library": (probe('    printf("x");'), 7, 5, "'printf'", "kernel: use bpf_trace_printk()"),
    "a function that is no program": (
        probe("    pid = helper(3);", "int helper(int x) { return x + 1; }\n"),
        8, 11, "non-static", "write static inline",
    ),
    "a key of another type": (
        probe("    struct data_t d = {};\n    counts.increment(d);"), 8, 22, "incompatible type 'u32'",
        "counts.increment() takes u32 there, as BPF_HASH in line 3 says",
    ),
    "a key type that comes later": (
        probe("    struct key_t k = {};", "BPF_HASH(other, struct key_t);\n"), 5, 1,
        "struct key_t", None,
    ),
    "too many arguments of a table": (
        probe("    pid = 2;", "BPF_HASH(x, u32, u64, 10, 20);\n"), 5, 27,
        "expected identifier", "value=u64, size=10240",
    ),
    "too few arguments of a table": (
        probe("    pid = 2;", "BPF_STACK_TRACE(x);\n"), 5, 18,
        "too few arguments", "BPF_STACK_TRACE(name, size)",
    ),
    "a table declared twice": (
        probe("    pid = 2;", "BPF_HASH(counts, u32);\n"), 5, 1,
        "1 error: the table counts is declared twice", "another name",
    ),
    "a header that is not there": (
        '#include "mine.h"\n' + probe("    pid = 2;"), 1, 10,
        "'mine.h' file not found", "beside the notebook",
    ),
    "a brace that is not closed": (probe("    if (pid) {\n        one = 2;"), 10, 2, "expected '}'", None),
    "a large variable": (
        probe("    char big[600] = {};\n    bpf_probe_read_kernel(big, 600, file);\n    counts.increment(big[pid]);"),
        7, 10,
        "stack limit of 512 bytes", "big[600] (line 7)",
    ),
    "a pointer that was never set": (
        probe("    struct data_t *d;\n    d->pid = 5;\n    events.perf_submit(ctx, d, sizeof(*d));"), 8, 5,
        "clang left nothing of kprobe__vfs_read: it uses d, which was never set",
        "declare struct data_t d = {}; and write d.pid for d->pid and &d for d",
    ),
    "a pointer that was never set, in a probe of a tracepoint": (
        "TRACEPOINT_PROBE(syscalls, sys_enter_close) {\n    return 0;\n}\n"
        "TRACEPOINT_PROBE(syscalls, sys_enter_openat) {\n    int *n;\n    *n = 5;\n    return 0;\n}\n", 6, 6,
        "clang left nothing of tracepoint__syscalls__sys_enter_openat", "n points nowhere",
    ),
    "a table's macro misspelt": (
        probe("    pid = 2;", "BPF_HAHS(others, u32, u64);\n"), 5, 1, "BPF_HAHS is unknown", "did you mean BPF_HASH?",
    ),
    "a buffer's macro misspelt": (
        probe("    other.perf_submit(ctx, &pid, 4);", "BPF_PERF_OUPUT(other);\n"), 5, 1,
        "BPF_PERF_OUPUT is unknown", "did you mean BPF_PERF_OUTPUT?",
    ),
    "a probe's macro misspelt": (
        probe("    pid = 2;") + "TRACEPOINT_PROB(syscalls, sys_enter_openat)\n{\n    return args->dfd;\n}\n", 10, 1,
        "TRACEPOINT_PROB is unknown", "did you mean TRACEPOINT_PROBE?",
    ),
    "a mistake in a macro that is known to BCC's header only": (
        probe("    pid = 2;", 'BPF_TABLE_PUBLIC("hash", u32, u64, other, nonsense);\n'), 5, 43,
        "nonsense", None,
    ),
    "a number of pages that is no power of two": (
        probe("    ring.ringbuf_output(&pid, 4, 0);", "BPF_RINGBUF_OUTPUT(ring, 7);\n"), 5, 1,
        "the kernel refuses the table ring: Invalid argument",
        "the second number is a count of pages, and has to be a power of two: 8",
    ),
    "a table without entries": (
        probe("    pid = 2;", "BPF_HASH(none, u32, u64, 0);\n"), 5, 1,
        "the kernel refuses the table none: Invalid argument", "it is written BPF_HASH(name, key=u64",
    ),
    "a misspelt helper": (
        probe("    pid = bpf_get_current_pid_tid();"), 7, 11,
        "bpf_get_current_pid_tid", "did you mean bpf_get_current_pid_tgid",
    ),
    "a misspelt helper beside a method": (
        probe("    pid = bpf_get_current_pid_tid(); counts.increment(pid);"), 7, 11,
        "bpf_get_current_pid_tid", "did you mean bpf_get_current_pid_tgid",
    ),
    "the context of a tracepoint by another name": (
        traced("    u32 k = ctx->fd;"), 6, 13, "undeclared identifier 'ctx'", "BCC calls it args: args->fd",
    ),
    "a table as an array that counts": (
        probe("    counts[pid] += 1;"), 7, 11, "not an array", "counts.increment(pid)",
    ),
    "a table as an array that counts more": (
        probe("    counts[pid] += 3;"), 7, 11, "not an array", "counts.increment(pid, 3)",
    ),
    "a table as an array that is set": (
        probe("    counts[pid] = one;"), 7, 11, "not an array", "counts.update(&pid, &value)",
    ),
    "a table as an array that is read": (
        probe("    one = counts[pid];"), 7, 17, "not an array", "counts.lookup(&pid)",
    ),
    "too much to print": (
        probe('    bpf_trace_printk("%d %d %d %d", 1, 2, 3, 4);'), 7, None,
        "too many arguments to bpf_trace_printk", "three values",
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def bcc():
    try:
        library.find_libbcc()
    except ToolMissingError as error:
        pytest.skip(str(error))
    yield
    process.close()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_has_the_line_of_the_cell_and_what_to_do(mistake, capfd):
    text, line, column, what, hint = MISTAKES[mistake]
    with pytest.raises(CompileError) as caught:
        ebpflab.load(text, attach=False, engine="bcc")
    error = caught.value
    assert (error.where.line, error.where.column) == (line, column)
    assert error.where.text == text.split("\n")[line - 1]
    assert what in error.what
    assert hint is None or hint in error.hint
    assert re.findall(r"/virtual|_table_t|____btf|main\.c|Constant<", str(error)) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("body", "line", "what"),
    [
        (
            "    struct data_t d = {};\n    counts.lookup(&d);",
            8,
            "incompatible pointer types passing 'struct data_t *'",
        ),
        (
            '    bpf_trace_printk("%d %d %d", pid, pid, pid);\n    counts.update(&one, &one);',
            8,
            "incompatible pointer types",
        ),
    ],
)
def test_a_key_that_the_table_reads_as_another_type_is_a_warning(load, body, line, what):
    for _ in range(2):  # compiled, and from the cache
        session = load(probe(body), attach=False)
        (warning,) = session.warnings
        assert (warning.where.line, what in warning.message) == (line, True)


def test_a_plain_cell_has_no_warnings(load):
    session = load(probe("    counts.increment(pid);\n    one = file->f_inode->i_ino;"), attach=False)
    assert session.warnings == ()


def test_a_cell_without_a_function_is_answered_in_bcc_s_words(load):
    with pytest.raises(CellError) as caught:
        load("BPF_HASH(counts, u32, u64);")
    assert "TRACEPOINT_PROBE(syscalls, sys_enter_openat)" in caught.value.hint
    assert "SEC(" not in str(caught.value)


def test_a_key_by_value_that_the_verifier_refuses_is_answered_in_bcc_s_words(load):
    with pytest.raises(VerifierError) as caught:
        load(probe("    u64 *v = counts.lookup(pid);\n    if (v) one = *v;"))
    assert (caught.value.where.line, caught.value.hint) == (
        7,
        "counts.lookup() takes an address: counts.lookup(&pid)",
    )


HELLO = """int hello(void *ctx) {
    bpf_trace_printk("hello\\n");
    return 0;
}
"""


def test_a_function_that_nothing_attaches_is_told_below_the_cell(load):
    shown = repr(load(HELLO))
    hint = "add --attach hello=kprobe:FUNCTION or --attach hello=tracepoint:CATEGORY:EVENT"
    assert f"hello: nothing says where to attach it, so it never runs: {hint}" in shown
    assert "bpf_trace_printk writes to" in shown


@pytest.mark.parametrize("options", [{"attach": False}, {"targets": {"hello": "tracepoint:sched:sched_switch"}}])
def test_nothing_is_told_of_a_function_that_is_attached_or_was_not_to_be(load, options):
    assert "nothing says where" not in repr(load(HELLO, **options))


def test_a_function_that_another_one_calls_through_an_array_is_not_told_of(load):
    calls = "BPF_PROG_ARRAY(others, 2);\nTRACEPOINT_PROBE(sched, sched_switch) {\n    others.call(args, 0);\n"
    assert "nothing says where" not in repr(load(f"{calls}    return 0;\n}}\n{HELLO}"))


def test_the_kind_of_a_function_that_waits_is_in_the_option_that_is_told(load):
    shown = repr(load("int pass(struct xdp_md *ctx) {\n    return XDP_PASS;\n}\n", engine="bcc"))
    assert "add --attach pass=xdp:" in shown


def test_a_function_that_clang_leaves_nothing_of_is_told_with_real_headers_too():
    text = "int on_read(void *ctx)\n{\n\tint *n;\n\t*n = 5;\n\treturn 0;\n}\n"
    cell = Cell(text)
    with pytest.raises(CompileError, match="nothing of on_read: it uses n, which was never set") as caught:
        lowering.run(f'#line 1 "cell"\n{text}', ["-Wno-uninitialized"], "v1", cell, {})
    assert caught.value.where.line == 4
