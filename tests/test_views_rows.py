"""The newest rows of a stream: as tables show them, filtered and sorted, whatever somebody types."""

from __future__ import annotations

import contextlib
import functools
import statistics
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotted import RECORDINGS
from recorded import CLOCK, Stream, event_bytes, points, shapes

import ebpflab
from ebpflab.formatting import number, shown
from ebpflab.views import Look
from ebpflab.views.cells import cells_of, columns_of, cut, kind_of, texts
from ebpflab.views.rows import MOST, newest
from ebpflab.views.words import WordError, matching


class Holding:
    """What newest() needs of a session: a name and streams."""

    name = "opens"

    def __init__(self, **streams):
        self.streams = streams


def holding(*records, **options):
    stream = Stream(**options)
    stream.send(*records)
    return Holding(events=stream.events), stream


@pytest.fixture
def replayed():
    with ebpflab.replay(next(p for p in RECORDINGS if p.stem == "latency"), speed=None) as session:
        yield session


def test_the_newest_rows_come_first_and_are_those_of_the_frame(replayed):
    rows, frame = newest(replayed, Look(rows=23)), replayed.events.df()
    assert [c.name for c in rows.columns] == list(frame.columns)
    assert (rows.stream, rows.shown, rows.looked, rows.held, rows.problem) == ("events", 23, 23, len(frame), "")
    last = frame.iloc[::-1].head(23)
    pid, comm = ([row[list(frame.columns).index(name)] for row in rows.cells] for name in ("pid", "comm"))
    assert pid == [str(value) for value in last["pid"]]
    assert comm == [str(value) for value in last["comm"]]
    assert [row[0] for row in rows.cells] == [t.strftime("%H:%M:%S.%f")[:-3] for t in last["time"]]


def test_kinds_of_columns_are_those_of_their_dtypes(replayed):
    assert newest(replayed, Look()).columns == (
        ("time", "time"),
        ("took", "duration"),
        ("pid", "number"),
        ("ret", "number"),
        ("comm", "text"),
        ("path", "text"),
    )


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_cells_are_those_of_formatting_and_times_lose_their_date(path):
    with ebpflab.replay(path, speed=None) as session:
        frame, rows = session.events.df().tail(101), newest(session, Look(rows=101))
        for place, name in enumerate(frame.columns):
            for value, text in zip(frame[name].iloc[::-1], (row[place] for row in rows.cells), strict=True):
                wanted = number(shown(value, 10_000))
                wanted = wanted.split(" ")[1] if isinstance(value, pd.Timestamp) else wanted
                assert text == (wanted if len(wanted) <= 160 else f"{wanted[:159]}…")


def test_records_with_every_kind_of_member_are_shown_on_one_line():
    session, _ = holding(*event_bytes(29))
    rows = newest(session, Look(rows=29))
    assert (rows.shown, rows.problem) == (29, "")
    kinds = dict(rows.columns)
    assert (kinds["when"], kinds["took"], kinds["c"], kinds["yes"], kinds["comm"], kinds["matrix"]) == (
        "time",
        "duration",
        "number",
        "bool",
        "text",
        "text",
    )
    for row in rows.cells:
        assert all(len(text) <= 160 and text.isprintable() for text in row)
    assert {row[[c.name for c in rows.columns].index("yes")] for row in rows.cells} <= {"yes", "no"}


def test_several_record_types_share_a_table_and_numbers_stay_whole():
    session, _ = holding(*points((11, -7)), *shapes("square"), structs=("point", "shape"), wanted="point,shape")
    rows = newest(session, Look())
    assert [c.name for c in rows.columns][:3] == ["record", "x", "y"]
    by_name = [dict(zip([c.name for c in rows.columns], row, strict=True)) for row in rows.cells]
    assert (by_name[0]["record"], by_name[0]["x"]) == ("shape", "-")
    assert (by_name[1]["record"], by_name[1]["x"], by_name[1]["y"]) == ("point", "11", "-7")
    assert newest(session, Look(filter="x=11")).matched == 1
    assert newest(session, Look(filter="x!=11")).matched == 1
    assert newest(session, Look(filter="record:shape")).matched == 1


def test_numbers_of_64_bits_are_exact_in_a_table_of_several_record_types():
    most, options = 2**64 - 1, {"structs": ("event", "point"), "wanted": "event,point"}
    event = next(c.type for c in Stream(**options).types.candidates if c.type.name == "struct event")
    at = {column.name: column.offset for column in event.columns}
    records = [bytearray(raw) for raw in event_bytes(2)]
    for raw, value in zip(records, (most, 2**53 + 1), strict=True):
        raw[at["g"] : at["g"] + 8] = value.to_bytes(8, "little")
        raw[at["yes"]] = 1
    session, stream = holding(*map(bytes, records), *points((11, -7)), **options)
    rows = newest(session, Look(rows=3))
    g, yes = ([c.name for c in rows.columns].index(name) for name in ("g", "yes"))
    assert [(row[g], row[yes]) for row in rows.cells] == [("-", "-"), (str(2**53 + 1), "yes"), (str(most), "yes")]
    for value, matched in ((most, 1), (most - 1, 0), (2**53 + 1, 1), (2**53, 0)):
        assert newest(session, Look(filter=f"g={value}")).matched == matched
    assert newest(session, Look(sort="g")).cells[0][g] == str(most)
    assert (stream.events.df()["g"].max(), stream.events.df()["yes"].sum()) == (most, 2)
    assert stream.events.arrow()["g"].to_pylist() == [most, 2**53 + 1, None]


def test_only_the_newest_twenty_thousand_rows_are_looked_at():
    session, _ = holding(*points(*((i % 97, i // 97) for i in range(30_011))), structs=("point",))
    rows = newest(session, Look(filter="x=96"))
    assert (rows.held, rows.looked, rows.shown) == (30_011, MOST, 20)
    assert rows.matched == sum(1 for i in range(30_011 - MOST, 30_011) if i % 97 == 96)
    assert newest(session, Look(filter="y=0")).matched == 0  # these were the first
    assert newest(session, Look()).looked == 20


def test_a_sort_keeps_the_newest_first_among_equals():
    session, _ = holding(*points((3, 0), (1, 1), (3, 2), (2, 3), (1, 4)), structs=("point",))
    assert newest(session, Look(sort="x")).cells == (("3", "2"), ("3", "0"), ("2", "3"), ("1", "4"), ("1", "1"))
    assert newest(session, Look(sort="x", descending=False)).cells == (
        ("1", "4"),
        ("1", "1"),
        ("2", "3"),
        ("3", "2"),
        ("3", "0"),
    )


def test_every_column_of_every_kind_can_be_sorted_by():
    session, _ = holding(*event_bytes(31))
    plain = newest(session, Look(rows=31))
    for name, _ in plain.columns:
        rows = newest(session, Look(rows=31, sort=name))
        assert (sorted(rows.cells), rows.problem) == (sorted(plain.cells), ""), name


def test_a_sorted_column_is_in_the_order_of_its_values(replayed):
    frame = replayed.events.df()
    wanted = frame["took"].sort_values(ascending=False).head(13)
    rows = newest(replayed, Look(rows=13, sort="took"))
    assert [row[1] for row in rows.cells] == [number(shown(value)) for value in wanted]


@pytest.mark.parametrize(
    ("look", "problem"),
    [
        (Look(filter="com:bash"), "there is no column com: did you mean comm"),
        (Look(filter="took>"), "a value is missing"),
        (Look(filter="comm:"), "a value is missing"),
        (Look(filter="!"), "a word is missing"),
        (Look(filter='"'), "a word is missing"),
        (Look(filter="took>5"), "5 needs a unit: 5ns, 5us"),
        (Look(filter="took>5parsec"), "took holds durations"),
        (Look(filter="pid=bash"), "pid holds numbers, and bash is none"),
        (Look(filter="time>25:00"), "25:00 is no time"),
        (Look(filter="time>noon"), "time holds times"),
        (Look(filter="x" * 501), "longer than 500"),
        (Look(sort="tok"), "there is no column tok to sort by: did you mean took"),
    ],
)
def test_what_cannot_be_understood_is_said_and_the_rows_are_not_filtered(replayed, look, problem):
    rows = newest(replayed, look)
    assert problem in rows.problem
    assert rows.cells == newest(replayed, Look()).cells


def test_a_stream_that_is_not_there_is_a_sentence(replayed):
    assert newest(replayed, Look(stream="evnts")).problem == ("there is no stream evnts: did you mean events?")
    assert "no ring or perf buffer" in newest(Holding(), Look()).problem


def test_records_that_fit_no_struct_are_a_sentence():
    session, _ = holding(*shapes("square"), structs=("point",), wanted="point")
    rows = newest(session, Look())
    assert (rows.cells, rows.held) == ((), 1)
    assert "bytes" in rows.problem


def test_a_stream_without_events_is_an_empty_table():
    session, _ = holding(structs=("point",))
    rows = newest(session, Look(filter="x=1", sort="y"))
    assert (rows.cells, rows.shown, rows.matched, rows.held, rows.problem) == ((), 0, 0, 0, "")


ODD = pd.DataFrame(
    {
        "text": ["a\x1b[31m\n", "", None],
        "list": [[1, 2], np.array([3]), None],
        "mixed": [1, "x", b"\xff"],
        "whole": pd.array([1, None, 3], "Int64"),
        "flag": pd.array([True, None, False], "boolean"),
        "yes": [True, False, True],
        "half": np.array([0.5, np.nan, np.inf], "f4"),
        "time": pd.to_datetime(["2026-01-31T12:34:56.789Z", None, "1969-12-31T23:59:59Z"], format="ISO8601"),
        "took": pd.to_timedelta([1, None, -5]),
        "name": pd.Categorical(["ENOENT", None, "EPERM"]),
    }
)


def test_odd_values_are_shown_and_compared_without_an_error():
    assert cells_of(ODD)[0][:3] == ("a\\x1b[31m\\n", "[1, 2]", "1")
    assert [row[-1] for row in cells_of(ODD)] == ["ENOENT", "-", "EPERM"]
    assert [row[4:6] for row in cells_of(ODD)] == [("yes", "yes"), ("-", "no"), ("no", "yes")]
    assert [row[7] for row in cells_of(ODD)] == ["12:34:56.789", "-", "23:59:59.000"]
    assert matching(ODD, "flag=no").tolist() == [False, False, True]
    assert matching(ODD, "flag!=yes").tolist() == [False, True, True]
    assert matching(ODD, "list:[1").tolist() == [True, False, False]
    assert {c.name: c.kind for c in columns_of(ODD)}["flag"] == "bool"


@st.composite
def filters(draw):
    names = st.sampled_from([*map(str, ODD.columns), "nothing", "ti"])
    signs = st.sampled_from([":", "=", "==", "!=", "<", "<=", ">", ">=", "", "::"])
    values = st.one_of(
        st.text(max_size=8),
        st.sampled_from(["1ms", "5", "-1", "1e999", "nan", "12:34", "2026-13-01", "yes", '"', "0x", "1_0", "9" * 400]),
        st.floats().map(str),
        st.integers().map(str),
    )
    word = st.builds("{}{}{}{}".format, st.sampled_from(["", "!", "!!", '"']), names, signs, values)
    return " ".join(draw(st.lists(st.one_of(word, values), max_size=4)))


@given(filters())
def test_no_filter_raises_anything_but_its_sentence(text):
    for frame in (ODD, ODD.iloc[:0]):
        with contextlib.suppress(WordError):
            mask = matching(frame, text)
            assert (mask.dtype, len(mask)) == (np.bool_, len(frame))


@functools.cache
def points_session():
    return holding(*points(*((i, -i) for i in range(103))), structs=("point",))[0]


@given(st.text(max_size=40), st.text(max_size=10))
def test_newest_never_raises_whatever_somebody_types(text, sort):
    rows = newest(points_session(), Look(filter=text, sort=sort))
    assert rows.held == 103
    assert rows.matched <= rows.looked <= 103


@given(st.lists(st.integers(-(2**62), 2**62) | st.none(), max_size=20))
def test_texts_of_many_are_those_of_one_at_a_time(numbers):
    # numpy and pandas show the same in different ways; formatting is asked for one value at a time.
    plain = [value for value in numbers if value is not None]
    series = [
        pd.Series(plain, dtype="i8"),
        pd.Series(pd.to_timedelta(pd.array(numbers, "Int64"), unit="ns")),
        pd.Series(pd.array(numbers, "Int64")),
        pd.Series([None if value is None else value / 3 for value in numbers], dtype="f8"),
        pd.Series([None if value is None else str(value) for value in numbers]).astype("category"),
    ]
    for each in series:
        assert texts(each) == [number(shown(value)) for value in each], kind_of(each)


def test_a_cut_text_ends_with_an_ellipsis():
    assert cut("x" * 160) == "x" * 160
    assert cut("x" * 161) == "x" * 159 + "…"


def test_a_long_path_is_filtered_by_all_of_it():
    frame = pd.DataFrame({"path": ["/" + "a" * 199 + "/needle"]})
    assert matching(frame, "needle").tolist() == [True]
    assert len(cells_of(frame)[0][0]) == 160


def milliseconds(do, times=9):
    took = []
    for _ in range(times):
        start = time.perf_counter()
        do()
        took.append((time.perf_counter() - start) * 1000)
    return statistics.median(took)


def test_what_it_costs_does_not_depend_on_the_rows_held():
    few, _ = holding(*points(*((i % 97, i % 89) for i in range(1009))), structs=("point",))
    many, _ = holding(*points(*((i % 97, i % 89) for i in range(400_009))), structs=("point",))
    for look in (Look(), Look(filter="x=5")):
        small, large = (milliseconds(lambda s=session, o=look: newest(s, o)) for session in (few, many))
        rows = {1009: 20, 400_009: 20} if not look.filter else {1009: 1009, 400_009: MOST}
        assert [newest(s, look).looked for s in (few, many)] == list(rows.values())
        assert large < 20 * small + 50


def test_times_are_utc_whatever_the_clock_of_this_process_says(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        session, _ = holding((5 * 10**6 + 1).to_bytes(8, "little") + event_bytes(1)[0][8:])
        rows = newest(session, Look())
    finally:
        monkeypatch.undo()
        time.tzset()
    when = rows.cells[0][[c.name for c in rows.columns].index("when")]
    assert when == time.strftime("%H:%M:%S", time.gmtime(CLOCK // 10**9)) + ".005"
