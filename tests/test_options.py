"""The line after ``%%bpf``: what each option becomes, and what is said when one is wrong."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflab.errors import CellError
from ebpflab.options import Options, duration, parse, parser, value


def test_an_empty_line_asks_for_the_defaults():
    assert parse("") == parse("  \t ") == Options()
    assert Options() == Options(None, "auto", None, False, {}, {}, None, {}, {}, True, False)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("opens", {"name": "opens"}),
        ("--engine libbpf", {"engine": "libbpf"}),
        ("--engine=bcc", {"engine": "bcc"}),
        ("--for 10s", {"seconds": 10.0}),
        ("--watch", {"watch": True}),
        ("--attach tp/a/b=c:d", {"targets": {"tp/a/b": "c:d"}}),
        ("--attach a=b --attach c=d=e", {"targets": {"a": "b", "c": "d=e"}}),
        ("--var X=1", {"vars": {"X": 1}}),
        ("--var X=1 --var y='a b' --var X=2", {"vars": {"X": 2, "y": "a b"}}),
        ("--keep 200MB", {"keep": "200MB"}),
        ("--event events=open_event", {"events": {"events": "open_event"}}),
        ("--buffer events=64MiB --buffer more=1MB", {"buffers": {"events": "64MiB", "more": "1MB"}}),
        ("--no-attach", {"attach": False}),
        ("--unsafe", {"unsafe": True}),
    ],
)
def test_each_option_sets_its_own_field_and_no_other(line, wanted):
    assert parse(line) == Options(**wanted)


def test_all_options_go_together_in_any_order():
    line = "--for 500ms --unsafe --event e=s --keep=60s opens --no-attach --watch --engine auto --var=n=0x10"
    line += " --attach 'uprobe=/bin/a b:f'"
    assert parse(line) == Options(
        "opens", "auto", 0.5, True, {"uprobe": "/bin/a b:f"}, {"n": 16}, "60s", {"e": "s"}, {}, False, True
    )


def test_a_repeated_event_of_one_map_adds_a_record_type_and_other_maps_stay_apart():
    line = "--event m=open:kind=1 --event n=exec --event m=close:kind=2"
    assert parse(line).events == {"m": "open:kind=1,close:kind=2", "n": "exec"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("500ms", 0.5), ("2m", 120), ("1.5", 1.5), (".25s", 0.25), ("1h", 3600), (" 3 s ", 3), ("2.", 2)],
)
def test_durations_are_seconds(text, seconds):
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "0", "0s", "-1s", "ten", "1d", "1 0s", "1e3", "nan", "inf", "10S", "s", "1,5s", "--watch", "٣s"]
)
def test_what_is_no_positive_duration_is_refused_with_the_form_that_is(text):
    with pytest.raises(CellError, match="is not a duration") as caught:
        duration(text)
    assert "10s" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("-1", -1),
        ("0x1f", 31),
        ("1_000", 1000),
        ("1.5", 1.5),
        ("1e6", 1e6),
        ("true", True),
        ("False", False),
        ("b'\\x01'", b"\x01"),
        ("[1, 2]", [1, 2]),
        ("'quoted'", "quoted"),
        ("bash", "bash"),
        ("/usr/bin/a b", "/usr/bin/a b"),
        ("10.0.0.1", "10.0.0.1"),
        ("0123", "0123"),
        ("", ""),
        ("a\0b", "a\0b"),
        ("(" * 500, "(" * 500),
        ("-" * 5000 + "1", "-" * 5000 + "1"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_values_are_literals_or_else_text(text, expected):
    assert value(text) == expected
    assert type(value(text)) is type(expected)


@given(st.text())
def test_any_text_is_a_value(text):
    value(text)


def test_a_value_may_hold_blanks_quotes_and_equals_signs():
    assert parse("""--var a='x=y z' --var "b=it's" --var c=\\"1\\" """).vars == {"a": "x=y z", "b": "it's", "c": "1"}


@pytest.mark.parametrize(
    ("line", "what", "hint"),
    [
        ("--fro 10s", "unknown option --fro", "--for"),
        ("opens --unsfe", "unknown option --unsfe", "--unsafe"),
        ("--evnt=a=b", "unknown option --evnt", "--event"),
        ("--noattach", "unknown option --noattach", "--no-attach"),
        ("--zzzzzz", "unknown option --zzzzzz", "all options"),
        ("--fo 10s", "unknown option --fo", "--for"),
        ("-x", "unknown option -x", "all options"),
        ("opens more", "unrecognized arguments: more", "all options"),
        ("--for", "expected one argument", "all options"),
        ("--for soon", "'soon' is not a duration", "10s"),
        ("--engine gcc", "invalid choice: 'gcc'", "all options"),
        ("--var X", "--var X: expected --var NAME=VALUE", "all options"),
        ("--var =1", "--var =1: expected", "all options"),
        ("--attach =", "--attach =: expected --attach SECTION=TARGET", "all options"),
        ("--event events", "--event events: expected --event MAP=STRUCT", "all options"),
        ("--event events=", "--event events=: expected", "all options"),
        ("2fast", "'2fast' cannot be a variable name", "identifier"),
        ("a-b", "'a-b' cannot be a variable name", "identifier"),
        ("class", "'class' cannot be a variable name", "identifier"),
        ("--var 'X=1", "No closing quotation", "quotes"),
    ],
)
def test_a_wrong_line_is_one_cell_error_with_a_hint(line, what, hint, capsys):
    with pytest.raises(CellError) as caught:
        parse(line)
    assert what in caught.value.what
    assert hint in caught.value.hint
    assert capsys.readouterr() == ("", "")


@given(
    st.lists(
        st.sampled_from([*parser()._option_string_actions, "a", "=", "x=1", "10s", "'", '"', "--", "-", "é", "\n"])
    ).map(" ".join)
)
def test_any_line_is_options_or_a_cell_error(line):
    try:
        result = parse(line)
    except CellError as error:
        result = error.hint
    assert result


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_quoted_text_arrives_as_it_was_given(text):
    assert parse(f"--attach {shlex.quote('p=' + text)}").targets == {"p": text}


def test_the_help_names_every_option_with_its_form():
    shown = parser().format_help()
    for form in (
        "--engine {auto,libbpf,bcc}",
        "--for 10s",
        "--attach SECTION=TARGET",
        "--var X=1",
        "--event MAP=STRUCT",
    ):
        assert form in shown
