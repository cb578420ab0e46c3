"""Global variables over the sections that clang made of ``data/btf/globals.c``."""

from __future__ import annotations

import os
import struct

import pytest
from sections import DATA, FakeHandle, offset_of

from ebpflab.btf import Btf
from ebpflab.errors import CellError, MapError, SessionError
from ebpflab.maps import Named, Record, Variables, set_before_load


@pytest.fixture(scope="module")
def btf():
    return Btf.parse((DATA / "globals.BTF").read_bytes())


@pytest.fixture
def handle():
    made = FakeHandle()
    yield made
    made.close()


@pytest.fixture
def variables(handle, btf):
    made = Variables(handle, btf)
    yield made
    made.close()


@pytest.fixture
def loaded(handle, variables):
    handle.load()
    variables.loaded(handle)
    return variables


INITIAL = {  # as globals.c has them
    "tiny": 200,
    "below": -100,
    "port": 65500,
    "minus": -70000,
    "first": 4000000000,
    "far": -6000000000,
    "wide": 0xFEDCBA9876543210,
    "yes": True,
    "half": 1.5,
    "third": -0.1,
    "label": "hello",
    "mode": 9,
    "depth": 2**32 - 7,  # -7; clang 14 does not write down that an enum is signed
    "pair": {"a": 1, "b": 2},
    "numbers": (10, 20, 30),
    "seen": 0,
    "pointer": 0,
    "only": 5,
    "verbose": False,
    "path": "/etc",
    "kept": 77,
}
CHANGED = {
    "tiny": 0,
    "below": 127,
    "port": 1,
    "minus": -(2**31),
    "first": 2**32 - 1,
    "far": 2**63 - 1,
    "wide": 2**64 - 1,
    "yes": False,
    "half": -0.25,
    "third": 1e300,
    "label": "a név of é",
    "mode": 3,
    "depth": 2**32 - 1,
    "pair": {"a": 7, "b": 2**32 - 1},
    "numbers": (1, 0, 2**32 - 1),
    "seen": 17,
    "pointer": 2**63,
    "kept": 78,
}


@pytest.mark.parametrize("state", ["opened", "loaded"])
def test_variables_have_the_values_of_the_c_source(variables, handle, state):
    if state == "loaded":
        handle.load()
        variables.loaded(handle)
    assert dict(variables) == INITIAL
    kinds = {**{name: type(value) for name, value in INITIAL.items()}, "pair": Record, "mode": Named, "depth": Named}
    assert {name: type(value) for name, value in variables.items() if name != "pair"} == {
        name: kind for name, kind in kinds.items() if name != "pair"
    }
    assert isinstance(variables["pair"], Record)
    assert (variables["mode"].name, variables["pair"].b) == ("ALL", 2)
    assert len(variables) == len(INITIAL)
    assert "yes" in variables
    assert "site_a" not in variables


@pytest.mark.parametrize("name", CHANGED)
def test_what_is_written_after_load_is_what_the_kernel_reads_and_its_neighbours_stay(loaded, handle, name):
    loaded[name] = CHANGED[name]
    assert dict(loaded) == {**INITIAL, name: CHANGED[name]}
    codes = {"tiny": "B", "below": "b", "port": "H", "minus": "i", "far": "q", "yes": "?", "half": "f", "third": "d"}
    shapes = {
        **dict.fromkeys(("first", "mode", "depth"), "I"),
        **dict.fromkeys(("wide", "seen", "pointer", "kept"), "Q"),
    }
    shapes |= codes
    if name in shapes:
        packed = struct.pack("<" + shapes[name], CHANGED[name])
    else:
        packed = {
            "label": "a név of é".encode().ljust(16, b"\0"),
            "pair": struct.pack("<II", 7, 2**32 - 1),
            "numbers": struct.pack("<III", 1, 0, 2**32 - 1),
        }[name]
    assert handle.kernel_reads(name, len(packed)) == packed


def test_what_the_kernel_writes_is_what_is_read(loaded, handle):
    handle.kernel_writes("seen", struct.pack("<Q", 123456789))
    handle.kernel_writes("label", b"sixteen letters!")
    assert (loaded["seen"], loaded["label"]) == (123456789, "sixteen letters!")
    handle.kernel_writes("label", b"bad \xff\0")
    assert loaded["label"] == "bad \ufffd"


def test_constants_are_set_before_load_and_are_constants_after_it(variables, handle):
    variables["only"] = 42
    variables["path"] = "/tmp"
    handle.load()
    variables.loaded(handle)
    assert (variables["only"], variables["path"]) == (42, "/tmp")
    assert handle.kernel_reads("only", 4) == struct.pack("<I", 42)
    with pytest.raises(SessionError, match="only is a constant of the loaded program") as caught:
        variables["only"] = 43
    assert "--var only=" in caught.value.hint
    assert variables["only"] == 42


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tiny", 256),
        ("tiny", -1),
        ("below", 128),
        ("first", 2**32),
        ("far", 2**63),
        ("wide", -1),
        ("first", 1.5),
        ("first", "7"),
        ("half", "x"),
        ("mode", "EVERYTHING"),
        ("mode", -1),
        ("label", "x" * 16),
        ("label", "é" * 8),
        ("label", 3),
        ("label", True),
        ("label", [1, 2]),
        ("label", None),
        ("path", b"12345678"),
        ("pair", b"1234567"),
        ("pair", (1, 2, 3)),
        ("pair", {"c": 1}),
        ("pair", {"a": -1}),
        ("pair", 1),
        ("numbers", [1, 2]),
        ("numbers", [1, 2, "3"]),
        ("numbers", {3: 1}),
        ("half", 1e300),
    ],
)
def test_a_value_that_does_not_fit_is_refused_and_changes_nothing(variables, name, value):
    with pytest.raises(CellError, match=f"--var {name}=") as caught:
        set_before_load(variables, {name: value})
    assert caught.value.hint
    assert dict(variables) == INITIAL


@pytest.mark.parametrize(
    ("name", "value", "after"),
    [
        ("pair", {"a": 5}, (5, 0)),  # what is left out is 0, as in C
        ("pair", (5, 6), (5, 6)),
        ("pair", struct.pack("<II", 5, 6), (5, 6)),
        ("numbers", [1, 2, 3], (1, 2, 3)),
        ("numbers", {1: 7}, (0, 7, 0)),
        ("mode", "ON", 3),
        ("mode", 4, 4),
        ("half", 2, 2.0),
    ],
)
def test_structs_arrays_and_enums_are_written_from_what_resembles_them(loaded, handle, name, value, after):
    loaded[name] = value
    assert dict(loaded) == {**INITIAL, name: after}
    shape = {"pair": "<2I", "numbers": "<3I", "mode": "<I", "half": "<f"}[name]
    values = after if isinstance(after, tuple) else (after,)
    assert handle.kernel_reads(name, struct.calcsize(shape)) == struct.pack(shape, *values)


def test_a_value_that_does_not_fit_after_load_is_a_map_error_that_names_the_field(loaded):
    with pytest.raises(MapError, match=r"pair.a: -1 does not fit into u32") as caught:
        loaded["pair"] = {"a": -1}
    assert caught.value.hint == "give a number from 0 to 4,294,967,295"
    with pytest.raises(MapError, match="'c' is no field of struct pair") as caught:
        loaded["pair"] = {"c": 1}
    assert "fields are a, b" in caught.value.hint
    with pytest.raises(MapError, match="'ALLL' is no name of enum mode") as caught:
        loaded["mode"] = "ALLL"
    assert caught.value.hint == "did you mean ALL?"
    assert dict(loaded) == INITIAL


@pytest.mark.parametrize(("value", "expected"), [(0, False), (1, True), (True, True)])
def test_a_bool_takes_zero_and_one(variables, value, expected):
    set_before_load(variables, {"yes": value})
    assert variables["yes"] is expected


def test_text_may_be_bytes_and_leaves_nothing_of_what_was_there(variables, handle):
    variables["label"] = b"ab"
    section, at = offset_of("label")
    assert bytes(handle.images[section][at : at + 16]) == b"ab".ljust(16, b"\0")


def test_an_unknown_name_is_a_key_error_with_the_nearest_and_a_cell_error_at_load(variables):
    for access in (lambda: variables["frist"], lambda: variables.__setitem__("frist", 1)):
        with pytest.raises(KeyError, match="no global variable 'frist'; did you mean first"):
            access()
    with pytest.raises(CellError, match="no global variable 'frist'") as caught:
        set_before_load(variables, {"frist": 1})
    assert "global variables of this cell: tiny, below" in caught.value.hint
    assert variables.get("frist") is None


def test_a_variable_cannot_be_deleted(variables):
    with pytest.raises(SessionError, match="cannot be deleted"):
        del variables["first"]


def test_a_closed_session_says_so_and_its_names_stay(loaded):
    loaded.close()
    loaded.close()
    with pytest.raises(SessionError, match="closed") as caught:
        loaded["first"]
    assert caught.value.hint
    with pytest.raises(SessionError, match="closed"):
        loaded["first"] = 1
    assert set(loaded) == set(INITIAL)
    assert "closed" in repr(loaded)


def test_the_variables_show_themselves_as_c_with_their_values(variables):
    lines = repr(variables).splitlines()
    assert len(lines) == len(INITIAL)
    assert "u32 first = 4000000000  (.data)" in lines
    assert "char[16] label = 'hello'  (.data)" in lines
    assert any("only = 5  (.rodata)" in line for line in lines)


def open_descriptors():
    return sorted(entry.name for entry in os.scandir("/proc/self/fd"))


def test_no_descriptor_is_left_open(handle, btf):
    handle.load()
    before = open_descriptors()
    variables = Variables(handle, btf)
    variables.loaded(handle)
    variables["seen"] = 1
    variables.close()
    assert open_descriptors() == before


def test_variables_are_attributes_too(variables, handle):
    assert variables.first == variables["first"] == 4000000000
    variables.first = 17
    assert variables["first"] == 17
    section, at = offset_of("first")
    assert bytes(handle.images[section][at : at + 4]) == (17).to_bytes(4, "little")
    assert "first" in dir(variables)


def test_an_attribute_that_no_variable_has_is_an_attribute_error_with_the_nearest(variables):
    with pytest.raises(AttributeError, match="did you mean first"):
        _ = variables.frist
    with pytest.raises(AttributeError, match="did you mean first"):
        variables.frist = 1
    assert not hasattr(variables, "_repr_html_")
    assert not hasattr(variables, "shape")
