"""What stands at the cursor of a cell, and what the cell declares: from its text alone, without a kernel."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflab.authoring import Notebook, complete, completing, is_cell, place_at
from ebpflab.authoring.lexer import Code, tokens_of
from ebpflab.authoring.names import stems
from ebpflab.authoring.source import CType, read
from ebpflab.errors import KernelSupportError

CELL = """\
%%bpf opens --for 10s
#define LIMIT(x) (x)
enum state { IDLE, BUSY = 3 };
typedef struct { u64 total; } totals;
struct event { ktime_t ts; u32 pid, tgid; char comm[16]; struct { int a; } inner; union { u64 raw; u32 half; }; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16); __type(value, struct event); } events SEC(".maps");
const volatile u32 only = 0;
u64 seen = 0, lost;
char LICENSE[] SEC("license") = "GPL";
static __always_inline int helper(struct file *file, void (*call)(int)) { return 0; }
SEC("tp/syscalls/sys_enter_openat")
int on_open(struct tracepoint__syscalls__sys_enter_openat *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	for (int i = 0; i < 3; i++) { u32 inner = 1; }
	HERE
}
SEC("fentry/vfs_read")
int BPF_PROG(on_read, struct file *file, char *buf)
{
	return 0;
}
"""  # noqa: E501


def at(piece, cell=CELL):
    """The place of the bar in a piece of code, put into a cell."""
    text = cell.replace("HERE", piece)
    offset = text.index("|")
    return place_at(text.replace("|", "", 1), offset)


@pytest.mark.parametrize(
    ("piece", "kind", "fragment"),
    [
        ("ctx->|", "member", ""),
        ("ctx->fil|", "member", "fil"),
        ("ctx->fil|ename", "member", "fil"),
        ("ctx -> /* x */ fil|", "member", "fil"),
        ("e->inner.|", "member", ""),
        ("a[3].b|", "member", "b"),
        ("f(x)->|", "member", ""),
        ("struct ta|", "tag", "ta"),
        ("enum |", "tag", ""),
        ("bpf_map_lookup_elem(&ev|", "map", "ev"),
        ("x = a & b|", "word", "b"),
        ("bpf_get|", "word", "bpf_get"),
        ("|", "word", ""),
        ("return |", "word", ""),
        ("// ctx->|", "nothing", ""),
        ("/* ctx->| */", "nothing", ""),
        ("/* x */|", "word", ""),
        ('bpf_printk("ctx->|")', "nothing", ""),
        ('bpf_printk("%d", x|)', "word", "x"),
        ("'a|'", "nothing", ""),
        ("x = 0x1f|", "nothing", ""),
        ("x = 1.|", "nothing", ""),
        ("struct event x = { .|", "member", ""),
        ("f(.|", "nothing", ""),
        ("#inc|", "directive", "inc"),
        ("#include <bpf/|", "include", "bpf/"),
        ("#define X only|", "word", "only"),
    ],
)
def test_what_stands_at_the_cursor_is_told_by_the_text(piece, kind, fragment):
    place = at(piece)
    assert (place.kind, place.fragment) == (kind, fragment)


@pytest.mark.parametrize(
    ("cell", "kind", "fragment"),
    [
        ('%%bpf x\nSEC("tp/sys|', "section", "tp/sys"),
        ('%%bpf x\nSEC("tp/sys|calls/sys_enter_openat")\nint f(void *ctx) {}', "section", "tp/sys"),
        ('%%bpf x\nSEC( "|")', "section", ""),
        ('%%bpf x\nSEC("xdp")|', "word", ""),
        ("%%bpf --fo|", "line", " --fo"),
        ("%%bpf |\nint x;", "line", " "),
        ("\n%%bpf x |\nint x;", "line", " x "),
        ("%bpf hoo|", "command", "hoo"),
        ("x = 1\ny = %bpf format sched:|\nz = 2", "command", "format sched:"),
    ],
)
def test_sections_and_the_lines_of_the_magics_are_places_too(cell, kind, fragment):
    offset = cell.index("|")
    place = place_at(cell.replace("|", ""), offset)
    assert (place.kind, place.fragment) == (kind, fragment)


@pytest.mark.parametrize("cell", ["x = ctx.", "%%bpftrace x\nctx->", "%%bpf", "print('%bpf x')", "%bpf", ""])
def test_other_cells_are_left_to_python(cell):
    assert place_at(cell, len(cell)) is None


def test_a_cell_of_the_magic_is_one_whose_first_word_it_is():
    assert is_cell("%%bpf")
    assert is_cell("%%bpf\nint x;")
    assert is_cell("\n%%bpf opens --for 1s\nint x;")
    assert not is_cell("%%bpftrace x")
    assert not is_cell("x\n%%bpf")


def test_the_function_its_section_and_its_variables_are_known_at_the_cursor():
    place = at("u64 *p, q = 7; |")
    assert place.function.name == "on_open"
    assert place.section == "tp/syscalls/sys_enter_openat"
    assert {"ctx", "e", "p", "q", "only", "seen", "lost"} <= set(place.variables)
    assert place.variables["ctx"].type == CType("struct tracepoint__syscalls__sys_enter_openat", 1)
    assert place.variables["p"].type == CType("u64", 1)
    assert place.variables["q"].type == CType("u64", 0)
    assert "file" not in place.variables


@pytest.mark.parametrize(
    ("code", "type_"),
    [
        ("{ struct file *a; } |", "struct task_struct"),
        ("{ struct file *a; |", "struct file"),
        ("{ { int x; } struct file *a; |", "struct file"),
        ("if (x) { struct file *a; } else { |", "struct task_struct"),
        ("x = ({ struct file *a; a; }); |", "struct task_struct"),
        ("for (struct file *a = 0; a;) { int x; } |", "struct task_struct"),
        ("for (struct file *a = 0; a;) { int x; |", "struct file"),
        ("for (struct file *a = 0; |", "struct file"),
        ("if (x) for (struct file *a = 0; a;) { } |", "struct task_struct"),
        ("struct file *a = { 0 }; { int x; } |", "struct file"),
    ],
)
def test_a_block_that_has_ended_declares_nothing_any_more(code, type_):
    place = at(code, "%%bpf\nint f(struct task_struct *a) { HERE\n}")
    assert place.variables["a"].type == CType(type_, 1)


def test_the_variables_of_a_loop_are_known_in_it_alone():
    assert {"i", "inner"} <= set(at("for (int i = 0; i < 3; i++) { u32 inner = 1; |").variables)
    assert not {"i", "inner"} & set(at("|").variables)


def test_what_is_declared_after_the_cursor_is_not_known_yet():
    assert "later" not in at("|; int later;").variables


@pytest.mark.parametrize(
    "broken",
    [
        "ctx->|",
        "if (ctx->|",
        "if (x) { ctx->|",
        "f(a, b[ctx->|",
        "for (int k = 0; ctx->|",
        "x = (struct event){ ctx->|",
    ],
)
def test_what_is_not_closed_does_not_swallow_the_next_program(broken):
    cell = CELL.replace("HERE\n}", broken).replace("return 0;\n}\n", "return 0;\n}\n", 1)
    place = place_at(cell.replace("|", "", 1), cell.index("|"))
    assert place.function.name == "on_open"
    assert [(p.name, p.section) for p in place.source.programs] == [
        ("on_open", "tp/syscalls/sys_enter_openat"),
        ("on_read", "fentry/vfs_read"),
    ]
    assert [p.name for p in place.source.programs[1].parameters] == ["file", "buf"]


@pytest.mark.parametrize("before", ["struct x { int a; }", "u32 count = 7", "enum e { A }", "struct x", "u32 count"])
def test_a_missing_semicolon_does_not_hide_the_program_behind_it(before):
    source = read(f'{before}\nSEC("xdp")\nint f(struct xdp_md *ctx) {{ return 0; }}')
    assert [(p.name, p.section) for p in source.programs] == [("f", "xdp")]
    assert "count" not in before or "count" in source.variables


def test_the_head_of_a_program_has_its_section_before_it_has_a_body():
    cell = '%%bpf\nSEC("xdp")\nint f(struct |'
    place = place_at(cell.replace("|", ""), cell.index("|"))
    assert (place.kind, place.section) == ("tag", "xdp")


def test_a_cell_s_declarations_are_read():
    source = read(CELL.replace("HERE", "").partition("\n")[2])
    assert [m.name for m in source.structs["struct event"]] == ["ts", "pid", "tgid", "comm", "inner", "raw", "half"]
    types = {m.name: m.type for m in source.structs["struct event"]}
    assert types["comm"] == CType("char", 1)
    assert [m.name for m in source.structs[types["inner"].base]] == ["a"]
    assert [m.name for m in source.structs[source.typedefs["totals"].base]] == ["total"]
    assert source.maps["events"].settings["type"] == "BPF_MAP_TYPE_RINGBUF"
    assert source.maps["events"].settings["max_entries"].replace(" ", "") == "1<<16"
    assert source.maps["events"].types == {"value": CType("struct event", 0)}
    assert source.enumerators == {"IDLE": "enum state", "BUSY": "enum state"}
    assert source.macros == {"LIMIT": "(x)"}
    assert {name for name, d in source.variables.items() if d.constant} == {"only"}
    assert [(f.name, f.section, f.head) for f in source.functions] == [
        ("helper", "", ""),
        ("on_open", "tp/syscalls/sys_enter_openat", ""),
        ("on_read", "fentry/vfs_read", "BPF_PROG"),
    ]


def test_a_macro_that_stands_for_a_struct_is_a_type():
    source = read("#define T struct task_struct\n#define P  union  u * // x\n#define F(x) struct file\n#define N 7\n")
    assert source.typedefs == {"T": CType("struct task_struct", 0), "P": CType("union u", 1)}
    assert set(source.macros) == {"T", "P", "F", "N"}


def test_the_call_at_the_cursor_and_its_argument_are_known():
    call = at("f(1, g(2, 3), (struct x *)y, BPF_CORE_READ(t, mm, |").call
    assert (call.name, call.number) == ("BPF_CORE_READ", 2)
    assert at("f(1); |").call is None


@pytest.mark.parametrize(
    ("text", "opened", "closed"),
    [("f(a)", "(", ")"), ("f(a;", "(", ";"), ("{ f(a }", "(", "}"), ('{ x SEC("xdp")', "{", "SEC"), ("[(a]", "(", "]")],
)
def test_an_unclosed_bracket_ends_where_something_around_it_does(text, opened, closed):
    code = Code(tokens_of(text))
    begin = next(i for i, token in enumerate(code.tokens) if token.text == opened)
    assert code.text(code.ends[begin]) == closed


WORDS = """{ } ( ) [ ] ; , * & -> . = # < > " ' / /* */ // SEC("xdp") SEC("tp/x/y" SEC(".maps") struct union enum
    typedef const volatile static int u32 void x y ctx f BPF_PROG BPF_CORE_READ container_of for if return __uint(type,
    #define %%bpf %bpf --for ... : ? sizeof __attribute__((packed)) 7 0x1f é"""
PIECES = st.sampled_from([*WORDS.split(), "\n", "\\", "\0"])


@settings(deadline=None, max_examples=300)
@given(
    st.lists(PIECES, max_size=60).map(" ".join) | st.text(max_size=80),
    st.integers(0, 400),
    st.booleans(),
)
def test_nothing_that_somebody_types_raises(body, offset, line):
    text = f"%%bpf x\n{body}" if line else body
    offset = min(offset, len(text))
    place = place_at(text, offset)
    if place is None:
        return
    assert text[:offset].endswith(place.fragment)
    assert place.source is None or (place.function, place.section, place.variables, place.call) is not None


NASTY = """{ ( [ ((({ ([ {( f( ) } " ' /* struct{ struct|x{int|a; int|a, a.b-> SEC( SEC("xdp") for( # enum{A, x={ a[
    typedef| *| (] {) const| //"""


@pytest.mark.parametrize("piece", NASTY.split())
def test_a_huge_cell_takes_time_in_proportion_to_its_size(piece):
    def seconds(size):
        text = "%%bpf x\n" + 'SEC("xdp") int f(void *ctx) {' + piece.replace("|", " ") * (size // len(piece)) + " ctx->"
        start = time.process_time()
        place = place_at(text, len(text))
        if place.source:
            assert (place.function, place.section, place.variables, place.call) is not None
        return time.process_time() - start

    assert seconds(40_000) < 2.0


def test_a_cell_is_read_once_for_a_completion():
    read.cache_clear()
    tokens_of.cache_clear()
    cell = CELL.replace("HERE", "struct event v = { .")
    complete(cell, cell.index("{ .") + 3)
    assert (tokens_of.cache_info().misses, read.cache_info().misses) == (1, 1)


def test_names_that_are_too_many_are_cut_where_one_can_go_on():
    names = tuple(sorted(f"{a}_{b}_{c}" for a in ("tcp", "udp") for b in ("recv", "send") for c in range(5)))
    assert stems(names, "") == list(names)
    assert stems(names, "", 3) == ["tcp_", "udp_"]
    assert stems(names, "tcp_", 3) == ["tcp_recv_", "tcp_send_"]
    assert stems(names, "t", 3) == ["tcp_recv_", "tcp_send_"]
    assert stems((*names, "vfs_read"), "", 4) == ["tcp_", "udp_", "vfs_read"]
    assert stems(names, "x") == []


def texts(cell, notebook=None):
    offset = cell.index("|")
    found = complete(cell.replace("|", "", 1), offset, notebook or Notebook())
    return found.fragment, [item.text for item in found.items]


BODY = CELL.partition("\n")[2].replace("HERE", "")


@pytest.mark.parametrize(
    ("line", "fragment", "expected"),
    [
        ("%%bpf --eng|", "--eng", ["--engine"]),
        ("%%bpf x --engine |", "", ["auto", "libbpf", "bcc"]),
        ("%%bpf x --engine=l|", "l", ["libbpf"]),
        ("%%bpf x --var |", "", ["only=", "seen=", "lost=", "LICENSE="]),
        ("%%bpf x --event |", "", ["events="]),
        ("%%bpf x --event events=|", "events=", ["events=event"]),
        ("%%bpf x --buffer ev|", "ev", ["events="]),
        ("%%bpf x --attach |", "", ["on_open=", "on_read="]),
        ("%%bpf x --watch --no|", "--no", ["--no-attach"]),
        ("%%bpf x --watch --wat|", "--wat", []),
        ("%%bpf on|", "on", ["on_open", "on_read"]),
    ],
)
def test_the_line_of_a_cell_offers_options_and_their_values(line, fragment, expected):
    assert texts(f"{line}\n{BODY}") == (fragment, expected)


def test_the_line_magic_offers_its_commands_and_sessions():
    notebook = Notebook({"hooks": ("--kind",), "format": (), "stop": ()}, ("opens", "reads"))
    assert texts("%bpf |", notebook) == ("", ["hooks", "format", "stop"])
    assert texts("%bpf st|", notebook) == ("st", ["stop"])
    assert texts("%bpf stop r|", notebook) == ("r", ["reads"])
    assert texts("%bpf hooks x --k|", notebook) == ("--k", ["--kind"])
    assert texts("%bpf hooks x --kind kp|", notebook) == ("kp", ["kprobe", "kprobe.multi", "kprobe.session"])
    assert texts("%%bpf o|\nint x;", notebook) == ("o", ["opens"])


def test_the_values_of_a_command_s_options_are_offered_and_nothing_where_there_is_no_list():
    assert texts("%bpf bind task_struct --lang |") == ("", ["c", "python"])
    assert texts("%bpf bind task_struct --lang p|") == ("p", ["python"])
    kinds = ['"program type"', '"map type"', "helper", "kfunc", "attach"]
    assert texts("%bpf features --kind |") == ("", kinds)
    assert texts('%bpf features --kind "p|') == ('"p', kinds[:1])
    for option in ("--from", "--base", "--compare", "--depth", "--find", "--into", "--name", "--out", "--stub"):
        assert texts(f"%bpf type task_struct {option} |") == ("", []), option


OWN = """\
%%bpf
struct in { int deep; };
struct own { int aa, bb; struct in one; struct in many[3]; };
typedef struct { u32 a; char b[4]; } named;
struct own file_wide = { .aa = 1 };
int g(struct own x)
{
	int unrelated;
	HERE
}
"""


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("struct own v = { .aa = 1, .|", ["aa", "bb", "one", "many"]),
        ("struct own v = { .aa = (1 + 2), .bb = f(3, 4), .one = { .deep = 5 }, .|", ["aa", "bb", "one", "many"]),
        ("struct own v = { .b| };", ["bb"]),
        ("named v = { .|", ["a", "b"]),
        ("v = (struct own){ .|", ["aa", "bb", "one", "many"]),
        ("return (named){ .|", ["a", "b"]),
        ("f(&v, &(struct own){ .o|", ["one"]),
        ("f(&v, &(named){ .|", ["a", "b"]),
        ("struct own v = { .one = { .|", ["deep"]),
        ("struct own v = { .one.|", ["deep"]),
        ("struct own v = { .many[1].|", ["deep"]),
        ("struct own v = { .many = { { .|", ["deep"]),
        ("struct own v = { .many = { [1] = { .|", ["deep"]),
        ("struct own v[] = { { .aa = 1 }, { .|", ["aa", "bb", "one", "many"]),
        ("struct own v[2] = { [1].a|", ["aa"]),
        ("struct own v[2] = { .|", []),
        ("struct own v = { { .|", []),
        ("f(1, .|", []),
        ("x.aa = 1; { .|", []),
        (".|", []),
        ("} int f(struct own x) { .|", []),
        ("} struct own other = { .a|", ["aa"]),
    ],
)
def test_the_members_that_an_initialiser_may_name_are_offered(code, expected):
    assert texts(OWN.replace("HERE", code))[1] == expected


def test_sections_without_a_target_are_those_of_the_table():
    assert texts('%%bpf\nSEC("xd|') == (
        "xd",
        ["xdp", "xdp.frags", "xdp.frags/cpumap", "xdp.frags/devmap", "xdp/cpumap", "xdp/devmap"],
    )
    assert texts('%%bpf\nSEC("?tp|') == ("?tp", ["?tp/", "?tp_btf/"])
    assert texts('%%bpf\nchar x[] SEC("li|') == ("li", ["license"])
    assert texts('%%bpf\nstruct { int a; } m SEC("|')[1][0] == ".maps"


def test_comments_strings_and_numbers_offer_nothing():
    assert texts("%%bpf\n// int|") == ("", [])
    assert texts('%%bpf\nint f() { bpf_printk("int|') == ("", [])
    assert texts("%%bpf\nint x = 12|") == ("", [])


def test_what_the_kernel_does_not_tell_is_left_out_and_a_bug_is_not_hidden(monkeypatch):
    def refuse(_place):
        raise KernelSupportError("this kernel carries no BTF")

    def slip(_place):
        raise ValueError("a bug")

    monkeypatch.setitem(completing._ANSWERS, "member", refuse)
    assert texts("%%bpf\nint f() { x->a|") == ("a", [])
    monkeypatch.setitem(completing._ANSWERS, "member", slip)
    with pytest.raises(ValueError, match="a bug"):
        texts("%%bpf\nint f() { x->a|")
