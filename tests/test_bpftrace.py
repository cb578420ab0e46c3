"""What bpftrace prints, of several versions, as frames; what its programs say of them; its refusals as our errors."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflab.errors import (
    AttachError,
    CompileError,
    DecodeError,
    EbpflabError,
    HookNotFoundError,
    PrivilegeError,
    UnsafeError,
)
from ebpflab.tracer import drawing, messages, recorded, refusals, script, tables
from ebpflab.tracer.messages import Message, parse
from ebpflab.tracer.script import Line, MapUse
from ebpflab.tracer.trace import Trace

DATA = Path(__file__).parent / "data" / "bpftrace"
EVERYTHING = (DATA / "everything.bt").read_text()
REFUSALS = json.loads((DATA / "refusals-0.17.json").read_text())
NEWER = """
    BEGIN { @counts[pid, comm] = count(); @big = nsecs; @mixed[cpu] = sum(nsecs); @fine = hist(1, 3);
            @l = lhist(1, 0, 10, 10); @empty = hist(1); @stats[comm] = stats(1); @t[comm] = tseries(1, 100ms, 5);
            printf("pid %d of %s\\n", pid, comm); }
"""


def played(text, lines):
    """A trace of a text that printed these lines, one each millisecond."""
    trace = Trace(text, "played")
    for number, line in enumerate(each for each in lines if each.strip()):
        trace._take(1_700_000_000_000_000_000 + number * 1_000_000, line)
    return trace


@pytest.fixture(scope="module")
def everything():
    return played(EVERYTHING, (DATA / "everything-0.17.jsonl").read_bytes().splitlines())


@pytest.fixture(scope="module")
def newer():
    return played(NEWER, (DATA / "newer.jsonl").read_bytes().splitlines())


def rows(printed):
    return printed.df().to_dict("records")


def test_every_line_of_the_captured_output_is_read(everything):
    lines = (DATA / "everything-0.17.jsonl").read_bytes().splitlines()
    kinds = {parse(line).kind for line in lines if line.strip()}
    assert kinds == {"attached_probes", "cat", "hist", "map", "printf", "stats", "time", "value"}
    assert set(everything.maps) == {m.name for m in map(parse, lines) if m.name}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("@scalar", [{"value": 5}]),
        ("@str", [{"value": "hi"}]),
        ("@neg", [{"value": -5}]),
        ("@big", [{"value": 2**64 - 1}]),
        ("@cnt", [{"key": "a", "count": 1}]),
        ("@multi", [{"key0": 2, "key1": "y", "sum": -6}, {"key0": 1, "key1": "x", "sum": 5}]),
        ("@min", [{"key": "m", "min": 3}]),
        ("@max", [{"key": "m", "max": 9}]),
        ("@avg", [{"key": "m", "avg": 15}]),
        ("@a1", [{"avg": 3}]),
        ("@st", [{"key": "m", "count": 2, "average": 15, "total": 31}]),
        ("@st1", [{"count": 1, "average": 4, "total": 4}]),
        ("@counts", [{"cpu": 0, "count": 5}]),
        ("@inet", [{"value": "127.0.0.1"}]),
        ("@tm", [{"value": "01"}]),  # 0.17 prints it without quotes, which is no JSON
        ("@hk", [
            {"key": "j", "low": 67108864, "high": 134217727, "count": 1},
            {"key": "k", "low": 512, "high": 1023, "count": 1},
        ]),
        ("@lk", [{"key0": "z", "key1": 3, "low": 50, "high": 59, "count": 1}]),
    ],
)  # fmt: skip
def test_a_map_is_a_frame_whose_columns_have_the_programs_names(everything, name, expected):
    assert rows(everything.maps[name]) == expected


def test_open_buckets_reach_to_the_ends_of_int64(everything):
    hist, linear = everything.maps["@h"].df(), everything.maps["@l"].df()
    assert (hist["low"][0], hist["high"][0]) == (-(2**63), -1)
    assert hist["count"].sum() == 4  # of 5, 100, 0 and -4
    assert linear["high"].iloc[-1] == 2**63 - 1
    assert linear[linear["count"] > 0]["low"].tolist() == [-(2**63), 0, 100]


def test_a_map_that_is_printed_again_and_again_is_a_time_series(everything):
    steps = everything.maps["counts"].over_time()
    assert steps.columns.tolist() == ["time", "cpu", "count"]
    assert steps["count"].tolist() == [1, 2, 3, 4, 5, 5]  # five intervals, and the end
    assert steps["time"].is_monotonic_increasing
    assert str(steps["time"].dt.tz) == "UTC"


def test_lines_of_several_statements_are_kept_as_text(everything):
    frame = everything.events.df()
    assert frame.columns.tolist() == ["time", "kind", "text"]
    assert frame["text"].tolist()[:4] == ["hello 3 x", "no newline 4", "plain", "[1, 'two', 3]"]
    assert 'quote"\\tab\té\x01' in frame["text"].tolist()  # 0.17 writes é as \uffffffc3\uffffffa9
    assert everything.events.df(last=1)["text"].tolist() == ["bye"]


def test_stacks_have_a_function_a_line(everything):
    (stack,) = everything.maps["@ks"].df()["value"]
    assert stack.split("\n")[-1].startswith("entry_SYSCALL_64")
    assert not any(line.startswith(" ") for line in stack.split("\n"))


def test_what_newer_versions_write_differently_comes_out_alike(newer):
    assert len(newer._links) == 3
    assert newer.lost == 11
    assert newer.warnings == [
        "map_update_elem: Argument list too long (line 1)",
        "Divide or modulo by 0 detected. (line 2)",
        "nearly full (line 3)",
    ]
    assert rows(newer.maps["@counts"]) == [
        {"pid": 17, "comm": "a,b", "count": 5},
        {"pid": 18, "comm": "c", "count": 7},
    ]
    assert rows(newer.maps["@mixed"]) == [{"cpu": 1, "sum": 4}, {"cpu": 2, "sum": 2**53 + 1}]
    assert newer.maps["@fine"].df()["high"].tolist() == [14, 15, 17, 19]
    assert newer.maps["@l"].df()["count"].tolist() == [2, 3, 5]
    assert newer.maps["@empty"].df().columns.tolist() == ["low", "high", "count"]
    assert newer.maps["@stats"].df()["total"].tolist() == [2, 20]
    assert rows(newer.maps["@unknown"]) == [{"value": None}]
    series = newer.maps["@t"].df()
    assert series["value"].tolist() == [2, 5, 7]
    assert series["time"].tolist()[1] == pd.Timestamp("1970-01-01 00:00:00.1")


def test_a_bucket_beyond_32_bits_has_its_real_bounds():
    # Until 0.19 bpftrace shifts an int: what it prints for 2**31 and above is wrong, and this is how.
    wrong = [(2**30, 2**31 - 1, 3), (-(2**31), -1, 5), (1, 1, 7)]
    buckets = [{"min": low, "max": high, "count": count} for low, high, count in wrong]
    found = tables.frame(Message("hist", "@", buckets), MapUse((), "hist"))
    assert found["low"].tolist() == [2**30, 2**31, 2**32]
    assert found["high"].tolist() == [2**31 - 1, 2**32 - 1, 2**33 - 1]
    assert found["count"].tolist() == [3, 5, 7]


@pytest.mark.parametrize(
    ("statement", "lines", "expected"),
    [
        (
            'printf("%d opens %s as %x\\n", pid, str(args->filename), args->flags)',
            [
                b'{"type": "printf", "data": "17 opens /a b as ff\\n"}',
                b'{"type": "printf", "data": "18 opens  as 0\\n"}',
            ],
            {"pid": [17, 18], "filename": ["/a b", ""], "flags": [255, 0]},
        ),
        (
            'printf("%-8s %5d%%\\n", comm, $share)',
            [b'{"type": "printf", "data": "sh          17%\\n"}'],
            {"comm": ["sh"], "share": [17]},
        ),
        (
            "print((nsecs, pid, comm))",
            [b'{"type": "value", "data": [5,17,"sh"]}', b'{"type": "value", "data": [7,18,"a,b"]}'],
            {"nsecs": [5, 7], "pid": [17, 18], "comm": ["sh", "a,b"]},
        ),
    ],
)
def test_lines_of_one_statement_become_columns(statement, lines, expected):
    frame = played(f"BEGIN {{ {statement}; }}", lines).events.df()
    assert frame.drop(columns="time").to_dict("list") == expected
    assert frame.attrs == {"received": len(lines), "lost": 0, "evicted": 0}


def test_a_line_that_does_not_fit_its_format_leaves_all_as_text():
    lines = [b'{"type": "printf", "data": "17\\n"}', b'{"type": "printf", "data": "seventeen\\n"}']
    frame = played('BEGIN { printf("%d\\n", pid); }', lines).events.df()
    assert frame["text"].tolist() == ["17", "seventeen"]


def test_the_text_of_a_program_says_how_maps_are_used():
    text = """
        // @no[comment] = count();
        BEGIN { printf("@no[%d]", pid); @a = 1; @b[pid, str(args->name), (1, 2)] = hist(3); @a++; /* @no = 1 */ }
        END { clear(@c); @[comm]++; }
    """
    assert script.maps(text) == {
        "@a": MapUse((), "number"),
        "@b": MapUse(("pid", "str(args->name)", "(1, 2)"), "hist"),
        "@c": MapUse(),
        "@": MapUse(("comm",), "number"),
    }
    assert script.lines(text) == [Line("@no[%d]", ("pid",))]
    assert script.names(("pid", "str(args->name)", "(1, 2)", "pid"), "key") == ["pid", "name", "key2", "pid3"]


def test_a_text_with_commas_among_two_texts_is_not_guessed():
    use = MapUse(("comm", "str(args->name)"), "count")
    assert tables.frame(Message("map", "@", {"a,b,c": 1}), use).to_dict("records") == [{"key": "a,b,c", "count": 1}]


def test_text_that_looks_like_a_number_stays_text():
    frame = tables.frame(Message("map", "@", {"17": 1}), MapUse(("comm",), "count"))
    assert frame["comm"].tolist() == ["17"]


def test_a_form_that_nobody_knows_is_an_error_of_ours():
    with pytest.raises(DecodeError, match="@h: bpftrace's hist has another form"):
        tables.frame(Message("hist", "@h", [{"from": 1}]), MapUse((), "hist"))


def test_an_unreadable_line_is_kept_as_it_came():
    frame = played("BEGIN { }", [b"Warning: something\n"]).events.df()
    assert frame[["kind", "text"]].to_dict("records") == [{"kind": "unreadable", "text": "Warning: something"}]


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_fail(line):
    assert isinstance(parse(line), Message)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(messages.TABLES),
    _VALUES,
    st.sampled_from(("", "hist", "count")),
    st.sampled_from(((), ("pid", "comm"))),
)
def test_any_json_becomes_a_frame_or_an_error_of_ours(kind, data, function, keys):
    message = parse(json.dumps({"type": kind, "data": {"@": data}}).encode())
    try:
        frame = tables.frame(message, MapUse(keys, function))
    except EbpflabError:
        return
    assert isinstance(frame, pd.DataFrame)


@given(st.text(max_size=200))
def test_no_text_makes_the_reader_of_programs_fail(text):
    assert set(script.maps(text)) >= set()
    script.probes(text)
    for line in script.lines(f"{text} printf({text})"):
        script.names(line.arguments, "value")
        if line.format is not None:
            script.pattern(line.format)


@given(st.lists(st.text(max_size=80), max_size=5), st.text(max_size=40))
def test_no_words_on_standard_error_make_the_reader_of_errors_fail(lines, text):
    assert isinstance(refusals.read(lines, text), tuple)


@pytest.mark.parametrize(
    ("name", "error", "what", "where", "hint"),
    [
        ("no-tracepoint", HookNotFoundError, "no tracepoint syscalls:sys_enter_opnat", (1, 1, 35), "did you mean"),
        ("no-function", CompileError, "1 error: Unknown function: foo", (2, 10, 3), "bpftrace(8)"),
        ("not-closed", CompileError, "unexpected end of file, expecting }", None, "a } is missing"),
        ("unsafe", UnsafeError, "system() is an unsafe function being used in safe mode", (1, 9, 12), "leave it out"),
        ("no-header", CompileError, "1 error: 'linux/nosuch.h' file not found", (1, 11, 14), None),
        ("wide", CompileError, "printf: Too many arguments for format string", (1, 9, 20), None),
        ("no-symbol", AttachError, "nothing matches the probes of the program", (1, 1, 23), None),
        ("no-pmu", AttachError, "bpftrace could not attach hardware:cache-misses:1000", (1, 1, 26), None),
    ],
)  # fmt: skip
def test_a_refusal_says_what_where_and_what_to_do(name, error, what, where, hint, monkeypatch):
    told = HookNotFoundError("absent", nearest=["syscalls/sys_enter_openat"], hint=None)
    monkeypatch.setattr(refusals.search, "explain_missing", lambda *_: told if "no-t" in name else None)
    case = REFUSALS[name]
    found = refusals.refusal([*case["stderr"], *case["stdout"]], case["text"], case["status"])
    assert type(found) is error
    assert what in found.what
    if where is not None:
        assert (found.where.line, found.where.column, found.where.length) == where
        assert found.where.text == case["text"].split("\n")[where[0] - 1]
    assert (hint or "") in (found.hint or "")
    assert not any("RLIMIT_MEMLOCK" in line for line in found.details)


def test_the_near_names_of_a_hook_are_those_of_bpftraces_syntax(monkeypatch):
    told = HookNotFoundError("absent", nearest=["syscalls/sys_enter_openat"])
    monkeypatch.setattr(refusals.search, "explain_missing", lambda *_: told)
    case = REFUSALS["no-tracepoint"]
    found = refusals.refusal(case["stderr"], case["text"], 1)
    assert found.nearest == ("syscalls:sys_enter_openat",)
    assert found.hint == "did you mean syscalls:sys_enter_openat?"


def test_without_the_right_to_trace_the_cause_is_named():
    found = refusals.refusal(["ERROR: bpftrace currently only supports running as the root user."], "BEGIN { }", 1)
    assert isinstance(found, PrivilegeError)
    assert "user id 0" in found.cause


def test_a_silent_end_is_an_error_too():
    assert refusals.refusal([], "BEGIN { }", -9).what == "bpftrace ended with signal 9 and gave no reason"


def test_a_trace_is_shown_as_text_and_as_escaped_html():
    trace = played("BEGIN { @n[comm] = count(); }", [b'{"type": "map", "data": {"@n": {"<b>": 17}}}'])
    assert "@n: first 1 of 1 entry" in repr(trace)
    assert "&lt;b&gt;" in trace._repr_html_()
    assert "<td><b>" not in trace._repr_html_()


def test_a_recording_shows_what_was_printed(everything, tmp_path):
    again = recorded.load(recorded.save(everything, tmp_path / f"all{recorded.SUFFIX}"))
    assert (again.name, again.state, again.source) == ("all", "recorded", EVERYTHING)
    for name, printed in everything.maps.items():
        pd.testing.assert_frame_equal(again.maps[name].df(), printed.df())
        pd.testing.assert_frame_equal(again.maps[name].over_time(), printed.over_time())
    pd.testing.assert_frame_equal(again.events.df(), everything.events.df())


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"source": 1}'])
def test_a_broken_recording_is_an_error_of_ours(content, tmp_path):
    path = tmp_path / f"x{recorded.SUFFIX}"
    path.write_bytes(gzip.compress(content.encode()) if content else b"")
    with pytest.raises(EbpflabError, match="cannot be read"):
        recorded.load(path)


def test_histograms_are_drawn_bar_by_bar(everything):
    ax = everything.maps["@h"].plot(units="ns")
    bars = ax.collections[0].get_paths()
    # The value below 0 has no place on a logarithmic axis: the line under the title says so.
    assert [path.vertices[:, 1].max() for path in bars] == everything.maps["@h"].df()["count"].tolist()[1:]
    axes = everything.maps["@multi"].plot()
    assert axes.get_title(loc="left") or axes.get_title()


def test_the_edges_of_open_buckets_are_drawn_as_wide_as_their_neighbours():
    assert drawing._closed(np.array([-(2.0**63), 0.0, 10.0, 20.0, 2.0**63])).tolist() == [-10, 0, 10, 20, 30]
