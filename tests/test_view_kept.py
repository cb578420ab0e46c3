"""The output that stays in the notebook below a live view: when it is brought up to date, and for whom."""

# ruff: noqa: F811 - fixtures that are imported

from __future__ import annotations

import time

import pytest
from test_view_widget import OURS, WIDGET, page, replay, threads, until, view  # noqa: F401 (three are fixtures)


def test_the_twin_follows_and_loses_the_widget_when_the_view_is_closed(page, view):
    view.show()
    page.hello(view)
    (_, display, first), *_ = page.displays
    assert set(first) == {"text/plain", "text/html", WIDGET, OURS}
    assert first[OURS] == {"model_id": view.model_id}
    until(lambda: "<img" in page.displays[-1][2]["text/html"])
    assert {each for _, each, _ in page.displays} == {display}
    assert max(len(b["text/html"]) + len(b["text/plain"]) for _, _, b in page.displays) < 50_000
    count = len(page.displays)
    view.close()
    assert set(page.displays[-1][2]) == {"text/plain", "text/html"}
    assert "<img" in page.displays[-1][2]["text/html"]
    assert len(page.displays) == count + 1
    assert [kind for _, _, kind, *_ in page.sent][-2:] == ["comm_close"] * 2


def test_a_front_end_without_our_extension_gets_no_update_but_the_last(page, view):
    view.show()
    page.hello(view, lab=False)
    time.sleep(2.0)
    assert len(page.displays) == 1
    view.session.close()
    until(lambda: threads() == [])
    assert len(page.displays) == 2
    assert set(page.displays[-1][2]) == {"text/plain", "text/html"}
    assert "<img" in page.displays[-1][2]["text/html"]


def test_a_page_that_comes_later_gets_at_once_what_it_missed(page, view):
    view.show()
    page.hello(view)
    until(lambda: "<img" in page.displays[-1][2]["text/html"])
    page.tell(view, do="bye", view="page")
    time.sleep(0.3)
    count = len(page.displays)
    page.hello(view)  # scrolled to again: its outputs went on meanwhile
    time.sleep(0.5)
    assert len(page.displays) == count
    page.tell(view, do="bye", view="page")
    start = time.monotonic()
    page.hello(view, "reopened")
    until(lambda: len(page.displays) == count + 1)
    assert time.monotonic() - start < 1.0
    assert OURS in page.displays[-1][2]


@pytest.mark.parametrize("lab", [True, False])
def test_a_page_that_was_opened_after_the_end_gets_the_end(page, view, lab):
    view.show()
    page.hello(view, lab=lab)
    time.sleep(0.6)
    page.tell(view, do="bye", view="page")
    view.session.close()
    until(lambda: threads() == [])
    _, display, told = page.displays[-1]
    assert "[closed]" in told["text/plain"]
    count = len(page.displays)
    page.hello(view, "reopened", lab=lab)
    assert page.displays[count:][0][1:] == (display, told)
    page.tell(view, do="look", tab="log")
    page.tell(view, do="look", tab="table")
    assert len(page.displays) == count + 1
    page.tell(view, do="look", rows=7)
    assert "7 of 43 events" in page.displays[-1][2]["text/plain"]


def test_the_front_end_that_is_there_decides_whether_the_output_is_brought_up_to_date(page, view):
    view.show()
    page.hello(view, "classic", lab=False)
    time.sleep(2.0)
    assert len(page.displays) == 1
    page.hello(view, "lab")
    page.tell(view, do="bye", view="classic")
    page.tell(view, do="look", rows=7)
    until(lambda: "7 of 43 events" in page.displays[-1][2]["text/plain"], seconds=2)
    page.tell(view, do="bye", view="lab")  # of those that left, the last one
    page.tell(view, do="look", rows=11)
    until(lambda: "11 of 43 events" in page.displays[-1][2]["text/plain"], seconds=2)
