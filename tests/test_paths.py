"""Paths through structs: each step is checked, and the C says what it has to."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflab.btf import Btf
from ebpflab.errors import KernelSupportError, TypeNotFoundError
from ebpflab.inspectors.btf_source import BtfSource
from ebpflab.inspectors.types.paths import TypePath, path_of

FILE = Path(__file__).parent / "data" / "btf" / "paths.BTF"
SOURCE = BtfSource("the test", Btf.parse(FILE.read_bytes()), FILE)


def path(text: str, start: str = "start") -> TypePath:
    return path_of(SOURCE, SOURCE.find(start), text)


def rows(found: TypePath) -> list[tuple[str, str, int, bool, str]]:
    return [tuple(row) for row in found.steps.itertuples(index=False)]


def test_each_step_has_its_type_its_offset_and_whether_it_follows_a_pointer() -> None:
    found = path("first.next.high")
    assert rows(found) == [
        ("first", "struct node *", 0, False, ""),
        ("next", "struct node *", 8, True, ""),
        ("high", "short", 18, True, "shares its bytes: a union"),
    ]
    assert (found.type, found.size, found.dereferences) == ("short", 2, 2)


@pytest.mark.parametrize(
    "text", ["first.next.number", "first->next->number", " first -> next . number ", "->first.next->number"]
)
def test_dots_and_arrows_mean_the_same(text: str) -> None:
    assert path(text).text == "first->next->number"
    assert path(text) == path("first->next.number")


def test_embedded_structs_and_arrays_belong_to_one_accessor() -> None:
    assert path("unnamed.held.names[1][7]").c() == "char names = BPF_CORE_READ(start, unnamed.held, names[1][7]);"
    assert path("mask.bits[0]").c() == "unsigned long bits = BPF_CORE_READ(start, mask, bits[0]);"
    assert path("own.bits[3]").dereferences == 0
    assert rows(path("own.bits[3]"))[-1] == ("[3]", "unsigned long", 24, False, "")


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("frist", "struct start has no member 'frist'", "did you mean first?"),
        ("first.hihg", "struct node has no member 'hihg'", "did you mean high?"),
        ("unnamed.coutn", "unnamed has no member 'coutn'", "count"),
        ("first.number.x", "first->number is int", "the path ends here"),
        ("own.bits[4]", "own.bits has 4 elements, and none at [4]", "the last is [3]"),
        ("first.number[0]", "has no elements", "for arrays"),
        ("own.bits.x", "own.bits is unsigned long[4]", "write [0]"),
        ("table.number", "table is struct node **", "write table[0]"),
        ("anything.x", "the path ends at anything, which is void *", "cast it"),
        ("anything[0]", "the path ends at anything", "cast it"),
        ("opaque.x", "the path ends at opaque, which is struct elsewhere *", "only declared"),
        ("call.x", "the path ends at call", "ksym_t"),
        ("percpu.number", "percpu is a per-CPU pointer", "bpf_per_cpu_ptr"),
        ("", "'' is not a path", "real_parent.tgid"),
        ("first..number", "'..number' is no member", "real_parent.tgid"),
        ("first number", "'number' is no member", "real_parent.tgid"),
        ("[0]", "'[0]' is no member", "real_parent.tgid"),
        ("first.", "'.' is no member", "real_parent.tgid"),
        ("own.bits[-1]", "'[-1]' is no member", "real_parent.tgid"),
    ],
)
def test_a_step_that_cannot_be_taken_is_refused_and_says_why(text: str, what: str, hint: str) -> None:
    with pytest.raises(TypeNotFoundError) as caught:
        path(text)
    assert what in caught.value.what
    assert hint in (caught.value.hint or "")


def test_the_nearest_members_are_those_of_anonymous_structs_too() -> None:
    with pytest.raises(TypeNotFoundError) as caught:
        path("first.lowx")
    assert caught.value.nearest == ("low",)


def test_a_path_starts_in_a_struct() -> None:
    with pytest.raises(TypeNotFoundError, match="enum color has no members"):
        path("x", "enum color")
    assert path("bits[0]", "mask_t").c() == "unsigned long bits = BPF_CORE_READ(mask_t, bits[0]);"
    assert path("bits", "mask_t").c("m", "all").startswith("unsigned long all[4] = {};")


@pytest.mark.parametrize(
    ("text", "c"),
    [
        ("first.number", "int number = BPF_CORE_READ(start, first, number);"),
        ("color", "enum color color = BPF_CORE_READ(start, color);"),
        ("bytes", "u8 *bytes = BPF_CORE_READ(start, bytes);"),
        ("call", "void *call = BPF_CORE_READ(start, call);"),
        ("first.name", "char name[16] = {};\n\nBPF_CORE_READ_STR_INTO(&name, start, first, name);"),
        ("first.rest", "char rest[64] = {};\n\nBPF_CORE_READ_STR_INTO(&rest, start, first, rest);"),
        (
            "first.label",
            "char label[64] = {};\n\n"
            "bpf_probe_read_kernel_str(label, sizeof(label), BPF_CORE_READ(start, first, label));",
        ),
        ("own", "mask_t own = {};\n\nBPF_CORE_READ_INTO(&own, start, own);"),
        ("first.names", "char names[2][8] = {};\n\nBPF_CORE_READ_INTO(&names, start, first, names);"),
        (
            "first.three",
            "struct node *first = BPF_CORE_READ(start, first);\n"
            "unsigned int three = BPF_CORE_READ_BITFIELD_PROBED(first, three);",
        ),
        (
            "table[2].number",
            "struct node **table = BPF_CORE_READ(start, table);\nstruct node *table_ = NULL;\n\n"
            "bpf_core_read(&table_, sizeof(table_), &table[2]);\n"
            "int number = BPF_CORE_READ(table_, number);",
        ),
        (
            "unnamed",
            "typeof(((struct start *)0)->unnamed) unnamed = {};\n\nBPF_CORE_READ_INTO(&unnamed, start, unnamed);",
        ),
        (
            "user.number",
            "node_t *user = BPF_CORE_READ(start, user);\nint number = BPF_CORE_READ_USER(user, number);",
        ),
        (
            "user.next.name",
            "node_t *user = BPF_CORE_READ(start, user);\nchar name[16] = {};\n\n"
            "BPF_CORE_READ_USER_STR_INTO(&name, user, next, name);",
        ),
        (
            "user_text",
            "char user_text[64] = {};\n\n"
            "bpf_probe_read_user_str(user_text, sizeof(user_text), BPF_CORE_READ(start, user_text));",
        ),
    ],
)
def test_each_sort_of_value_has_its_read(text: str, c: str) -> None:
    assert sorted(path(text).c().split("\n")) == sorted(c.split("\n"))


def test_more_than_nine_accessors_take_two_reads() -> None:
    nine = "first" + ".next" * 8
    assert path(nine).c("s", "x") == f"struct node *x = BPF_CORE_READ(s, first{', next' * 8});"
    assert path(f"{nine}.number").c("s") == (
        f"struct node *next = BPF_CORE_READ(s, first{', next' * 8});\nint number = BPF_CORE_READ(next, number);"
    )


def test_a_large_value_goes_into_a_map_in_front_of_the_program() -> None:
    found = path("large")
    assert found.size == 264
    assert "__type(value, unsigned long[33]);" in found.before
    assert "BPF_MAP_TYPE_PERCPU_ARRAY" in found.before
    assert found.c() == (
        "__u32 zero = 0;\nunsigned long (*large)[33] = bpf_map_lookup_elem(&large_scratch, &zero);\n\n"
        "if (large)\n\tBPF_CORE_READ_INTO(large, start, large);"
    )
    assert "264 bytes are too much for the stack" in " ".join(found.notes)
    assert not path("own").before
    assert "32 of the 512 bytes of stack" in " ".join(path("own").notes)


def test_names_that_are_taken_are_not_taken_again() -> None:
    assert path("first").c("first").startswith("struct node *first_value = ")
    # The macro has a variable of this name itself.
    code = path("inner.three").c("val", "x", direct=True)
    assert code.split("\n") == [
        "struct start *holder = val;",
        "unsigned int x = BPF_CORE_READ_BITFIELD(holder, inner.three);",
    ]


def test_plain_c_stops_where_the_verifier_does() -> None:
    assert path("first.next.number").c(direct=True) == "int number = start->first->next->number;"
    for text in ("table[0].number", "user.number", "numbers[1]"):
        with pytest.raises(KernelSupportError, match="does not follow"):
            path(text).c(direct=True)


def test_members_are_asked_for_each_in_its_own_struct() -> None:
    assert path("first.next.number").c(guarded=True) == (
        "int number = 0;\n\nif (bpf_core_field_exists(struct start, first) &&\n"
        "    bpf_core_field_exists(struct node, next) &&\n    bpf_core_field_exists(struct node, number))\n"
        "\tnumber = BPF_CORE_READ(start, first, next, number);"
    )
    assert "bpf_core_field_exists(typeof(*((struct start *)0)->pointed), inside)" in path("pointed.inside").c(
        guarded=True
    )


def test_what_has_no_bytes_cannot_be_read() -> None:
    with pytest.raises(TypeNotFoundError, match="which has no bytes to read"):
        path("nothing").c()
    assert "nothing" in repr(path("nothing"))


def test_a_bitfield_in_a_process_is_refused() -> None:
    with pytest.raises(KernelSupportError, match="no macro reads bitfields"):
        path("user.three").c()


def test_tags_of_pointers_are_noted() -> None:
    notes = {row[0]: row[-1] for name in ("user", "percpu", "rcu", "call") for row in rows(path(name))}
    assert notes == {
        "user": "in the memory of a process (__user)",
        "percpu": "one for each CPU (__percpu)",
        "rcu": "protected by RCU (__rcu)",
        "call": "a function",
    }
    assert rows(path("first.three"))[-1][-1] == "bits 1 to 3"


def test_text_and_html_say_the_same() -> None:
    for text in ("first.next.number", "large", "first.label"):
        found = path(text)
        shown, page = repr(found), found._repr_html_()
        assert found.text in shown
        for line in found.c().split("\n"):
            assert line in shown
        for note in found.notes:
            assert note in shown
            assert note in page
        assert "<table>" in page


@given(st.text(alphabet="firstnexumbodlab.->[]0123456789 ", max_size=30))
def test_any_text_is_a_path_or_is_refused(text: str) -> None:
    try:
        found = path(text)
    except TypeNotFoundError as error:
        assert error.hint  # noqa: PT017
    else:
        assert path(found.text) == found


@pytest.mark.parametrize("index", ["007", "9" * 5000, "0x", "-1"])
def test_an_index_is_a_number_of_c(index: str) -> None:
    with pytest.raises(TypeNotFoundError, match="is not a path"):
        path(f"own.bits[{index}]")


def test_a_path_that_no_macro_reads_shows_itself_and_says_why() -> None:
    found = path("user.one")
    with pytest.raises(KernelSupportError):
        found.c()
    assert "no macro reads bitfields" in repr(found)
    assert "no macro reads bitfields" in found._repr_html_()
    assert found.to_dict()["c"] == ""
    assert "no macro reads bitfields" in found.to_dict()["notes"][0]
