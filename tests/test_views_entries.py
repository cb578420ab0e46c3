"""Texts of keys and values that somebody may type, and entries where there is no kernel."""

from __future__ import annotations

import ast
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotted import RECORDINGS

import ebpflab
from ebpflab.errors import EbpflabError, MapError, SessionError
from ebpflab.maps.record import Named, record_class
from ebpflab.views import Look
from ebpflab.views.entries import delete, entries, names, write
from ebpflab.views.literals import changed, text_of, value_of

PLAIN = st.recursive(
    st.integers() | st.booleans() | st.text() | st.binary() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple),
    max_leaves=9,
)


@given(PLAIN)
def test_every_value_comes_back_from_its_text(value):
    text = text_of(value)
    assert value_of(text, wants_text=isinstance(value, (str, bytes))) == value
    assert text.isprintable()


@given(st.text(), st.booleans())
def test_any_text_is_a_value(text, wants_text):
    value = value_of(text, wants_text=wants_text)
    assert not wants_text or isinstance(value, (str, bytes))


@pytest.mark.parametrize(
    ("text", "value", "for_text"),
    [
        ("17", 17, "17"),
        ("0x1f", 31, "0x1f"),
        ("-1", -1, "-1"),
        ("bash", "bash", "bash"),
        ("'17'", "17", "17"),
        ("10.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("::1", "::1", "::1"),
        ("/usr/bin/bash", "/usr/bin/bash", "/usr/bin/bash"),
        ("{'pid': 17}", {"pid": 17}, "{'pid': 17}"),
        ("[1, 2]", [1, 2], "[1, 2]"),
        ("true", True, "true"),
        ("-inf", -math.inf, "-inf"),
        ("[1.5, inf]", [1.5, math.inf], "[1.5, inf]"),
        ("'nan'", "nan", "nan"),
        (" 5 ", 5, " 5 "),
        ('"\\d"', "\\d", "\\d"),
        ("__import__('os')", "__import__('os')", "__import__('os')"),
    ],
)
def test_literals_are_values_and_the_rest_are_words(text, value, for_text):
    assert value_of(text, wants_text=False) == value
    assert value_of(text, wants_text=True) == for_text


def test_no_number_is_a_float_all_the_same():
    assert math.isnan(value_of(text_of(math.nan), wants_text=False))
    assert math.isnan(value_of("{'x': -nan}", wants_text=False)["x"])
    assert value_of(text_of("nan"), wants_text=True) == "nan"


def test_what_was_changed_are_members_by_name_and_elements_by_index():
    before = {"pid": 17, "at": [1, 2], "u": {"whole": 1, "part": b"\1"}}
    after = {"pid": 17, "at": [1, 3], "u": {"whole": 7, "part": b"\1"}}
    assert changed(after, before) == {"at": {1: 3}, "u": {"whole": 7}}
    assert changed(before, before) == {}
    assert changed({"new": 1}, {}) == {"new": 1}
    assert changed([1, 2], [1]) == [1, 2]


def test_structs_are_shown_as_what_can_be_written_and_enums_by_name():
    event = record_class("event", ("pid", "comm", "mode"))((17, "bash", Named(3, "ON")))
    assert text_of(event) == "{'pid': 17, 'comm': 'bash', 'mode': 'ON'}"
    assert ast.literal_eval(text_of(event)) == {"pid": 17, "comm": "bash", "mode": "ON"}
    assert text_of(Named(3, "ON")) == "ON"
    assert text_of((event,)) == f"({text_of(event)},)"


def test_what_was_cut_or_is_too_long_is_refused_and_never_written():
    with pytest.raises(MapError, match="too long to be shown"):
        value_of("x" * 199 + "…", wants_text=True)
    with pytest.raises(MapError, match="too long"):
        value_of("[" * 10_001, wants_text=False)
    assert value_of("[" * 9_999, wants_text=False) == "[" * 9_999  # Python's parser gives up on it


def test_a_recording_has_no_maps_and_says_so():
    with ebpflab.replay(RECORDINGS[0], speed=None) as session:
        assert names(session) == ()
        for name in ("", "variables", "counts"):
            found = entries(session, Look(tab="maps", map=name))
            assert (found.cells, found.editable) == ((), False)
            assert found.problem
            if name:
                for change in (lambda n=name: write(session, n, "a", "1"), lambda n=name: delete(session, n, "a")):
                    with pytest.raises(SessionError):
                        change()
        with pytest.raises(EbpflabError):
            delete(session, "counts", "x")
