"""What BCC's rewriter makes of a program becomes C for libbpf: sections, maps, types of records, lines of the cell."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflab.bcc import held, hooks, lines, maps, messages, slots
from ebpflab.bcc.hooks import Hook, hook
from ebpflab.bcc.rewriter import RewriteError, Table
from ebpflab.bcc.signature import Signature
from ebpflab.cell import Cell
from ebpflab.errors import AttachError, CellError, Diagnostic, Location

# A program, and what libbcc 0.26 printed of it.
CELL = """\
#include <uapi/linux/ptrace.h>
struct data_t { u32 pid; };
BPF_PERF_OUTPUT(events);
BPF_HASH(counts, u32);
TRACEPOINT_PROBE(syscalls, sys_enter_close) {
    struct data_t d = {};
    counts.increment(
        d.pid);
    events.perf_submit(args, &d,
        sizeof(d));
    return 0;
}
int plain(struct pt_regs *ctx) { return 0; }
"""
REWRITTEN = """\
#include <uapi/linux/ptrace.h>
struct data_t { u32 pid; };
BPF_PERF_OUTPUT(events);
BPF_HASH(counts, u32);
struct tracepoint__syscalls__sys_enter_close {
	u64 __do_not_use__;
	int __syscall_nr;
};
__attribute__((section(".bpf.fn.tracepoint__syscalls__sys_enter_close")))
TRACEPOINT_PROBE(syscalls, sys_enter_close) {

    struct data_t d = {};
    ({ typeof(counts.key) _key = d.pid; bpf_map_lookup_elem_(bpf_pseudo_fd(1, -2), &_key); });
    bpf_perf_event_output(args, (void *)bpf_pseudo_fd(1, -1), CUR_CPU_IDENTIFIER, &d, sizeof(d));
    return 0;
}
__attribute__((section(".bpf.fn.plain")))
int plain(struct pt_regs *ctx) {
 return 0; }
"""


def table(name: str, number: int, **more: object) -> Table:
    facts = {"key_desc": "", "leaf_desc": "", "key_size": 4, "leaf_size": 4, "max_entries": 8, "flags": 0, "fields": ()}
    return Table(name=name, type=number, **{**facts, **more})  # type: ignore[arg-type]


TABLES = (table("events", 4, fields=("pid#u32",)), table("counts", 1))


def takes(context: str, body: str = "{ return 0; }", own: bool = False) -> Signature:
    return Signature(context, body, own)


def test_every_line_of_the_program_is_found_in_what_bcc_made_of_it() -> None:
    found = lines.align(CELL, REWRITTEN)
    by_text = dict(zip(REWRITTEN.split("\n"), found, strict=True))
    assert by_text["    struct data_t d = {};"] == 6
    assert by_text["    return 0;"] == 11
    assert by_text["TRACEPOINT_PROBE(syscalls, sys_enter_close) {"] == 5
    assert next(line for text, line in by_text.items() if "typeof(counts.key)" in text) in (7, 8)
    assert next(line for text, line in by_text.items() if "perf_event_output" in text) in (9, 10)
    assert by_text["int plain(struct pt_regs *ctx) {"] == by_text[" return 0; }"] == 13
    assert found == sorted(found)


def test_the_compiler_is_told_where_the_lines_do_not_go_on() -> None:
    text = lines.numbered(REWRITTEN, lines.align(CELL, REWRITTEN), "cell")
    seen, at = {}, 0
    for line in text.split("\n"):
        if told := re.fullmatch(r'#line (\d+) "cell"', line):
            at = int(told[1])
        else:
            seen[line] = at
            at += 1
    assert seen["    struct data_t d = {};"] == 6
    assert seen["    return 0;"] == 11
    assert seen["int plain(struct pt_regs *ctx) {"] == 13


def test_a_line_number_never_stands_in_a_comment_a_call_or_behind_a_backslash() -> None:
    text = "#define A(x) \\\n  x\nint a; /* one\ntwo */ int b;\nint f(void) { g(1,\n  2); }\nint c;"
    told = lines.numbered(text, [9, 5, 20, 30, 40, 50, 60], "cell").split("\n")
    assert [told[told.index(f'#line {n} "cell"') + 1] for n in (9, 20, 40, 60)] == [
        "#define A(x) \\",
        "int a; /* one",
        "int f(void) { g(1,",
        "int c;",
    ]
    assert not {f'#line {n} "cell"' for n in (5, 30, 50)} & set(told)


@given(
    st.lists(st.sampled_from(["int a;", "}", "", "f(x);", "struct s {", "/*", "*/", '"', "#if 1"]), max_size=12),
    st.data(),
)
def test_any_text_has_a_line_for_each_line(source: list[str], data: st.DataObject) -> None:
    made = data.draw(st.permutations(source))
    found = lines.align("\n".join(source), "\n".join(made))
    assert len(found) == len("\n".join(made).split("\n"))
    assert all(1 <= line <= max(len(source), 1) for line in found)
    told = lines.numbered("\n".join(made), found, "cell")
    assert [line for line in told.split("\n") if not line.startswith("#line")] == "\n".join(made).split("\n")


@pytest.mark.parametrize(
    ("function", "context", "expected"),
    [
        ("kprobe__vfs_read", "struct pt_regs", Hook("kprobe/vfs_read")),
        ("kprobe__sys_clone", "void", Hook("ksyscall/clone")),
        ("kretprobe__sys_clone", "void", Hook("kretsyscall/clone")),
        ("kretprobe__vfs_read", "struct pt_regs", Hook("kretprobe/vfs_read")),
        ("raw_tracepoint__sys_enter", "struct bpf_raw_tracepoint_args", Hook("raw_tp/sys_enter")),
        ("tracepoint__nothing__of_the_kind", "x", Hook("tp/nothing/of_the_kind")),
        ("kfunc__vfs_read", "unsigned long long", Hook("fentry/vfs_read")),
        ("kretfunc__vfs_read", "unsigned long long", Hook("fexit/vfs_read")),
        ("kmod_ret__security_file_open", "unsigned long long", Hook("fmod_ret/security_file_open")),
        ("lsm__bpf", "unsigned long long", Hook("lsm/bpf")),
        ("bpf_iter__task", "struct bpf_iter__task", Hook("iter/task")),
        ("count", "struct pt_regs", Hook("kprobe", waits=True)),
        ("count", "struct xdp_md", Hook("xdp", waits=True)),
        ("count", "struct __sk_buff", Hook("socket", waits=True)),
        ("count", "struct bpf_perf_event_data", Hook("perf_event", waits=True)),
        ("count", "struct urandom_read_args", Hook("tp", waits=True)),
        ("count", "struct bpf_iter__task", Hook("iter/task")),
        ("syscall__ret_of_nothing", "struct pt_regs", Hook("kprobe", waits=True)),
    ],
)
def test_a_function_has_the_section_that_its_name_or_its_context_says(
    function: str, context: str, expected: Hook
) -> None:
    assert hook(function, takes(context, own=context == "struct urandom_read_args")) == expected


def test_a_classifier_is_told_from_a_filter_and_a_usdt_probe_from_a_kprobe() -> None:
    assert hook("f", takes("struct __sk_buff", "{ return TC_ACT_OK; }")).section == "tc"
    assert hook("f", takes("struct pt_regs", "{ _bpf_readarg_f_1(ctx, &x, 8); }")).section == "usdt"


@pytest.mark.parametrize(
    ("context", "wanted", "expected"),
    [
        ("struct pt_regs", "kprobe:vfs_read", Hook("kprobe", "vfs_read")),
        ("struct pt_regs", "vfs_read", Hook("kprobe", "vfs_read")),
        ("struct pt_regs", "kprobe:vfs_*", Hook("kprobe.multi", "vfs_*")),
        ("struct pt_regs", "kretprobe:vfs_*", Hook("kretprobe.multi", "vfs_*")),
        ("void", "kprobe:/^vfs_(read|write)$/", Hook("kprobe.multi", "/^vfs_(read|write)$/")),
        ("void", "uprobe:/lib/x.so:/^a{1,2}/,pid=7", Hook("uprobe.multi", "/lib/x.so:/^a{1,2}/,pid=7")),
        ("void", "tp:/sched:.*/", Hook("tp", "/sched:.*/")),
        ("struct bpf_sock_addr", "cgroup/bind4:/", Hook("cgroup/bind4", "/")),
        ("struct bpf_sock_addr", "cgroup/bind4", Hook("cgroup/bind4", waits=True)),
        ("struct __sk_buff", "sched_cls:eth0", Hook("tc", "eth0")),
        ("struct __sk_buff", "socket:fd:7", Hook("socket", "fd:7")),
        ("struct __sk_buff", "fd:7", Hook("socket", "fd:7")),
        ("struct bpf_sock_ops", "sock_ops:/", Hook("sockops", "/")),
        ("struct bpf_perf_event_data", "cpu-clock,freq=99", Hook("perf_event", "cpu-clock,freq=99")),
        ("struct pt_regs", "uprobe:/lib/libc.so.6:malloc", Hook("uprobe", "/lib/libc.so.6:malloc")),
        ("struct pt_regs", "uretprobe:libc.so.6:mall*", Hook("uretprobe.multi", "libc.so.6:mall*")),
        ("struct pt_regs", "usdt:/bin/x:lab:fired,pid=7", Hook("usdt", "/bin/x:lab:fired,pid=7")),
        ("struct pt_regs", "nf_conntrack:nf_conntrack_in", Hook("kprobe", "nf_conntrack:nf_conntrack_in")),
        ("struct args", "tracepoint:sched:sched_switch", Hook("tp", "sched:sched_switch")),
        ("struct xdp_md", "eth0,mode=generic", Hook("xdp", "eth0,mode=generic")),
        ("struct xdp_md", "xdp:eth0", Hook("xdp", "eth0")),
        ("struct __sk_buff", "tc:eth0,direction=egress", Hook("tc", "eth0,direction=egress")),
        ("struct __sk_buff", "cgroup_skb/ingress:/", Hook("cgroup_skb/ingress", "/")),
        ("struct bpf_perf_event_data", "perf_event:cpu-clock,freq=99", Hook("perf_event", "cpu-clock,freq=99")),
    ],
)
def test_the_user_says_where_a_function_belongs(
    monkeypatch: pytest.MonkeyPatch, context: str, wanted: str, expected: Hook
) -> None:
    monkeypatch.setattr(hooks, "facility", lambda _: "")
    assert hook("f", takes(context), wanted) == expected
    monkeypatch.setattr(hooks, "facility", lambda kind: f"this kernel has no {kind}")
    assert hook("f", takes(context), wanted).section == expected.section.removesuffix(".multi")


@pytest.mark.parametrize(
    ("section", "target", "expected"),
    [
        ("kprobe", "vfs_read", ("kprobe", "vfs_read")),
        ("kprobe", None, ("kprobe", None)),
        ("kprobe/vfs_read", "kretprobe:vfs_read", ("kretprobe", "vfs_read")),
        ("kprobe", "uprobe:libc.so.6:malloc", ("uprobe", "libc.so.6:malloc")),
        ("kprobe", "nf_conntrack:nf_conntrack_in", ("kprobe", "nf_conntrack:nf_conntrack_in")),
        ("uprobe", "usdt:/bin/x:lab:fired", ("usdt", "/bin/x:lab:fired")),
        ("tp/sched/sched_switch", "tp:sched:sched_wakeup", ("tp/sched/sched_switch", "sched:sched_wakeup")),
        ("xdp", "xdp:eth0,mode=generic", ("xdp", "eth0,mode=generic")),
        ("socket", "socket_filter:lo", ("socket", "lo")),
    ],
)
def test_what_a_loaded_program_is_attached_as(section: str, target: str | None, expected: tuple[str, str]) -> None:
    assert hooks.later("f", section, target) == expected


@pytest.mark.parametrize(
    ("section", "target"), [("kprobe", "xdp:lo"), ("socket", "tc:lo"), ("kprobe.multi", "uprobe:x:y")]
)
def test_what_the_kernel_took_for_one_kind_does_not_become_another(section: str, target: str) -> None:
    with pytest.raises(AttachError, match="which cannot become") as caught:
        hooks.later("f", section, target)
    assert f"--attach f={target}" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("context", "wanted", "what", "hint"),
    [
        ("struct bpf_sock_addr", None, "nothing says what kind", "cgroup/connect4"),
        ("struct bpf_sockopt", "/", "nothing says what kind", "cgroup/getsockopt"),
        ("struct pt_regs", "xdp:lo", "is given struct xdp_md", "kprobe"),
        ("struct xdp_md", "tp:sched:sched_switch", "takes struct xdp_md", "xdp"),
        ("struct __sk_buff", "xdp:lo", "is given struct xdp_md", "tc"),
    ],
)
def test_a_kind_has_to_be_known_and_to_fit(context: str, wanted: str | None, what: str, hint: str) -> None:
    with pytest.raises(CellError, match=what) as caught:
        hook("f", takes(context), wanted)
    assert hint in str(caught.value.hint)


def test_the_end_of_a_program_keeps_its_lines_however_many_are_alike() -> None:
    old = "a\nb\n" + "x\n" * 5 + "end"
    new = "a\ninserted\nb\n" + "x\n" * 5 + "end"
    assert lines.align(old, new) == [1, 2, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("wanted", ["kprobe:", "uprob:/lib/libc.so.6:malloc"])
def test_half_a_place_is_an_error(wanted: str) -> None:
    with pytest.raises(CellError, match="--attach f="):
        hook("f", takes("struct pt_regs"), wanted)


def test_every_kind_of_the_table_is_a_section() -> None:
    assert all(hooks._is_kind(kind) for kind in hooks._all_kinds() if kind not in hooks._KINDS)


def test_numbers_of_tables_become_addresses_of_maps() -> None:
    text = maps.addressed(REWRITTEN, TABLES)
    assert "bpf_map_lookup_elem_(((u64)&counts), &_key)" in text
    assert "bpf_perf_event_output(args, &events, CUR_CPU_IDENTIFIER" in text
    assert "typeof(ebpflab_types_of_counts.key)" in text
    assert "pseudo" not in text


HELD = """
#define T(n) BPF_HASH(n, u32, u64)
T(first);
BPF_ARRAY(inner, u64, 3);
BPF_ARRAY_OF_MAPS(outer, "inner", 7); /* BPF_HASH_OF_MAPS(none, int, "nothing", 7); */
T(last);
"""
HOLDING = (table("first", 1), table("outer", 12), table("last", 1), table("inner", 2))  # as BCC makes the maps


def test_a_map_that_another_holds_has_the_number_that_bcc_says() -> None:
    asking = held.asking(HELD)
    assert asking.startswith(HELD)
    assert re.findall(r"return (\w+)\.lookup", asking) == ["inner"]
    said = asking.replace("inner.lookup((void *)0)", "bpf_map_lookup_elem((void *)bpf_pseudo_fd(1, -2), (void *)0)")
    text, tables = held.numbered(HOLDING, said.replace("\nstatic", "\n__attribute__((always_inline))\nstatic"), HELD)
    assert text == HELD
    assert [t.name for t in tables] == ["first", "inner", "outer", "last"]


def test_the_number_of_a_map_that_another_holds_is_not_guessed() -> None:
    with pytest.raises(CellError, match="inner, which a map of maps holds, cannot be told"):
        held.numbered(HOLDING, HELD, HELD)
    with pytest.raises(CellError, match="does not name the map"):
        held.numbered((table("outer", 12),), "", "BPF_ARRAY_OF_MAPS(outer, NAME, 7);")
    nothing = 'int x; // BPF_ARRAY_OF_MAPS(outer, "inner", 7);'
    assert held.asking(nothing) == nothing


def test_a_map_may_be_held_before_it_is_declared() -> None:
    text = maps.definitions(HOLDING, HELD)
    assert "__array(values, struct ebpflab_map_inner)" in text
    assert "#define ebpflab_define_inner struct ebpflab_map_inner {" in text
    assert "#define ebpflab_define_first struct { " in text


@pytest.mark.parametrize(
    ("declaration", "what"),
    [
        ('BPF_TABLE_PINNED("hash", u32, u64, counts, 7, "/sys/fs/bpf/counts");', "pinned"),
        ('BPF_TABLE("hash:/sys/fs/bpf/counts", u32, u64, counts, 7);', "pinned"),
        ('BPF_XSKMAP(sockets, 4, "/sys/fs/bpf/sockets");', "pinned"),
        ('BPF_TABLE("extern", u32, u64, counts, 7);', "another program"),
    ],
)
def test_a_table_that_outlives_its_program_or_belongs_to_another_is_refused(declaration: str, what: str) -> None:
    with pytest.raises(CellError, match=what) as caught:
        maps.check(Cell(f"int x;\n{declaration}"))
    assert caught.value.where is not None
    assert caught.value.where.line == 2


@pytest.mark.parametrize("declaration", ["BPF_XSKMAP(sockets, 4);", 'BPF_TABLE("array_of_maps$a", int, int, b, 7);'])
def test_plain_tables_are_not(declaration: str) -> None:
    maps.check(Cell(declaration))


def test_definitions_have_the_numbers_that_bcc_gives() -> None:
    listed = (
        table("trie", 11, flags=1, max_entries=13),
        table("queue", 22),
        table("local", 29, max_entries=0, flags=1),
    )
    text = maps.definitions(listed, "")
    assert "__uint(type, 11); __uint(max_entries, 13); __uint(map_flags, 1);" in text
    assert "queue" in text
    assert "ebpflab_types_of_queue.key" not in text
    assert "max_entries" not in text.split("\n")[2]


COUNTING = """
struct key_t { u32 pid; u64 slot; };
#define COUNT(v) macro.atomic_increment(v)
#define SLOT(x) bpf_log2l((x) / 1000)
static u64 slot_of(u64 x) { u64 y = x / 10; return bpf_log2l(y);
}
static void count(u64 slot) { parameter.increment(slot); }
int f(void *ctx) {
  u64 delta = 3, slot = bpf_log2l(delta), copy = slot;
  call.increment(bpf_log2l(delta / 1000)); half.increment(bpf_log2(delta)); number.increment(delta);
  variable.increment(copy);
  struct key_t key = {.pid = 1, .slot = slot}; initialised.increment(key);
  struct key_t other = {}; other.slot = bpf_log2(delta); other.pid = 7;
  u64 zero = 0, *val = member.lookup_or_try_init(&other, &zero);
  COUNT(bpf_log2l(delta)); count(slot); count(bpf_log2l(delta + 1));
  hash.increment(bpf_log2l(delta)); expanded.increment(SLOT(delta)); returned.increment(slot_of(delta));
  other.slot = delta / 10; overwritten.increment(other);
  both.increment(slot); both.increment(delta); plain.increment(delta);
}
"""
LOG2L = ("call", "variable", "initialised", "macro", "parameter", "hash", "expanded", "returned")


def test_what_a_table_counts_is_followed_to_where_it_was_computed() -> None:
    expected = {
        **dict.fromkeys(LOG2L, slots.LOG2L),
        **dict.fromkeys(("half", "member"), slots.LOG2),
        **dict.fromkeys(("number", "overwritten", "both", "unused"), slots.LINEAR),
    }
    listed = [table(name, 2, leaf_desc='"unsigned long long"') for name in (*expected, "plain")]
    declared = "".join(f"BPF_HISTOGRAM({name});" for name in expected if name != "hash")
    text = f"BPF_HASH(hash); BPF_HASH(plain); {declared}{COUNTING}"
    assert slots.types(listed, text) == expected
    written = maps.definitions(listed, text)
    assert written.count("__type(value, bcc_log2_t)") == len(LOG2L)
    assert "__type(value, typeof(ebpflab_types_of_plain.leaf))" in written


def test_an_array_of_counters_is_told_from_a_buffer_by_its_type() -> None:
    text = maps.definitions(
        (table("counter", 4), table("events", 4)), "BPF_PERF_ARRAY(counter, 8); BPF_PERF_OUTPUT(events);"
    )
    counter, events, _ = text.split("\n")
    assert "__type(value, struct bpf_perf_event_value)" in counter
    assert "__type(value" not in events


def test_the_helpers_of_bcc_keep_no_variable_for_a_table() -> None:
    text = maps.helpers(
        '__attribute__((section("maps/hash"))) \\\nstruct _name##_table_t _name = { .flags = (_flags) }; \\\n'
    )
    assert (
        "static struct _name##_table_t ebpflab_types_of_##_name = { .flags = (_flags) }; ebpflab_define_##_name" in text
    )


def test_messages_of_the_code_generator_are_brought_back_to_the_cell() -> None:
    at = REWRITTEN.split("\n").index("    return 0;") + 1
    error = RewriteError("x", log=f"/virtual/main.c:{at}:5: error: cannot be compiled\n")
    error.rewritten, error.generated = REWRITTEN, len(error.log)
    better = messages.explained(error, Cell(CELL))
    assert better.where == Location(11, 5, "    return 0;", 6)


def test_messages_of_the_parser_are_about_the_text_with_the_structs_of_tracepoints() -> None:
    parsed = CELL.replace(
        "TRACEPOINT_PROBE", REWRITTEN[REWRITTEN.index("struct tracepoint__") : REWRITTEN.index("__attr")]
    )
    at = parsed.split("\n").index("    struct data_t d = {};") + 1
    for line, expected in ((2, 2), (at, 6), (at - 2, 5), (at + 8, 14)):
        error = RewriteError("x", log=f"/virtual/main.c:{line}:5: error: cannot be parsed\n")
        error.rewritten = REWRITTEN
        found = messages.explained(error, Cell(CELL)).where
        assert found is not None
        assert found.line == expected


def test_a_place_that_the_code_generator_puts_behind_the_word_is_read() -> None:
    at = REWRITTEN.split("\n").index("    return 0;") + 1
    log = f"error: /virtual/main.c:{at}:5: in function f i32 (%struct.pt_regs*): stack limit of 512 bytes\n"
    error = RewriteError("x", log=log)
    error.rewritten, error.generated = REWRITTEN, len(log)
    better = messages.explained(error, Cell(CELL))
    assert better.where == Location(11, 5, "    return 0;", 6)
    assert better.what == "1 error: in function f: stack limit of 512 bytes"


def test_a_column_in_a_line_that_bcc_changed_is_left_out() -> None:
    found = [Diagnostic("warning", "x", Location(7, 3, "text")), Diagnostic("warning", "y", Location(8, 3, "text"))]
    assert [d.where.column for d in messages.without_columns(found, frozenset({7})) if d.where] == [None, 3]
