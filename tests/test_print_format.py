"""Print formats of tracepoints: their grammar, C's integers, and the names of values, on captured files."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflab.errors import DecodeError, KernelSupportError, TypeNotFoundError
from ebpflab.inspectors import enumerators
from ebpflab.inspectors.formats import field_words
from ebpflab.inspectors.formats.c_numbers import Number
from ebpflab.inspectors.formats.c_words import NotUnderstoodError, arguments, tokens
from ebpflab.inspectors.formats.meanings import Meaning, evaluate, meaning, render
from ebpflab.inspectors.formats.print_format import parse
from ebpflab.inspectors.tracefs import Field, Format, parse_format

TREE = Path(__file__).parent / "data/formats/events"
# include/linux/fs.h of Linux 6.18, which the format files name and do not explain.
CONSTANTS = {"I_NEW": 1, "I_WILL_FREE": 4, "I_SYNC": 64, "IOPRIO_CLASS_RT": 1}


def captured(name: str) -> Format:
    category, _ = name.split("/")
    read = parse_format((TREE / name / "format").read_text())
    return Format(read.name, read.id, read.members, read.print_fmt, category)


def nothing(_names: Sequence[str]) -> Mapping[str, int]:
    return {}


def said(print_fmt: str, *fields: str) -> Meaning:
    return meaning(print_fmt, fields or ("x", "y"), nothing)


def worked_out(text: str) -> object:
    found = evaluate(parse(tokens(text)), {})
    return found.value if isinstance(found, Number) else found


@pytest.fixture
def constants(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the kernel know a few constants, and write down which were asked for."""
    asked: list[str] = []

    def values(names: Sequence[str], _module: str = "") -> dict[str, int]:
        asked.extend(names)
        return {name: CONSTANTS[name] for name in names if name in CONSTANTS}

    monkeypatch.setattr(enumerators, "values", values)
    field_words.meaning.cache_clear()
    return asked


# --- C -----------------------------------------------------------------------------------------------------------

EXPRESSIONS = [
    *("1 << 3", "(1UL << 2) | 4", "0x10UL + 010", "-6ULL", "~0", "~0U", "!5", "- -7", "7 / -2", "-7 % 3", "1 ? 2 : 3"),
    *("-1 > 1U", "-1 > 1UL", "-1 < 1", "(unsigned char)300", "(u32)-1", "(signed char)200", "(s64)-1 >> 3", "1 << 31"),
    *(
        "((1U << 20) - 1)",
        "0 ? 1 : 0 ? 2 : 3",
        "1 || 0 && 0",
        "3 & 6 == 6",
        "5 - 3 - 1",
        "2 + 3 * 4",
        "(int)(4294967295)",
    ),
    *("sizeof(u64)", "sizeof(unsigned int) * 8", "'R'", "'\\n'", "0xffffffff", "4294967296", "(unsigned long)-1 >> 1"),
    *(
        "(unsigned long)-4095 > 3",
        "1 ^ 3 ^ 7",
        "1 != 2",
        "(bool)256",
        "(( unsigned long)((1UL) << (10))|(1UL << 11))",
    ),
]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_constants_are_worked_out(text: str) -> None:
    assert isinstance(worked_out(text), int)


def test_constants_are_what_clang_makes_of_them() -> None:
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("clang is not installed: apt install clang")
    chance = random.Random(20251123)
    literals = ["1", "0x7fUL", "3U", "-5", "0x80000000", "12LL", "(u8)0xfe", "(s16)-9", "~7ULL", "(1 << 4)"]
    signs = ["+", "-", "*", "&", "|", "^", "<", ">", "<=", ">=", "==", "!=", "&&", "||"]
    made = [
        f"(({chance.choice(literals)} {chance.choice(signs)} {chance.choice(literals)}) {chance.choice(signs)}"
        f" {chance.choice(literals)}) {chance.choice(signs)} {chance.choice(literals)}"
        for _ in range(397)
    ]
    lines = ["typedef unsigned char u8; typedef short s16; typedef unsigned u32; typedef unsigned long u64;"]
    lines += ["typedef long s64; typedef _Bool bool;"]
    for text in [*EXPRESSIONS, *made]:
        value = worked_out(text)
        assert isinstance(value, int)
        lines.append(
            f'_Static_assert((unsigned long)({text}) == {value & (2**64 - 1)}UL, "{value}");'.replace("\\n", "n")
        )
        lines[-1] = lines[-1].replace("'n'", "'\\n'")
    command = [clang, "-std=gnu11", "-w", "-fwrapv", "-fsyntax-only", "-x", "c", "-"]
    done = subprocess.run(command, input="\n".join(lines), text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr[:3000]


@pytest.mark.parametrize(
    "text", ["1 /", "1 / 0 )", "(1", "REC->", "0x", "08", "1 2", "{ 1 }", "({ int x; x; })", "'ab'", "a ? b"]
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(NotUnderstoodError):
        parse(tokens(text))


@pytest.mark.parametrize(
    "text", ["(" * 5000 + "1" + ")" * 5000, "x|" * 5000 + "x", "-" * 5000 + "x", "f(" * 5000 + ")" * 5000]
)
def test_an_expression_without_end_is_refused_before_python_runs_out_of_stack(text: str) -> None:
    with pytest.raises(NotUnderstoodError):
        parse(tokens(text))


def test_arguments_are_split_at_the_commas_between_them() -> None:
    text = '"a, b %s", f(x, { 1, "}" }), REC->y[1, 2]'
    assert [len(words) for words in arguments(tokens(text))] == [1, 10, 8]


# --- names of values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, ""), (1, "A"), (5, "A|B"), (7, "A|B|0x2"), (8, "0x8"), (-1, "A|B|0xfffffffffffffffa"), (6, "B|0x2")],
)
def test_flags_are_joined_and_what_is_left_over_is_hexadecimal(value: int, text: str) -> None:
    assert render("flags", [(1, "A"), (4, "B"), (4, "again")], "|", value) == text


def test_a_name_of_no_bits_is_printed_while_there_are_bits_left() -> None:
    # trace_print_flags_seq asks whether (flags & mask) != mask, and stops at the first entry after the last bit.
    assert render("flags", [(0, "zero"), (1, "A"), (0, "end")], "|", 1) == "zero|A"


def test_the_first_symbol_that_is_equal_counts_and_an_unknown_value_is_hexadecimal() -> None:
    entries = [(1, "one"), (1, "uno"), (-1, "none")]
    assert [render("enum", entries, "", value) for value in (1, 2**64 - 1, -2)] == ["one", "none", "0xfffffffffffffffe"]


def test_a_table_belongs_to_the_field_that_it_prints() -> None:
    found = said('"%s %s", __print_flags((unsigned long)REC->x, ":", { 0x1, "A" "B" }, { 1 << 3, "C" }), __get_str(y)')
    (table,) = found.symbols
    assert (table.field, table.kind, table.separator, table.expression) == ("x", "flags", ":", "")
    assert table.entries == ((1, "AB"), (8, "C"))
    assert found.text("x", {"x": Number(9)}) == "AB:C"
    assert found.text("y", {"y": Number(9)}) is None
    assert found.notes == ()


def test_a_table_of_a_part_of_a_field_says_of_which_part() -> None:
    found = said('"%s", __print_symbolic((((REC->x) >> 13) & (8 - 1)), { 2, "two" })')
    assert found.symbols[0].expression == "(x >> 13) & 7"
    assert found.text("x", {"x": Number(2 << 13, 16, signed=False)}) == "two"


@pytest.mark.parametrize(
    "call",
    [
        '__print_flags_u64(REC->x, "|", {1ULL << 40, "N"})',
        '__print_symbolic64(REC->x, {1ULL << 40, "N"})',
        '({ int z = 1; __print_symbolic(REC->x, {1ULL << 40, "N"}); })',
        'REC->y ? foo(__print_symbolic(REC->x, {1ULL << 40, "N"}, { -1, ((void *)0) }, { 1, ?? })) : ""',
        '__print_flags(REC->y ? REC->x : 0, NULL, {1ULL << 40, "N"}, { })',
        '__print_symbolic(REC->x[0], {((( 1ULL)) << (40)), "N"},)',
    ],
)
def test_tables_are_found_however_they_are_wrapped(call: str) -> None:
    found = said(f'"%s", {call}'.replace(", { 1, ?? }", ""))
    assert [table.entries for table in found.symbols] == [((1 << 40, "N"),)]
    assert found.text("x", {"x": Number(1 << 40, 64)}) == "N"
    assert found.notes == ()


def test_what_is_not_understood_is_said_and_the_rest_is_read() -> None:
    text = (
        '"%s", __print_flags(REC->x, "|", { FOO, "foo" }, { 2, "two" }), __print_symbolic(REC->z, { 1, "z" }),'
        '__print_symbolic(REC->x + REC->y, { 1, "sum" }), __print_symbolic(REC->y), __print_flags(@, "|", {1, "a"})'
    )
    assert said(text).notes[0].startswith("the print format is not understood: no C at '@")
    found = said(text.replace("@", "1 +"))
    assert [table.entries for table in found.symbols] == [((2, "two"),)]
    assert found.notes == (
        "__print_flags(1+,...: the expression ends too early",
        "the values of these flags of x are not known: foo",
        "a table of symbols is about z, which the record has not",
        "a table of symbols is not about one field, but about x and y",
    )


def test_a_table_that_is_the_same_for_every_record_is_no_fields() -> None:
    found = said('"%s", __print_symbolic(2ULL, { 2, "two" })')
    assert (found.symbols, found.notes) == ((), ())


def test_the_state_of_a_task_reads_as_the_scheduler_prints_it() -> None:
    switch = captured("sched/sched_switch")
    # TASK_REPORT and the comment of TASK_RUNNING: 0 is R, and 0x100 says that the task was preempted.
    expected = {0: "R", 1: "S", 2: "D", 4: "T", 8: "t", 0x10: "X", 0x20: "Z", 0x80: "I", 0x100: "R+", 0x101: "S+"}
    assert {value: switch.symbol("prev_state", value) for value in expected} == expected
    assert switch.symbol("prev_prio", 120) == "120"
    assert switch.symbol("prev_prio", -1) == "-1"
    assert switch.symbols["expression"].unique().tolist() == ["prev_state & 0xff"]


def test_unsigned_constants_of_64_bits_are_compared_as_such() -> None:
    chunk = captured("btrfs/btrfs_chunk_alloc")
    shown = {value: chunk.symbol("root_objectid", value) for value in (5, 300, -6, 2**64 - 6)}
    assert shown == {5: "FS_TREE", 300: "-", -6: "TREE_LOG", 2**64 - 6: "TREE_LOG"}
    assert chunk.symbol("type", 1 << 3 | 1 << 0 | 1 << 20) == "DATA|RAID0|0x100000"


def test_names_that_depend_on_another_field_are_chosen_by_it() -> None:
    leaving = captured("kvm/kvm_exit")
    assert leaving.symbol("exit_reason", 0) == "EXCEPTION_NMI / read_cr0"
    assert leaving.symbol("exit_reason", 0, isa=1) == "EXCEPTION_NMI"
    assert leaving.symbol("exit_reason", 0, isa=2) == "read_cr0"
    assert leaving.symbol("exit_reason", 0x80000001, isa=1) == "EXTERNAL_INTERRUPT FAILED_VMENTRY"


def test_a_table_that_ends_with_null_ends_there() -> None:
    frame = captured("xdp/xdp_exception").symbols
    assert frame["name"].tolist() == ["ABORTED", "DROP", "PASS", "TX", "REDIRECT"]
    assert frame["value"].tolist() == [0, 1, 2, 3, 4]
    assert set(frame["field"]) == {"act"}


def test_allocation_flags_are_read_through_all_their_casts() -> None:
    alloc = captured("kmem/mm_page_alloc")
    assert alloc.notes == ()
    # include/linux/gfp_types.h of Linux 6.18: GFP_KERNEL is __GFP_RECLAIM | __GFP_IO | __GFP_FS.
    assert alloc.symbol("gfp_flags", 0x400 | 0x800 | 0x40 | 0x80) == "GFP_KERNEL"
    assert alloc.symbol("gfp_flags", 0) == "none"


def test_names_that_the_format_does_not_explain_are_looked_up(constants: list[str]) -> None:
    dirty = captured("writeback/writeback_dirty_inode")
    assert dirty.symbol("state", 1 | 64) == "I_NEW|I_SYNC"
    assert "I_NEW" in constants
    assert len(constants) == len(set(constants))
    names = dirty.symbols.groupby("field")["name"].agg(list).to_dict()
    assert names == {key: ["I_NEW", "I_WILL_FREE", "I_SYNC"] for key in ("state", "flags")}
    note, _ = dirty.notes
    assert note.startswith("the values of these flags of state are not known: I_DIRTY_SYNC,")
    assert "flags: I_NEW|I_WILL_FREE|I_SYNC" in repr(dirty)
    assert note in repr(dirty)
    assert note in dirty._repr_html_()


@pytest.mark.usefixtures("constants")
def test_a_pasted_format_says_that_constants_are_those_of_this_kernel() -> None:
    pasted = parse_format((TREE / "block/block_io_start/format").read_text().replace("comm[16]", "comm [16]"))
    assert pasted.symbol("ioprio", 1 << 13) == "rt"
    assert "this kernel's BTF was asked for the values of IOPRIO_CLASS_RT" in pasted.notes


def test_a_kernel_without_btf_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def values(_names: Sequence[str], _module: str = "") -> dict[str, int]:
        raise KernelSupportError("this kernel carries no BTF")

    monkeypatch.setattr(enumerators, "values", values)
    field_words.meaning.cache_clear()
    made = Format("x", 1, (Field("x", "int", 8, 4, signed=True),), '"%s", __print_symbolic(REC->x, { SOME, "some" })')
    assert made.notes[-1] == "names of constants could not be looked up: this kernel carries no BTF"
    assert made.symbols.empty
    assert made.symbol("x", 7) == "7"


def test_symbols_are_a_frame_with_numbers_even_if_there_are_none() -> None:
    empty = captured("signal/signal_generate").symbols
    assert list(empty.columns) == ["field", "kind", "value", "name", "expression"]
    assert (len(empty), str(empty["value"].dtype)) == (0, "int64")
    wide = captured("btrfs/btrfs_chunk_alloc").symbols
    assert wide[wide["name"] == "TREE_LOG"]["value"].tolist() == [2**64 - 6]


def test_a_field_that_does_not_exist_offers_the_nearest() -> None:
    with pytest.raises(TypeNotFoundError) as caught:
        captured("sched/sched_switch").symbol("prev_stat", 1)
    assert caught.value.nearest[0] == "prev_state"


def test_words_beside_a_field_say_what_its_type_does_not() -> None:
    assert captured("syscalls/sys_enter_openat").meanings == {"filename": "pointer to memory of the process"}
    assert captured("sched/sched_process_exec").meanings == {"filename": "string"}
    marked = Field("p", 'const char __attribute__((btf_type_tag("user"))) *', 8, 8, signed=False)
    assert not marked.user  # only reading a file tells
    text = (TREE / "signal/signal_generate/format").read_text().replace("field:int sig;", "field:void __user * sig;")
    assert [field.name for field in parse_format(text).members if field.user] == ["sig"]


# --- two kernels, JSON -------------------------------------------------------------------------------------------


def test_two_formats_are_compared_field_by_field() -> None:
    text = (TREE / "sched/sched_switch/format").read_text()
    other = (
        text.replace("field:pid_t prev_pid;\toffset:24;", "field:int prev_pid;\toffset:24;")
        .replace("field:long prev_state;\toffset:32;\tsize:8;", "field:long prev_state;\toffset:32;\tsize:4;")
        .replace("char next_comm[16];\toffset:40;", "char next_comm[16];\toffset:36;")
        .replace("int next_prio;", "int next_class;")
    )
    frame = captured("sched/sched_switch").compare(other)
    assert list(frame.columns) == ["field", "change", "here", "there"]
    assert dict(zip(frame["field"], frame["change"], strict=True)) == {
        "prev_comm": "same",
        "prev_pid": "retyped",
        "prev_prio": "same",
        "prev_state": "resized",
        "next_comm": "moved",
        "next_pid": "same",
        "next_prio": "removed",
        "next_class": "added",
    }
    row = frame[frame["field"] == "next_comm"].iloc[0]
    assert (row["here"], row["there"]) == ("char[16] at 40, 16 bytes", "char[16] at 36, 16 bytes")
    assert frame[frame["field"] == "next_class"].iloc[0]["here"] == ""


def test_a_common_field_is_shown_once_kernels_differ_in_it() -> None:
    text = (TREE / "raw_syscalls/sys_enter/format").read_text()
    here = parse_format(text)
    assert set(here.compare(here)["change"]) == {"same"}
    # A kernel with PREEMPT_RT has one more field in front.
    lazy = "\tfield:unsigned char common_preempt_lazy_count;\toffset:8;\tsize:1;\tsigned:0;\n"
    other = text.replace("\n\n\tfield:long id;\toffset:8;", f"\n{lazy}\n\tfield:long id;\toffset:16;").replace(
        "args[6];\toffset:16;", "args[6];\toffset:24;"
    )
    changes = here.compare(other)
    assert changes["change"].tolist() == ["moved", "moved", "added"]
    assert changes["field"].tolist() == ["id", "args", "common_preempt_lazy_count"]
    with pytest.raises(DecodeError):
        here.compare("no\nformat")


def test_everything_goes_into_json() -> None:
    switch = captured("sched/sched_switch")
    read = json.loads(json.dumps(switch.to_dict()))
    assert (read["category"], read["name"], read["struct"]) == ("sched", "sched_switch", switch.tag)
    assert [field["name"] for field in read["fields"]] == [field.name for field in switch.members]
    (table,) = read["symbols"]
    assert (table["field"], table["kind"], table["separator"]) == ("prev_state", "flags", "|")
    assert table["values"][0] == {"value": 1, "name": "S"}


# --- damage ------------------------------------------------------------------------------------------------------

WHOLE = {path: parse_format(path.read_text()) for path in sorted(TREE.glob("*/*/format"))}
PIECES = [
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    '"',
    "'",
    "__print_flags(",
    "REC->x",
    "REC->flags",
    "1 <<",
    "?",
    ":",
    "%s",
    "NULL",
]


@given(
    st.sampled_from(sorted(WHOLE)),
    st.integers(0, 5000),
    st.integers(0, 60),
    st.sampled_from(PIECES) | st.text(max_size=9),
)
@settings(max_examples=300, deadline=None)
def test_a_damaged_print_format_gives_what_is_left_and_a_note(path: Path, at: int, cut: int, put: str) -> None:
    whole = WHOLE[path]
    text = whole.print_fmt[:at] + put + whole.print_fmt[at + cut :]
    found = meaning(text, [field.name for field in whole.members], nothing)
    for table in found.symbols:
        assert isinstance(found.text(table.field, {table.field: Number(3)}), str | None)


@given(st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join) | st.text(max_size=200))
@settings(deadline=None)
def test_any_text_is_a_print_format_or_a_note(text: str) -> None:
    found = meaning(text, ["x", "flags"], nothing)
    assert all(isinstance(note, str) for note in found.notes)
    for table in found.symbols:
        assert table.field in ("x", "flags")
