"""What a cell's text tells without a compiler; the expected names and lines are those that were typed here."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ebpflab.cell import Cell, Ring, read
from ebpflab.errors import CellError

HOOK = '\nSEC("raw_tp/sys_enter") int h(void *ctx) { return 0; }\n'

HASH_AND_CORE = """\
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#define BPF_HASHMAP(name) name
enum { BPF_HASH_SIZE = 8192 };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BPF_HASH_SIZE);
	__type(key, pid_t);
	__type(value, u64);
} BPF_HASHMAP(starts) SEC(".maps");
SEC("tp/sched/sched_process_exec")
int handle_exec(struct trace_event_raw_sched_process_exec *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	pid_t pid = BPF_CORE_READ(task, real_parent, tgid);
	u64 ts = bpf_ktime_get_ns();
	bpf_map_update_elem(&starts, &pid, &ts, BPF_ANY);
	return 0;
}
"""
PROBES = """\
#include "vmlinux.h"
#include <bpf/bpf_tracing.h>
SEC("kprobe/do_unlinkat")
int BPF_KPROBE(do_unlinkat, int dfd, struct filename *name) { return BPF_PROBE_READ(name, refcnt) > dfd; }
SEC("kretprobe/do_unlinkat")
int BPF_KRETPROBE(do_unlinkat_exit, long ret) { bpf_printk("ret %ld", ret); return 0; }
SEC("fentry/vfs_open")
int BPF_PROG(on_open, const struct path *path) { return 0; }
SEC("kprobe/tcp_connect")
int kprobe__tcp_connect(struct pt_regs *ctx) { return 0; }
SEC("tracepoint/syscalls/sys_enter_openat")
int tracepoint__syscalls__sys_enter_openat(struct trace_event_raw_sys_enter *ctx) { return 0; }
"""
XDP = """\
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>
struct bpf_map_def { int type; };
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1);
	__type(key, __u32); __type(value, __u64); } counts SEC(".maps");
struct stats { __u64 increment; } ; static void bump(struct stats *s) { s->increment += 1; }
SEC("xdp") int count(struct xdp_md *ctx) { return XDP_PASS; }
char _license[] SEC("license") = "Dual BSD/GPL";
"""
OWN_MACROS = """\
#define BPF_MAP(_name, _type, _key, _value, _max) \\
	struct { __uint(type, _type); __type(key, _key); __type(value, _value); \\
		__uint(max_entries, _max); } _name SEC(".maps");
#define BPF_HASH(_name, _key, _value) BPF_MAP(_name, BPF_MAP_TYPE_HASH, _key, _value, 1024)
BPF_HASH(counts, u32, u64)
SEC("raw_tp/sys_enter") int h(void *ctx) { return 0; }
"""


# --- Comments and strings ---------------------------------------------------------------------------------


def test_comments_become_blanks_of_the_same_shape():
    cell = Cell("int a; /* one\n  two */ int b; // three\nint c;")
    assert cell.code == "int a;       \n         int b;         \nint c;"


def test_a_comment_inside_a_string_is_text_and_a_quote_inside_a_comment_is_none():
    text = 'char *a = "/* no */ // no"; // it\'s "one\nchar q = \'"\'; int b; /* " */ int c;'
    assert Cell(text).code == (
        'char *a = "/* no */ // no";' + " " * 13 + "\nchar q = '\"'; int b;" + " " * 9 + "int c;"
    )


def test_a_line_comment_goes_on_behind_a_backslash():
    assert Cell('// one \\\nSEC("xdp") two\nint a;').sections == ()


@pytest.mark.parametrize(
    "hidden", ['/* SEC("tp/x") */', '// SEC("tp/x")', '/*\n * SEC("tp/x")\n', r'char *s = "SEC(\"tp/x\")";']
)
def test_a_section_in_a_comment_or_a_string_is_no_section(hidden):
    assert Cell(f"int a;\n{hidden}").sections == ()


PIECES = st.lists(
    st.one_of(
        st.tuples(
            st.just("comment"), st.text(st.sampled_from("ab \n\t\"'{};/é")).map(lambda t: f"/*{t.replace('*/', '')}*/")
        ),
        st.tuples(st.just("comment"), st.text(st.sampled_from("ab \t\"'{};*/é")).map(lambda t: f"//{t}\n")),
        st.tuples(st.just("string"), st.text(st.sampled_from("ab */{};'é")).map(lambda t: f'"{t}\\""')),
        st.tuples(st.just("string"), st.sampled_from(["'\"'", r"'\''", "'{'"])),
        st.tuples(st.just("code"), st.text(st.sampled_from("ab \n(){};*,"), min_size=1)),
    )
)


@given(PIECES)
def test_what_is_comment_and_what_is_not_is_told_apart_in_any_order(pieces):
    kept = "".join(re.sub(r"[^\n]", " ", t) if kind == "comment" else t for kind, t in pieces)
    assert Cell("x;" + "".join(t for _, t in pieces)).code == "x;" + kept


# --- Sections, includes, licence, locations ---------------------------------------------------------------


def test_sections_have_their_lines_and_data_sections_are_left_out():
    source = (
        '\nSEC("tp/a/b") int f(void *c) { return 0; }\nstruct { int x; } m SEC(".maps");\n'
        'char L[] SEC("license") = "GPL"; int v SEC(".data.mine"); int k SEC(".kconfig");\n'
        '/* \n */ SEC( "?fentry/x" )\nint g(void *c) { return 0; }  SEC("xdp") int h(void *c) { return 2; }'
    )
    assert Cell(source).sections == (("tp/a/b", 2), ("?fentry/x", 6), ("xdp", 7))


def test_a_licence_is_seen_unless_it_is_a_comment():
    assert Cell('char L[] SEC("license") = "GPL";').licensed
    assert not Cell('// char L[] SEC("license") = "GPL";' + HOOK).licensed


def test_includes_are_listed_as_written():
    source = '#include <vmlinux.h>\n  #  include\t"my own.h"\n// #include <no.h>\nint a; #include <no2.h>\n' + HOOK
    assert Cell(source).includes == ("vmlinux.h", "my own.h")


@pytest.mark.parametrize(
    ("includes", "headers"),
    [
        ("", "vmlinux"),
        ("#include <bpf/bpf_helpers.h>\n#include <bpf/usdt.bpf.h>", "vmlinux"),
        ('#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>', "vmlinux"),
        ('#include "../vmlinux/vmlinux.h"\n#include <errno.h>', "vmlinux"),
        ('#include "mine.h"', "vmlinux"),
        ("#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>", "uapi"),
        ("#include <stdint.h>", "uapi"),
        ("#include <stddef.h>\n#include <stdbool.h>", "vmlinux"),
        ("#include <stddef.h>\n#include <linux/bpf.h>", "uapi"),
        ("#include <net/if.h>", "uapi"),
        ("#include <arpa/inet.h>", "uapi"),
        ("// #include <linux/bpf.h>", "vmlinux"),
    ],
)
def test_kernel_headers_of_the_cell_keep_vmlinux_h_out(includes, headers):
    assert Cell(includes + HOOK).headers == headers


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_locations_count_lines_and_columns_from_one(end):
    cell = Cell(end.join(["int a;", "\tint bé = c;", ""]))
    where = cell.line_of(cell.source.index("c;"), 2)
    assert (where.line, where.column, where.length, where.text) == (2, 11, 2, "\tint bé = c;")
    assert [cell.line_of(i).line for i in range(len(cell.source))] == [
        cell.source.count("\n", 0, i) + 1 for i in range(len(cell.source))
    ]
    assert cell.location(99).text == ""


def test_windows_line_ends_change_nothing_that_is_read():
    unix, windows = Cell(HASH_AND_CORE), Cell(HASH_AND_CORE.replace("\n", "\r\n"))
    for name in ("sections", "includes", "headers", "defined", "struct_names", "typedef_names", "rings", "words"):
        assert getattr(unix, name) == getattr(windows, name), name


# --- Definitions --------------------------------------------------------------------------------------------


def test_structs_are_named_in_order_whatever_stands_around_the_name():
    source = """
    struct a { int x; };
    struct __attribute__((packed)) b { int x; };
    struct c { struct inner { int x; } i; union also { int y; } u; } __attribute__((aligned(8)));
    typedef struct d { int x; } d_t;
    union e { int x; }; struct f;  struct a *use(struct b *p) { return 0; }
    static const struct a table[] = { { 1 }, { 2 } };
    struct /* comment */ g
    {
        int x;
    } __packed;
    """
    assert Cell(source).struct_names == ("a", "b", "c", "inner", "d", "g")
    assert Cell(source).defined == {"a", "b", "c", "inner", "also", "d", "d_t", "e", "g"}


def test_a_struct_inside_a_function_is_not_at_file_level():
    function = 'SEC("xdp") int h(void *c) { struct local { int x; } l = {}; typedef int here; return 0; }'
    source = f"{function} struct after {{ int x; }};"
    assert (Cell(source).struct_names, Cell(source).typedef_names) == (("after",), ())
    assert Cell(source).defined == {"local", "here", "after"}


@pytest.mark.parametrize(
    ("typedef", "names"),
    [
        ("typedef unsigned int u32_t;", ("u32_t",)),
        ("typedef struct { int x; } event_t;", ("event_t",)),
        ("typedef struct a { struct { int y[3]; } in; } one, *two, three[4];", ("one", "two", "three")),
        ("typedef int *first, second;", ("first", "second")),
        ("typedef char comm_t[16];", ("comm_t",)),
        ("typedef int (*callback)(void *ctx, int (*other)(int));", ("callback",)),
        ("typedef int (*row)[4];", ("row",)),
        ("typedef int handler_t(int a, int b);", ("handler_t",)),
        ("typedef struct { int x; } __attribute__((packed)) tight_t;", ("tight_t",)),
        ("typedef struct { int x; } tight_t __attribute__((packed, aligned(4)));", ("tight_t",)),
        ("typedef __typeof__(int) same_t;", ("same_t",)),
        ("typedef enum { A, B } letter;", ("letter",)),
        ("typedef\nunsigned\nlong\nwide_t\n;", ("wide_t",)),
        ("int typedefs; // typedef int no;", ()),
    ],
)
def test_a_typedef_gives_the_names_that_c_gives_it(typedef, names):
    assert Cell(typedef + HOOK).typedef_names == names


def test_enumerators_are_names_of_the_cell_too():
    source = (
        "enum state { IDLE, BUSY = 1 << 2, /* NO, */ DONE, };\nenum { LONELY = sizeof(int) };\nenum wide : u64 { W };"
        + HOOK
    )
    assert Cell(source).defined == {"state", "IDLE", "BUSY", "DONE", "LONELY", "wide", "W"}


def test_braces_in_strings_and_in_macros_move_nothing():
    source = (
        "#define OPEN struct x {\n#define LONG(a) do { \\\n  a; \\\n\nstruct one { int a; };\n"
        "static char *s = \"{{{\"; static char c = '{';\nstruct two { int a; };"
    )
    assert Cell(source).struct_names == ("one", "two")


@given(st.lists(st.sampled_from(["struct a { int x; };", "}", "{", ";", "int f(void) {", "enum { A };"]), max_size=12))
def test_structs_are_found_however_the_braces_before_them_stand(pieces):
    cell = Cell("\n".join([*pieces, "struct sought { int x; };"]))
    assert "sought" in cell.defined


def test_words_are_the_identifiers_outside_comments():
    assert Cell("int a1 = b->c; /* d */ // e\n#define F G").words == {"int", "a1", "b", "c", "define", "F", "G"}


# --- Rings --------------------------------------------------------------------------------------------------


def test_ring_and_perf_buffers_are_found_typed_or_not():
    source = """
    struct event { int x; };
    struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __type(value, struct event); } typed SEC(".maps");
    struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } plain SEC(".maps");
    struct {
        __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); /* __type(value, struct event); */
        __uint(key_size, sizeof(u32));
    } perf SEC( ".maps" );
    struct { __uint(type, BPF_MAP_TYPE_HASH); __type(value, u64); } hash SEC(".maps");
    struct { __uint(type, BPF_MAP_TYPE_RINGBUF); } elsewhere SEC(".data.maps");
    struct outer { int x; } __attribute__((packed));
    struct ring_type { __uint(type, BPF_MAP_TYPE_RINGBUF); };
    // struct { __uint(type, BPF_MAP_TYPE_RINGBUF); } commented SEC(".maps");
    """
    assert Cell(source).rings == (Ring("typed", True), Ring("plain", False), Ring("perf", False))


def test_a_map_of_rings_is_not_a_ring_itself():
    inner = "struct { __uint(type, BPF_MAP_TYPE_RINGBUF); }"
    source = f'struct {{ __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS); __array(values, {inner}); }} outer SEC(".maps");'
    assert Cell(source).rings == ()


# --- Dialect ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("BPF_HASH(counts, u32, u64);", 1),
        ("  BPF_PERF_OUTPUT(events);", 3),
        ("BPF_RINGBUF_OUTPUT (events, 8);", 1),
        ("TRACEPOINT_PROBE(syscalls, sys_enter_openat) { return 0; }", 1),
        ("KFUNC_PROBE(vfs_open, struct path *p) { return 0; }", 1),
        ("int kprobe__sys_clone(void *ctx) { return 0; }", 5),
        ("int f(void *ctx) { events.perf_submit(ctx, 0, 0); return 0; }", 20),
        ("int f(void *ctx) { u32 k = 1; counts.increment(k); return 0; }", 31),
        ("int f(void *ctx) { u64 *n = counts.lookup(&zero); return 0; }", 29),
        ('int hello(void *ctx) { bpf_trace_printk("hello\\n"); return 0; }', 24),
        ("KMOD_RET(security_file_open, struct file *file) { return 0; }", 1),
        ("int syscall__execve(struct pt_regs *ctx) { return 0; }", 5),
        ("int tracepoint__sched__sched_switch(void *args) { return 0; }", 5),
        ("BPF_XSKMAP(sockets, 4);", 1),
        ("#include <bcc/proto.h>", 1),
        ("#include <uapi/linux/ptrace.h>", 1),
        ("int filter(struct __sk_buff *skb) { u8 *c = 0; return cursor_advance(c, 14) != 0; }", 55),
        ("int on_return(struct pt_regs *ctx) { return PT_REGS_RC(ctx) < 0; }", 45),
    ],
)
def test_bcc_is_known_by_its_macros_and_the_first_is_pointed_at(text, column):
    cell = Cell("#include <linux/sched.h>\n// BPF_HASH(no);\n" + text)
    assert cell.dialect == "bcc"
    assert (cell.bcc_mark.line, cell.bcc_mark.column, cell.bcc_mark.text) == (3, column, text)


@pytest.mark.parametrize("source", [HASH_AND_CORE, PROBES, XDP, OWN_MACROS, HOOK])
def test_an_ordinary_libbpf_program_is_not_taken_for_bcc(source):
    assert (Cell(source).bcc_mark, Cell(source).dialect) == (None, "libbpf")


def test_names_that_both_dialects_use_decide_nothing_behind_a_section():
    source = 'SEC("kprobe/vfs_read") int kprobe__vfs_read(void *c) { bpf_trace_printk("x", 2); return syscall__x(1); }'
    assert Cell(source).dialect == "libbpf"
    assert Cell('SEC("tp/a/b") int f(struct tracepoint__a__b *ctx) { return 0; }').dialect == "libbpf"


@pytest.mark.parametrize("mark", ["#include <uapi/linux/ptrace.h>\n", "int r(void *c) { return PT_REGS_RC(c); }\n"])
@pytest.mark.parametrize(
    "other",
    [
        'SEC("kprobe/vfs_read") int f(void *c) { return 0; }',
        'SEC(KPROBES "vfs_read") int f(void *c) { return 0; }',
        '__attribute__((section("kprobe/vfs_read"), used)) int f(void *c) { return 0; }',
        "#include <bpf/bpf_tracing.h>",
    ],
)
def test_what_bcc_programs_have_besides_their_macros_decides_only_where_nothing_speaks_of_libbpf(mark, other):
    assert Cell(mark + other).dialect == "libbpf"
    assert Cell("#include <linux/bpf.h>\n" + mark).dialect == "bcc"


def test_bcc_words_in_comments_and_strings_decide_nothing():
    source = 'int h(void *c) { bpf_printk("BPF_HASH(x) a.perf_submit("); return 0; } // BPF_TABLE(\n'
    assert Cell(source).dialect == "libbpf"


# --- What is no cell, and how long reading takes --------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " \n\t\r\n", "// only\n/* comments */", "/* that never ends\nint a;"])
def test_a_cell_without_code_is_refused_with_an_example(text):
    with pytest.raises(CellError, match="the cell is empty") as caught:
        Cell(text)
    assert "SEC(" in caught.value.hint


def test_a_nul_is_refused_at_its_place():
    with pytest.raises(CellError, match="NUL") as caught:
        Cell("int a;\nint \0b;")
    assert (caught.value.where.line, caught.value.where.column) == (2, 5)


def test_half_a_character_is_refused_at_its_line():
    with pytest.raises(CellError, match="surrogate") as caught:
        Cell("int a;\n// \ud83d\nint b;")
    assert caught.value.where.line == 2
    str(caught.value).encode()


def test_a_cell_is_a_value():
    assert Cell("int a;") == Cell("int a;", Path("x.c"))
    assert hash(Cell("int a;")) == hash(Cell("int a;"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Cell("int a;").source = "int b;"


def test_a_file_is_read_with_its_path_and_bytes_that_are_no_utf8_survive(tmp_path):
    path = tmp_path / "x.bpf.c"
    path.write_bytes(b"// caf\xe9\nint a;\n")
    cell = read(path)
    assert (cell.path, cell.words) == (path, {"int", "a"})
    assert cell.source.encode("utf-8", "surrogateescape") == path.read_bytes()
    assert read("int a;").path is None


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(CellError, match="No such file") as caught:
        read(tmp_path / "none.c")
    assert caught.value.hint
    with pytest.raises(CellError, match="Is a directory"):
        read(tmp_path)


READ_OFF = (
    "words",
    "includes",
    "sections",
    "licensed",
    "bcc_mark",
    "headers",
    "struct_names",
    "typedef_names",
    "defined",
    "rings",
)


def seconds_to_read(text):
    # The quickest of three: a collection of the whole suite's garbage may fall into one of them.
    return min(seconds_to_read_once(text) for _ in range(3))


def seconds_to_read_once(text):
    start = time.process_time()
    cell = Cell("x;" + text)
    for name in READ_OFF:
        getattr(cell, name)
    return time.process_time() - start


ADVERSARIES = {
    "open braces": "{" * 20_000,
    "closed braces": "} a " * 20_000,
    "open structs": "struct a {" * 5_000,
    "typedefs": "typedef " * 5_000,
    "typedefs of open structs": "typedef struct { struct { int a; } b; " * 3_000,
    "typedef and many braces": "typedef struct {" + "{{a}}{" * 8_000,
    "typedef lines that never end": "typedef int a\n" * 20_000,
    "typedef of open brackets": "typedef int a" + "[" * 20_000 + ";",
    "typedef of open parentheses": "typedef int " + "(*" * 20_000 + ";",
    "a comment that never ends": "/* " * 20_000,
    "comments that begin": "/ " * 20_000,
    "a string that never ends": '"' + '\\"' * 20_000,
    "strings over lines": '"abc\n' * 20_000,
    "quotes": '"' * 20_001,
    "attributes that never end": "struct a __attribute__((" * 5_000,
    "attributes in attributes": "struct a __attribute__((" + "(a)" * 10_000,
    "enums": "enum a " * 20_000,
    "enums with colons": "enum a : " * 20_000,
    "open enums": "enum {a," * 10_000,
    "maps without a beginning": '} a SEC(".maps")' * 5_000,
    "maps in maps": "struct { __uint(type, BPF_MAP_TYPE_RINGBUF);" * 3_000 + '} a SEC(".maps");' * 3_000,
    "sections that never end": "SEC(" + " " * 100_000,
    "blanks": " " * 200_000 + "x",
    "includes": "#include " * 10_000,
    "one word": "a" * 500_000,
    "members": "a." * 50_000,
    "probes": "kprobe__a" * 20_000,
    "continued lines": "// \\\n" * 20_000,
    "continued directives": "#define a \\\n" * 20_000,
}


@pytest.mark.parametrize("text", ADVERSARIES.values(), ids=ADVERSARIES)
def test_no_text_takes_long_to_read(text):
    assert seconds_to_read(text) < 0.5


def test_a_megabyte_of_c_is_read_in_half_a_second():
    text = "".join(f"/* nr {i} */\nstruct s{i} {{ int a; }} __packed;\n{HASH_AND_CORE}\n{PROBES}" for i in range(780))
    assert 900_000 < len(text) < 1_100_000
    assert min(seconds_to_read(text) for _ in range(3)) < 0.5


SNIPPETS = st.lists(
    st.sampled_from(
        [
            "struct",
            "union",
            "enum",
            "typedef",
            " a",
            "{",
            "}",
            ";",
            "(",
            ")",
            "((",
            "))",
            "[",
            "]",
            ",",
            "*",
            '"',
            "'",
            "\\",
            "/*",
            "*/",
            "//",
            "\n",
            "\r\n",
            " ",
            ":",
            "=",
            "__attribute__",
            "typeof",
            'SEC("tp/x")',
            'SEC(".maps")',
            "__uint(type, BPF_MAP_TYPE_RINGBUF)",
            "__type(value",
            "#define",
            "#include <a>",
            "BPF_HASH(",
            "é",
        ]
    ),
    max_size=60,
).map("".join)


@settings(max_examples=300)
@given(st.one_of(st.text(), SNIPPETS))
@example("\ud800")
@example("\0")
def test_any_text_is_a_cell_or_a_cell_error(text):
    with contextlib.suppress(CellError):
        read_everything(Cell(text), text)


def read_everything(cell, text):
    assert len(cell.code) == len(text)
    assert [i for i, c in enumerate(cell.code) if c == "\n"] == [i for i, c in enumerate(text) if c == "\n"]
    assert set(cell.struct_names) | set(cell.typedef_names) <= cell.defined
    for name in READ_OFF:
        getattr(cell, name)
    for section, line in cell.sections:
        assert f'"{section}' in "\n".join(text.split("\n")[line - 1 :])
