"""One description, two renderings: the same words in both, and nothing in HTML that was not escaped."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflab import error_page
from ebpflab.errors import EbpflabError, Location
from ebpflab.formatting import (
    Code,
    Head,
    Note,
    Steps,
    Table,
    frame_table,
    html,
    milliseconds,
    number,
    text,
    time_span,
)

EVIL = "<script>alert('1')</script>\"&amp;<b onclick=x>"


class Page(HTMLParser):
    """What a browser makes of HTML: the elements, their attributes, and the text outside of <style>."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes, self.open, self.words, self.cells = set(), set(), [], "", []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes.update(attributes)
        self.open.append(tag)
        self.words += " "

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.words += " "

    def handle_data(self, data):
        if "style" not in self.open:
            self.words += data
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)


def words(shown):
    return re.findall(r"[\w.,&;<>'\"=/-]*\w[\w.,&;<>'\"=/-]*", shown)


def document(said):
    return [
        Head(said("title"), said("state"), "ok", said("detail")),
        Head(said("bare")),
        Steps(((said("first"), 1.25, said("why")), (said("second"), 1234.0, ""))),
        Table(
            (said("name"), said("count")),
            ((said("a"), 1234), (said("b"), None), (said("c"), math.nan), (said("d"), 12.345)),
            said("caption"),
            ((0, 0, "error"),),
        ),
        Table((said("yes"), said("no")), ((True, said("text")), (False, -5))),
        Table((said("alone"),), ()),
        Code(said("int a;\n\tint b;"), said("heading")),
        Code(said("bare_code")),
        Note(said("sentence"), "warning", said("label")),
        Note(said("unlabelled")),
    ]


def plain(word):
    return word


def evil(word):
    return f"{word} {EVIL}"


@pytest.mark.parametrize("said", [plain, evil])
def test_text_and_html_say_the_same_words_in_the_same_order(said):
    shown = Page(html(document(said))).words
    in_text = text(document(said)).replace("->", " ")
    assert [w for w in words(in_text) if w != "-"] == [w for w in words(shown) if w != "-"]
    assert "1,234" in shown
    assert "unlabelled" in shown


def test_nothing_in_a_document_becomes_an_element_or_an_attribute():
    page, calm = Page(html(document(evil))), Page(html(document(plain)))
    assert page.tags == calm.tags
    assert page.attributes == calm.attributes
    assert page.words.count("<script>alert('1')</script>\"&amp;<b onclick=x>") == html(document(evil)).count(
        "&lt;script&gt;"
    )
    assert page.open == []


def test_a_tone_is_escaped_like_everything_else():
    broken = '"><script>'
    parts = [Head("a", "b", broken), Note("c", broken), Table(("d",), (("e",),), "", ((0, 0, broken),))]
    assert "script" not in Page(html(parts)).tags


@given(st.text(), st.text(), st.text())
def test_any_text_in_any_slot_gives_the_elements_of_an_empty_document(a, b, c):
    slots = [Head(a, b, "ok", c), Steps(((a, 1.0, b),)), Table((a,), ((b,),), c), Code(b, a), Note(c, "muted", a)]
    allowed = {"style", "div", "b", "span", "table", "caption", "thead", "tbody", "tr", "th", "td", "pre"}
    page = Page(html(slots))
    assert page.tags <= allowed
    assert {name for name, _ in page.attributes} == {"class"}
    text(slots)


def test_an_empty_document_shows_nothing():
    assert text([]) == ""
    assert Page(html([])).words.strip() == ""


# --- Numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (1234567, "1,234,567"),
        (-1234, "-1,234"),
        (2**64 - 1, "18,446,744,073,709,551,615"),
        (1.5, "1.5"),
        (0.123456, "0.123"),
        (1234.56, "1,235"),
        (np.float64(99.5), "99.5"),
        (math.inf, "inf"),
        (True, "yes"),
        (False, "no"),
        ("1234", "1234"),
        ("", ""),
        (b"ab", "b'ab'"),
    ],
)
def test_numbers_are_shown_as_people_read_them(value, shown):
    assert number(value) == shown


def test_what_is_not_there_is_one_sign_that_is_no_number():
    assert number(None) == number(math.nan) == number(np.float64("nan"))
    assert not re.search(r"\w", number(None))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.0 ms"),
        (0.04, "0.0 ms"),
        (1.26, "1.3 ms"),
        (10.4, "10 ms"),
        (999.4, "999 ms"),
        (1000, "1.0 s"),
        (61234, "61.2 s"),
    ],
)
def test_milliseconds(value, shown):
    assert milliseconds(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ns"),
        (7e-9, "7 ns"),
        (3.9e-6, "3.9 us"),
        (0.012, "12 ms"),
        (2.5, "2.5 s"),
        (-0.25, "-250 ms"),
        (1234, "1,234 s"),
    ],
)
def test_a_span_of_time_has_the_unit_that_suits_it(seconds, shown):
    assert time_span(seconds) == shown


@given(st.floats(1e-9, 1e7))
def test_a_span_of_time_never_needs_an_exponent(seconds):
    shown, unit = time_span(seconds).replace(",", "").split(" ")
    assert "e" not in shown
    assert float(shown) * {"s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[unit] == pytest.approx(seconds, rel=0.5)


def test_columns_of_numbers_are_right_aligned_in_both():
    table = Table(("n", "text", "mixed"), ((1, "a", 1), (1234, "bb", "x"), (None, "c", None)))
    assert text([table]).split("\n") == [
        "      n  text  mixed",
        "      1  a     1",
        "  1,234  bb    x",
        f"  {number(None):>5}  c     {number(None)}",
    ]
    assert html([table]).count('class="num"') == 4  # the heading and three values of the first column


# --- Frames -------------------------------------------------------------------------------------------------


def shown_column(values):
    return [row[0] for row in frame_table(pd.DataFrame({"x": values}), rows=20).rows]


def test_what_is_not_set_is_none_whatever_pandas_calls_it():
    assert shown_column(pd.Series([None, math.nan, pd.NaT, pd.NA], dtype=object)) == [None] * 4
    assert shown_column(pd.Series([1.5, math.nan])) == [1.5, None]
    assert shown_column(pd.Series([1, None], dtype="Int64")) == ["1", None]
    assert shown_column(pd.Series([pd.NaT, pd.Timestamp(5, unit="s")])) == [None, "1970-01-01 00:00:05.000"]
    assert shown_column(pd.Series([True, None], dtype="boolean")) == [True, None]
    assert shown_column(pd.Series([b"a", None], dtype=pd.ArrowDtype(pa.binary()))) == ["b'a'", None]


def test_whole_numbers_are_identifiers_and_have_no_separators():
    assert shown_column(np.array([4194304, 2**64 - 1], np.uint64)) == ["4194304", "18446744073709551615"]
    assert shown_column([-(2**62)]) == ["-4611686018427387904"]
    assert shown_column([10**30]) == ["1" + "0" * 30]
    assert shown_column(np.array([1, -1], np.int8)) == ["1", "-1"]


def test_bools_stay_bools():
    assert shown_column([True, False]) == [True, False]
    assert shown_column(np.array([True])) == [True]
    assert "yes" in text([frame_table(pd.DataFrame({"x": [True]}))])


def test_times_are_dates_and_spans_have_units():
    when = pd.Series([1_700_000_000_123_456_789], dtype="datetime64[ns, UTC]")
    assert shown_column(when) == ["2023-11-14 22:13:20.123"]
    assert shown_column(pd.Series([1_500_000, 0], dtype="timedelta64[ns]")) == ["1.5 ms", "0 ns"]


def test_categories_and_text_are_words_of_at_most_60_characters():
    assert shown_column(pd.Categorical(["bash", "sh", None])) == ["bash", "sh", None]
    assert shown_column(["x" * 100]) == ["x" * 60]
    assert shown_column(["7"]) == ["7"]


def test_bytes_lists_and_arrays_are_shown_as_python_has_them():
    assert shown_column([b"\x00\xff"]) == [r"b'\x00\xff'"]
    assert shown_column([[1, 2]]) == ["[1, 2]"]
    assert shown_column([[[1, 2], [3, 4]]]) == ["[[1, 2], [3, 4]]"]
    lists = pd.Series(pd.arrays.ArrowExtensionArray(pa.array([[1, 2], None], pa.list_(pa.uint32(), 2))))
    assert shown_column(lists) == ["[1, 2]", None]
    arrays = pd.Series([np.array([1, 2]), np.array([math.nan])], dtype=object)
    assert shown_column(arrays) == ["[1, 2]", "[nan]"]


@pytest.mark.parametrize("value", ["a\nb", "a\r\tb", "\x1b[31mred", "\x9b31m", "\0", "\u2028"])
def test_a_value_from_the_kernel_stays_on_its_line_and_sends_nothing_to_the_terminal(value):
    table = frame_table(pd.DataFrame({"x": [value], value: [1]}))
    shown = text([table])
    assert len(shown.splitlines()) == 2
    assert all(c.isprintable() for c in shown.replace("\n", ""))


def test_a_printable_value_stays_as_it_is():
    assert shown_column(["/tmp/é 漢 \\n 'x'"]) == ["/tmp/é 漢 \\n 'x'"]


def test_the_first_rows_are_taken_with_title_and_column_names():
    table = frame_table(pd.DataFrame({"pid": range(10), 5: "x"}), "first rows", rows=3)
    assert (table.title, table.columns, table.rows) == (
        "first rows",
        ("pid", "5"),
        (("0", "x"), ("1", "x"), ("2", "x")),
    )


def test_a_frame_without_rows_keeps_its_columns():
    table = frame_table(pd.DataFrame({"pid": []}))
    assert (table.columns, table.rows) == (("pid",), ())
    assert "pid" in Page(html([table])).words
    assert frame_table(pd.DataFrame()).columns == ()
    text([frame_table(pd.DataFrame())])


# --- Errors -------------------------------------------------------------------------------------------------


def test_an_error_is_shown_with_all_that_its_text_has():
    error = EbpflabError(
        "what <happened>",
        where=Location(3, 5, "int <x>;", 2),
        hint="do <this>",
        details=("first <line>", "second"),
        stage="compile",
    )
    shown = Page(error_page.error_html(error)).words
    assert words(text(error_page.document(error))) == words(shown)
    assert set(words(str(error))) - set(words(shown)) <= {"at", "hint:"}
    assert "compile" in shown
    assert error_page.error_html(error) == error._repr_html_()


def test_an_error_without_place_or_hint_is_one_line():
    assert text(error_page.document(EbpflabError("what"))) == "what [ebpflab]"
