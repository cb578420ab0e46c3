"""Which struct a record is. The BTF is clang's for ``data/btf/globals.c``; sizes are those of bpftool's dump of it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflab.btf import Btf
from ebpflab.errors import CellError, DecodeError
from ebpflab.records import record_types

DATA = Path(__file__).parent / "data" / "btf"
STRUCTS = ("open_event", "close_event", "exec_event", "event", "sample", "lefts", "right", "alloc_t")


@pytest.fixture(scope="module")
def btf():
    return Btf.parse((DATA / "globals.BTF").read_bytes())


@pytest.fixture(scope="module")
def sizes():
    types = json.loads((DATA / "globals.json").read_text())["types"]
    found = {t["name"]: t["size"] for t in types if t["kind"] == "STRUCT"}
    unnamed = {t["id"]: t["size"] for t in types if t["kind"] == "STRUCT"}
    return found | {
        t["name"]: unnamed[t["type_id"]] for t in types if t["kind"] == "TYPEDEF" and t["type_id"] in unnamed
    }


def names(found):
    return [c.type.name for c in found]


def test_the_definition_of_a_map_names_its_record_type(btf, sizes):
    types = record_types("typed", btf, STRUCTS)
    assert (types.by, names(types.candidates), types.label()) == (
        "definition",
        ["struct exec_event"],
        "struct exec_event",
    )
    assert names(types.of_length(sizes["exec_event"])) == ["struct exec_event"]


def test_a_definition_may_name_a_typedef(btf, sizes):
    types = record_types("typed_by_typedef", btf, STRUCTS)
    assert (types.by, names(types.of_length(sizes["alloc_t"]))) == ("definition", ["alloc_t"])


def test_a_definition_whose_value_is_a_number_says_nothing_about_records(btf):
    assert record_types("scalars", btf, STRUCTS).by == "size"


@pytest.mark.parametrize("buffer", ["events", "a_buffer_of_another_object"])
def test_without_a_type_in_the_definition_the_structs_of_the_cell_are_candidates(btf, sizes, buffer):
    types = record_types(buffer, btf, STRUCTS)
    assert (types.by, types.label()) == ("size", "by size")
    assert [c.type.size for c in types.candidates] == [sizes[name] for name in STRUCTS]
    assert names(types.of_length(sizes["exec_event"])) == ["struct exec_event"]


def test_structs_that_the_object_does_not_hold_are_no_candidates(btf):
    assert record_types("events", btf, ("elsewhere", "mode", "u32", "exec_event")).of_length(20)
    assert names(record_types("events", btf, ("elsewhere", "mode", "u32", "exec_event")).candidates) == [
        "struct exec_event"
    ]


@pytest.mark.parametrize(
    ("buffer", "size", "chosen"),
    [
        ("events", "event", "struct event"),  # against struct sample: a record of "events" is an event
        ("samples", "sample", "struct sample"),
        ("sample", "sample", "struct sample"),
        ("opens", "open_event", "struct open_event"),
        ("open", "open_event", "struct open_event"),
        ("closes", "open_event", "struct close_event"),
        ("both", "open_event", None),
        ("close", "open_event", "struct close_event"),
        ("rb", "event", "struct event"),
    ],
)
def test_of_several_structs_of_one_size_the_name_decides_or_nobody(btf, sizes, buffer, size, chosen):
    types = record_types(buffer, btf, STRUCTS)
    if chosen:
        assert names(types.of_length(sizes[size])) == [chosen]
    else:
        with pytest.raises(DecodeError, match="struct open_event and struct close_event all have 16 bytes"):
            types.of_length(sizes[size])


@pytest.mark.parametrize(
    ("buffer", "wanted", "padded"),
    [
        ("typed", None, {20: 20}),
        ("events", None, {28: 24, 44: 40, 52: 48}),  # 16 and 20 bytes both arrive as 20: which one, nobody knows
        ("open_events", None, {20: 16, 28: 24, 44: 40, 52: 48}),  # by its name
        ("events", "open_event:kind=1,close_event:kind=2", {20: 16}),
    ],
)
def test_a_padded_length_is_that_of_one_record_type_or_of_none(btf, buffer, wanted, padded):
    assert record_types(buffer, btf, STRUCTS, wanted).padded_sizes() == padded


def test_wanted_types_that_arrive_alike_are_an_error(btf):
    with pytest.raises(DecodeError, match="open_event and struct exec_event both arrive as 20 bytes") as caught:
        record_types("events", btf, STRUCTS, "open_event,exec_event").padded_sizes()
    assert "BPF_MAP_TYPE_RINGBUF" in caught.value.hint


def test_an_ambiguous_size_is_an_error_whose_hint_can_be_pasted(btf, sizes):
    with pytest.raises(DecodeError, match="struct lefts and struct right all have 48 bytes") as caught:
        record_types("ring", btf, STRUCTS).of_length(48)
    first, _, tagged = caught.value.hint.partition(", or with a tag field: ")
    assert first == "--event ring=lefts"
    assert names(record_types("ring", btf, STRUCTS, "lefts").of_length(48)) == ["struct lefts"]
    assert tagged == "--event ring=lefts:kind=0 --event ring=right:kind=1"


def test_a_size_that_no_struct_has_is_an_error_with_the_sizes_that_there_are(btf, sizes):
    with pytest.raises(DecodeError) as caught:
        record_types("events", btf, STRUCTS).of_length(17)
    assert "events holds records of 17 bytes" in caught.value.what
    assert f"struct exec_event has {sizes['exec_event']}" in caught.value.what
    assert "sizeof(struct)" in caught.value.hint
    assert "--event events=STRUCT" in caught.value.hint


def test_a_cell_without_structs_says_so(btf):
    with pytest.raises(DecodeError, match="the cell defines no struct for them"):
        record_types("events", btf).of_length(8)


@pytest.mark.parametrize("wanted", ["close_event", "struct close_event", " close_event "])
def test_the_option_decides_over_size_and_definition(btf, sizes, wanted):
    for buffer in ("typed", "events"):
        types = record_types(buffer, btf, STRUCTS, wanted)
        assert (types.by, names(types.of_length(sizes["close_event"]))) == ("option", ["struct close_event"])
        with pytest.raises(DecodeError, match="struct close_event has 16"):
            types.of_length(sizes["exec_event"])


def test_the_option_takes_a_typedef_and_names_beyond_those_of_the_cell(btf, sizes):
    assert names(record_types("events", btf, (), "alloc_t").of_length(sizes["alloc_t"])) == ["alloc_t"]


def test_several_wanted_types_are_told_apart_by_size(btf, sizes):
    types = record_types("events", btf, STRUCTS, "open_event,exec_event")
    assert names(types.of_length(sizes["open_event"])) == ["struct open_event"]
    assert names(types.of_length(sizes["exec_event"])) == ["struct exec_event"]
    assert types.label() == "struct open_event | struct exec_event"


def test_tags_tell_types_of_one_size_apart(btf, sizes):
    types = record_types("events", btf, STRUCTS, "open_event:kind=1, close_event:kind=-0x2")
    found = types.of_length(sizes["open_event"])
    assert [(c.type.name, c.field, c.value) for c in found] == [
        ("struct open_event", "kind", 1),
        ("struct close_event", "kind", -2),
    ]


def test_a_tag_on_only_one_of_two_types_of_a_size_leaves_them_ambiguous(btf, sizes):
    with pytest.raises(DecodeError, match="all have 16 bytes"):
        record_types("events", btf, STRUCTS, "open_event:kind=1,close_event").of_length(sizes["open_event"])


@pytest.mark.parametrize(
    ("wanted", "what", "hint"),
    [
        ("open_evnt", "no struct open_evnt", "did you mean open_event"),
        ("zzzzzzzz", "no struct zzzzzzzz", "structs of this cell: open_event, close_event"),
        ("mode", "no struct mode", ""),  # an enum
        ("u32", "no struct u32", ""),
        ("open_event:knd=1", "struct open_event has no field knd", "kind"),
        ("open_event:kind=one", "kind=one: the tag has to be a number", ""),
        ("open_event:kind=08", "the tag has to be a number", ""),
        ("open_event:kind", "expected STRUCT or STRUCT:FIELD=NUMBER", ""),
        ("open_event,", "expected STRUCT", ""),
        ("a b", "expected STRUCT", ""),
    ],
)
def test_a_wrong_option_is_a_cell_error(btf, wanted, what, hint):
    with pytest.raises(CellError) as caught:
        record_types("events", btf, STRUCTS, wanted)
    assert what in caught.value.what
    assert hint in (caught.value.hint or "")


@given(st.text(), st.integers(0, 100))
def test_any_option_is_record_types_or_a_cell_error(btf, wanted, length):
    with contextlib.suppress(CellError, DecodeError):
        found = record_types("events", btf, STRUCTS, wanted).of_length(length)
        assert {c.type.size for c in found} == {length}
