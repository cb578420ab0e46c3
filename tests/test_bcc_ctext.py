"""What is read off the C of a BCC program: what it sends, what its functions take, where they end, what they count."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_bcc_translate import TABLES, table, takes

from ebpflab.bcc import ctext, maps, slots, submitted
from ebpflab.bcc.hooks import Hook, hook
from ebpflab.bcc.signature import Signatures
from ebpflab.cell import Cell
from ebpflab.errors import CellError

EVENTS = "(void *)bpf_pseudo_fd(1, -1)"


@pytest.mark.parametrize(
    ("call", "marked"),
    [
        ("perf_event_output(args, {}, F, &d, sizeof(d))", "perf_event_output(args, {}, F, ({}, &d), sizeof(d))"),
        ("perf_event_output(f(1, 2), {}, F, p, 4)", "perf_event_output(f(1, 2), {}, F, ({}, p), 4)"),
        ("ringbuf_output({}, &(struct t){1, 2}, 8, 0)", "ringbuf_output({}, ({}, &(struct t){1, 2}), 8, 0)"),
        ("ringbuf_reserve({}, sizeof(struct t), 0)", "ringbuf_reserve({}, ({}, sizeof(struct t)), 0)"),
        ('printk("bpf_ringbuf_output({}, &d, 4, 0)")', 'printk("bpf_ringbuf_output({}, &d, 4, 0)")'),
        ("ringbuf_output(&other, &d, 4, 0)", "ringbuf_output(&other, &d, 4, 0)"),
    ],
)
def test_a_call_that_sends_a_record_tells_the_compiler_of_what_type_it_is(call: str, marked: str) -> None:
    sent = f"int f(void *c) {{ bpf_{call.replace('{}', EVENTS)}; }}"
    found = submitted.marked(sent, TABLES)
    assert (
        re.sub(r"ebpflab_sends\(events, [^;]*?\), (?=&|p|sizeof)", "{}, ", found).replace(EVENTS, "{}")
        == f"int f(void *c) {{ bpf_{marked}; }}"
    )


@pytest.mark.parametrize(
    ("size", "record"),
    [
        ("sizeof(struct data_t)", "(typeof(struct data_t) *)0"),
        ("sizeof *d", "(typeof(*d) *)0"),
        ("sizeof(d[f(1)])", "(typeof(d[f(1)]) *)0"),
        ("sizeof(d) + sizeof(e)", "(void *)0"),
        ("48", "(void *)0"),
    ],
)
def test_what_is_reserved_is_of_the_type_whose_size_it_has(size: str, record: str) -> None:
    text = f"bpf_ringbuf_reserve({EVENTS}, {size}, 0);"
    assert f"(ebpflab_sends(events, {record}), {size})" in submitted.marked(text, TABLES)


def test_a_cast_does_not_hide_what_is_sent() -> None:
    text = f"bpf_ringbuf_output({EVENTS}, (void *)&d, 4, 0); bpf_ringbuf_output({EVENTS}, (void *)p + 4, 4, 0);"
    found = submitted.marked(text, TABLES)
    assert "(ebpflab_sends(events, &d), (void *)&d)" in found
    assert "(ebpflab_sends(events, (void *)p + 4), (void *)p + 4)" in found


def test_only_the_types_of_tables_are_named_anew() -> None:
    text = (
        'typeof(counts.key) k; o.counts.key = 1;p -> counts.leaf = 2; s = "typeof(counts.key)"; // sizeof(counts.leaf)'
    )
    named = "typeof(ebpflab_types_of_counts.key) k;"
    assert maps.addressed(text, TABLES) == text.replace("typeof(counts.key) k;", named, 1)


@pytest.mark.parametrize(
    ("head", "cflags", "context", "own"),
    [
        ("int f(struct CTXTYPE *ctx)", ("-DCTXTYPE=xdp_md",), "struct xdp_md", False),
        ("#define CTX struct xdp_md\nint f(CTX *ctx)", (), "struct xdp_md", False),
        ("#define A B\n#define B const struct __sk_buff\nint f(A *ctx)", (), "struct __sk_buff", False),
        ("typedef struct xdp_md packet_t;\nint f(packet_t *ctx)", (), "struct xdp_md", False),
        ("struct args { int a; };\nint f(struct args *a, struct xdp_md *b)", (), "struct args", True),
        ("typedef struct { int a; } args_t;\nint f(args_t *a)", (), "args_t", True),
        ("// struct sock { };\nint f(struct sock *sk)", (), "struct sock", False),
        ("int f(unsigned long long *ctx)", (), "unsigned long long", False),
        ("int f(void)", (), "void", False),
    ],
)
def test_what_a_function_takes_is_seen_through_macros_and_typedefs(
    head: str, cflags: tuple[str, ...], context: str, own: bool
) -> None:
    start = head.rindex("int f")
    text = f'{head[:start]}__attribute__((section(".bpf.fn.f")))\n{head[start:]} {{\n return 0; }}'
    found = Signatures(Cell(text, cflags=cflags), text).of("f")
    assert (found.context, found.own) == (context, own)


def test_a_struct_that_no_kind_of_program_is_given_is_not_taken_for_a_tracepoint() -> None:
    assert hook("f", takes("struct trace_event_raw_sched_switch")).section == "tp"
    assert hook("f", takes("unsigned long long")).section == "kprobe"
    with pytest.raises(CellError, match="no kind is given struct sock") as caught:
        hook("f", takes("struct sock"))
    assert "static inline" in str(caught.value.hint)
    assert hook("f", takes("struct sock"), "kprobe:tcp_v4_connect") == Hook("kprobe", "tcp_v4_connect")


def test_a_function_ends_at_its_own_brace() -> None:
    text = (
        "__attribute__((section(\".bpf.fn.one\")))\nint one(struct __sk_buff *s) {\n char c = '}'; /*}*/ return 0; }\n"
        '__attribute__((section(".bpf.fn.two")))\nint two(struct __sk_buff *s) {\n return TC_ACT_OK;\n}\n'
    )
    signatures = Signatures(Cell(text), text)
    assert hook("one", signatures.of("one")).section == "socket"
    assert hook("two", signatures.of("two")).section == "tc"
    assert "TC_ACT_OK" not in signatures.of("one").body
    assert signatures.of("one").body.endswith("return 0; ")


def test_what_a_function_returns_is_not_what_its_neighbour_does() -> None:
    text = "static u64 none(u64 x) { ; } static u64 slot(u64 x) { return bpf_log2l(x); }\nint f(void *c) {"
    listed = [table("a", 2, leaf_desc='"unsigned long long"'), table("b", 2, leaf_desc='"unsigned long long"')]
    text = f"BPF_HISTOGRAM(a); BPF_HISTOGRAM(b); {text} a.increment(none(7)); b.increment(slot(7)); }}"
    assert slots.types(listed, text) == {"a": slots.LINEAR, "b": slots.LOG2L}


def test_a_table_that_is_no_histogram_counts_by_increments_alone() -> None:
    listed = [table(name, 1, leaf_desc='"unsigned long long"') for name in ("start", "counts", "declared")]
    text = "BPF_HASH(start, u64, u64); BPF_HASH(counts, u64); BPF_HISTOGRAM(declared, u64);int f(void *c) { u64 k = "
    text += "bpf_log2l(77); start.update(&k, &v); start.lookup(&k); counts.increment(k); declared.lookup(&k); }"
    assert slots.types(listed, text) == {"counts": slots.LOG2L, "declared": slots.LOG2L}


@given(st.text(alphabet="ab(){}[];,\"'\\/*\n ", max_size=40))
def test_brackets_of_any_text_are_followed_to_its_end_at_most(text: str) -> None:
    bare = ctext.plain(text)
    assert len(bare) == len(text)
    assert [at for at, each in enumerate(bare) if each == "\n"] == [at for at, each in enumerate(text) if each == "\n"]
    for start in range(len(text)):
        opening, end = ctext.body(bare, start)
        assert start <= opening <= end <= len(text)
        assert all(start <= first <= last <= len(text) for first, last in ctext.arguments(bare, start))
    assert ctext.replaced(re.compile("a"), lambda match: match[0], text) == text
