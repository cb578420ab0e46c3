"""What the top of a tool says, the words after ``run``, a tool's answer as an expression, and rows as JSON and text."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ebpflab
from ebpflab.errors import CellError, SessionError
from ebpflab.toolbox import answer, arguments, shelf
from ebpflab.toolbox.printing import JsonLines, Rows
from ebpflab.toolbox.tool import Parameter, parse

SOURCE = """\
// slow: which calls take long?
//
//     %bpf run slow --for 5s
//     pid   took
//       1   2 ms
//
// Rows:     s.maps["calls"].df()
// Plot:     s.maps["calls"].plot.top("comm",
//           weight="count")
// Attach:   on_sample=cpu-clock,freq=99 on_packet=INTERFACE
// Overhead: 1,234 ns a run; one run for each call.
// Needs:    nothing.

const volatile u64 min_us = 1000;  // shorter ones are left out
const volatile bool failed = false;
const volatile char comm[16] = "";  // only this command

int main_thing;
"""


def test_the_top_of_a_tool_is_read():
    tool = parse(SOURCE, Path("slow.bpf.c"))
    assert (tool.name, tool.question) == ("slow", "which calls take long?")
    assert tool.sample == "%bpf run slow --for 5s\npid   took\n  1   2 ms"
    assert tool.rows == 's.maps["calls"].df()'
    assert tool.plot == 's.maps["calls"].plot.top("comm", weight="count")'
    assert tool.targets == {"on_sample": "cpu-clock,freq=99"}
    assert tool.wanted == {"on_packet": "INTERFACE"}
    assert (tool.nanoseconds, tool.needs) == (1234, "nothing.")
    assert tool.parameters == (
        Parameter("min_us", "u64", "1000", "shorter ones are left out"),
        Parameter("failed", "bool", "false", ""),
        Parameter("comm", "char[16]", '""', "only this command"),
    )
    assert [p.option for p in tool.parameters] == ["--min-us", "--failed", "--comm"]


def test_a_tool_shows_itself_with_its_options_in_both_renderings():
    tool = parse(SOURCE, Path("slow.bpf.c"))
    for shown in (repr(tool), tool._repr_html_()):
        for word in ("which calls take long?", "--min-us", "shorter ones are left out", "INTERFACE", "1,234 ns a run"):
            assert word in shown
    assert json.loads(json.dumps(tool.to_dict()))["attach"]["on_packet"] == "INTERFACE"


@pytest.mark.parametrize("source", ["", "int x;", "// other: what?\n", "/* slow: what? */", "//slow: what?"])
def test_a_file_that_does_not_say_what_it_is_for_is_no_tool(source):
    with pytest.raises(CellError, match="does not begin with // slow"):
        parse(source, Path("slow.bpf.c"))


@given(st.text())
def test_any_text_is_a_tool_or_an_error(text):
    for source in (text, f"// slow: what?\n//{text}", f"// slow: what?\n// {text}\n\nconst volatile {text};"):
        try:
            parse(source, Path("slow.bpf.c"))
        except CellError:
            assert not source.startswith("// slow: what?")


@pytest.fixture
def slow(tmp_path, monkeypatch):
    path = tmp_path / "slow.bpf.c"
    path.write_text(SOURCE)
    monkeypatch.setattr(shelf, "_FOLDERS", (tmp_path,))
    return path


def test_tools_are_found_by_name_and_by_a_word_of_their_question(slow):
    assert shelf.find("slow").path == slow
    assert ebpflab.tools()[["tool", "options", "ns"]].values.tolist() == [
        ["slow", "--attach on_packet=INTERFACE --min-us --failed --comm", 1234]
    ]
    assert ebpflab.tools("LONG")["tool"].tolist() == ["slow"]
    assert ebpflab.tools("disk").attrs["note"] == "no tool answers to 'disk'; %bpf tools lists all"
    with pytest.raises(CellError, match="there is no tool 'slwo'") as caught:
        shelf.find("slwo")
    assert "did you mean slow?" in caught.value.hint


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("", {}),
        ("--min-us 23", {"min_us": 23}),
        ("--min_us=0x17", {"min_us": 23}),
        ("--failed", {"failed": True}),
        ("--failed=false", {"failed": False}),
        ("--comm 0123", {"comm": "0123"}),
        ("--var min_us=7", {"min_us": 7}),
    ],
)
@pytest.mark.usefixtures("slow")
def test_parameters_are_options_before_and_behind_the_name(words, values):
    place = ["--attach", "on_packet=lo"]
    for line in ([*words.split(), *place, "slow"], ["slow", *place, *words.split()]):
        assert arguments.parse(line, "%bpf run").options.vars == values


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("slow", "slow has to be told where"),
        ("slow --min-s 2", "unknown option --min-s"),
        ("slow other", "unrecognized arguments: other"),
        ("slow --min-us soon", "--min-us soon: that is no whole number"),
        ("--for 2s", "there is no tool '2s' in bpf_src"),
        ("", "%bpf run needs the name of a tool"),
    ],
)
@pytest.mark.usefixtures("slow")
def test_mistakes_in_a_line_say_what_to_write(words, what):
    with pytest.raises(CellError) as caught:
        arguments.parse(words.split(), "%bpf run")
    assert caught.value.what == what
    assert caught.value.hint


@pytest.mark.usefixtures("slow")
def test_no_place_is_needed_to_load_only():
    assert arguments.parse(["slow", "--no-attach"], "%bpf run").options.attach is False


def session(rows="", plot=""):
    frame = pd.DataFrame({"comm": ["b", "a"], "count": [2, 3]})
    calls = SimpleNamespace(df=lambda: frame, plot=lambda **how: how)
    return SimpleNamespace(maps={"calls": calls}, tool=SimpleNamespace(rows=rows, plot=plot), secret="no")


def test_an_answer_is_the_expression_of_the_header():
    s = session(
        's.maps["calls"].df().sort_values("count", ascending=False).head(1)', 's.maps["calls"].plot(units="us")'
    )
    assert answer.rows(s)["comm"].tolist() == ["a"]
    assert answer.plot(s) == {"units": "us"}
    assert answer.plot(s, ax="here") == {"units": "us", "ax": "here"}
    assert answer.counted(s)
    assert not answer.counted(session("s.events.df()"))


@pytest.mark.parametrize(
    "text", ["__import__('os')", "s.maps.__class__", "s._secret", "(lambda: 1)()", "t.df()", "1 + s"]
)
def test_nothing_but_plain_expressions_is_an_answer(text):
    with pytest.raises(SessionError, match="is no expression for a tool's answer"):
        answer.rows(session(text))


FRAME = pd.DataFrame(
    {
        "time": pd.to_datetime([1, None], unit="s", utc=True),
        "took": pd.to_timedelta([1500, None], unit="ns"),
        "comm": pd.Categorical(['a\n"b"', None]),
        "big": np.array([2**64 - 1, 0], np.uint64),
        "part": [0.5, np.nan],
        "raw": [b"\x00\xff", b""],
        "stack": [("main", "work"), ()],
        "array": [np.array([1, 2]), np.array([], int)],
        "maybe": pd.array([23, None], dtype="UInt64"),
    }
)


def test_rows_are_valid_lines_of_json_with_nothing_lost():
    out = io.StringIO()
    JsonLines(out).rows(FRAME)
    JsonLines(out).rows(FRAME.head(0))
    JsonLines(out).rows(FRAME[["part"]], "second")
    JsonLines(out).totals({"received": 4})
    first, missing, *others, last = [
        json.loads(line, parse_constant=pytest.fail) for line in out.getvalue().splitlines()
    ]
    assert first == {
        "time": "1970-01-01T00:00:01.000000000Z",
        "took": 1500,
        "comm": 'a\n"b"',
        "big": 2**64 - 1,
        "part": 0.5,
        "raw": "00ff",
        "stack": ["main", "work"],
        "array": [1, 2],
        "maybe": 23,
    }
    assert [missing[name] for name in ("time", "took", "comm", "part", "maybe")] == [None] * 5
    assert others == [{"stream": "second", "part": 0.5}, {"stream": "second", "part": None}]
    assert last == {"totals": {"received": 4}}


@given(
    st.lists(
        st.tuples(st.floats(), st.text(), st.binary(), st.integers(0, 2**64 - 1)),
        max_size=7,
    )
)
def test_any_values_are_valid_json(values):
    out = io.StringIO()
    JsonLines(out).rows(pd.DataFrame(values, columns=["float", "text", "raw", "whole"]))
    rows = [json.loads(line, parse_constant=pytest.fail) for line in out.getvalue().splitlines()]
    assert [(row["text"], row["raw"], row["whole"]) for row in rows] == [(t, b.hex(), n) for _, t, b, n in values]


def test_text_that_goes_to_a_file_is_whole_and_on_a_terminal_a_mark_says_what_was_cut():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stack, path = ";".join(["start", *["between"] * 20, "leaf"]), "/" + "x" * 300
    frame = pd.DataFrame({"stack": [stack], "first": [path], "last": [path]})
    file, terminal = io.StringIO(), Terminal()
    Rows(file, io.StringIO()).rows(frame)
    Rows(terminal, io.StringIO()).rows(frame)
    assert file.getvalue().splitlines()[1].split() == [stack, path, path]
    shown = terminal.getvalue().splitlines()[1].split()
    assert shown[0].startswith("…")
    assert shown[0].endswith("between;leaf")
    assert shown[1] == path[:59] + "…"
    assert shown[2] == path


def test_a_stack_that_is_not_there_is_empty_in_an_answer():
    s = session('s.maps["calls"].df()')
    frame = pd.DataFrame({"user": pd.Categorical(["a;b", "[EFAULT]"]), "kernel": ["[EFAULT]", "c"]})
    s.maps["calls"].df = lambda: frame
    assert answer.rows(s).values.tolist() == [["a;b", ""], ["", "c"]]


def test_text_keeps_its_columns_and_repeats_the_head_only_for_other_columns():
    out, notes = io.StringIO(), io.StringIO()
    writer = Rows(out, notes)
    writer.rows(pd.DataFrame({"pid": [7, 1234567], "comm": ["cat", "a\nb"]}))
    writer.rows(pd.DataFrame({"pid": [8], "comm": ["ls"]}))
    writer.rows(pd.DataFrame({"pid": [], "comm": []}))
    writer.rows(pd.DataFrame({"n": [1]}))
    writer.again()
    writer.rows(pd.DataFrame({"n": [2]}))
    writer.totals({"received": 1234, "lost": None})
    first = "    pid  comm\n      7  cat\n1234567  a\\nb\n      8  ls\n"
    assert out.getvalue() == f"{first}     n\n     1\n\n     n\n     2\n"
    assert notes.getvalue() == "received 1,234\n"
