"""The live view of a recording, with a comm that takes down what is sent: answers, failures, endings."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import comm
import numpy as np
import pandas as pd
import pytest
from comm.base_comm import BaseComm
from recorded import Stream, event_bytes
from viewed import Page

import ebpflab
from ebpflab import views
from ebpflab.jupyter import kept
from ebpflab.jupyter.view import LiveView
from ebpflab.views import Look, log, picture, rows

WIDGET, OURS = "application/vnd.jupyter.widget-view+json", "application/vnd.ebpflab.view+json"


@pytest.fixture
def page(monkeypatch):
    recorder = Page()

    class Recorded(BaseComm):
        def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
            recorder.comms[self.comm_id] = self
            recorder.publish(self.comm_id, msg_type, data, buffers)

    monkeypatch.setattr(comm, "create_comm", Recorded)
    monkeypatch.setattr(kept.ipython, "display", recorder.display)
    monkeypatch.setattr(kept.ipython, "update_display", recorder.display)
    return recorder


@pytest.fixture
def replay(tmp_path):
    path = tmp_path / "opens.parquet"
    stream = Stream()
    stream.events.record(path)
    stream.send(*event_bytes(43))
    stream.close()
    with ebpflab.replay(path, speed=None, name="opens") as session:
        assert session.events.wait(43, timeout=5)
        yield session


@pytest.fixture
def view(page, replay):
    with LiveView(replay) as made:
        yield made


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ebpflab-view")]


def test_the_model_carries_script_and_style_as_text(page, view):
    (state,) = [data["state"] for *_, data, _ in page.sent if "_esm" in data.get("state", {})]
    assert "export default" in state["_esm"]
    assert ".ebpflab-view" in state["_css"]
    assert state["_model_module"] == "anywidget"


def test_without_a_page_there_is_no_frame_and_without_a_display_no_thread(page, view):
    assert threads() == []
    view.show()
    assert threads() == ["ebpflab-view-opens"]
    time.sleep(0.7)
    assert page.of("frame") == []
    assert len(page.displays) >= 1


def test_a_hello_is_answered_with_the_whole_view(page, view):
    page.hello(view)
    until(lambda: page.of("frame"))
    first = page.of("frame")[0]
    assert first["head"]["name"] == "opens"
    assert first["head"]["state"] == "replayed"
    assert [part["name"] for part in first["parts"]] == ["history", "rows"]
    assert first["look"]["width"] == 700
    assert first["choices"]["streams"] == ["events"]
    assert first["choices"]["programs"] == ["on_open"]
    assert [row[1] for row in first["tiles"]][:4] == ["events/s", "received", "lost", "evicted"]
    shown = [row.split("\x1f") for row in page.parts("rows")[0].decode().split("\x1e")]
    assert shown == [list(row[:64]) for row in rows.newest(view.session, Look()).cells]
    assert first["parts"][1]["held"] == 43
    names = [name for name, _ in first["choices"]["columns"]]
    assert names == [str(name) for name in view.session.events.df().columns]


def test_what_the_pages_have_is_not_sent_again_but_to_a_new_page(page, view):
    page.hello(view)
    until(lambda: page.parts("rows"))
    time.sleep(1.3)
    assert len(page.parts("rows")) == 1
    assert sum("choices" in frame for frame in page.of("frame")) == 1
    page.hello(view, "another")
    until(lambda: len(page.parts("rows")) == 2)
    assert sum("choices" in frame for frame in page.of("frame")) == 2


@pytest.mark.parametrize(
    ("look", "part"),
    [
        ({"filter": "no_such_word"}, "rows"),
        ({"rows": 7}, "rows"),
        ({"tab": "log"}, "log"),
        ({"tab": "code"}, "code"),
        ({"tab": "maps"}, "entries"),
    ],
)
def test_a_change_of_look_is_answered_at_once(page, view, look, part):
    page.hello(view)
    until(lambda: page.of("frame"))
    time.sleep(0.3)
    before, start = len(page.parts(part)), time.monotonic()
    page.tell(view, do="look", **look)
    until(lambda: len(page.parts(part)) > before)
    # 100 ms, and as long again for a machine that tests other things at the same time.
    assert time.monotonic() - start < 0.2
    assert page.of("frame")[-1]["look"] | look == page.of("frame")[-1]["look"]


def test_a_plot_comes_after_the_answer_that_shows_its_tab(page, view):
    page.hello(view)
    until(lambda: page.of("frame"))
    start = time.monotonic()
    page.tell(view, do="look", plot="hist", column="b")
    until(lambda: page.of("frame", start), seconds=1)
    assert page.of("frame", start)[0]["look"]["tab"] == "plot"
    until(lambda: page.parts("picture"))
    assert page.parts("picture")[0].startswith(b"\x89PNG")


def test_no_second_has_more_than_ten_messages_whatever_a_page_asks_for(page, view):
    view.show()
    page.hello(view)
    for number in range(151):
        page.tell(view, do="look", rows=1 + number % 40)
        if number % 10 == 0:
            page.tell(view, do="no such thing")
        time.sleep(0.02)
    times = page.seconds()
    assert len(times) > 15
    assert max(sum(start <= at < start + 1 for at in times) for start in times) <= 10
    until(lambda: page.of("frame")[-1]["look"]["rows"] == 1 + 150 % 40)


def test_nonsense_from_a_page_is_answered_with_a_note(page, view):
    page.hello(view)
    for content in ({"do": "look", "tab": "tabel"}, {"do": "puase"}, {"no": "do"}, {"do": "seen", "number": "x"}):
        before = len(page.of("note"))
        page.tell(view, **content)
        until(lambda before=before: len(page.of("note")) > before)
        assert page.of("note")[-1]["tone"] == "error"
    assert "tabel" in page.of("note")[0]["text"]
    assert "pause" in page.of("note")[1]["text"]
    assert view.look.tab == "table"


def test_a_part_that_fails_is_named_in_the_head_and_the_view_goes_on(page, view, monkeypatch):
    page.hello(view)
    until(lambda: page.of("frame"))

    def failing(*_):
        raise ZeroDivisionError("on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(rows, "newest", failing)
        page.tell(view, do="look", rows=7)
        until(lambda: "on purpose" in page.of("frame")[-1]["head"]["problem"])
        assert "on purpose" in log.lines(view.session)[-1].text
        page.tell(view, do="look", tab="log")
        until(lambda: page.parts("log"))
        assert "on purpose" in page.parts("log")[-1].decode()
    page.tell(view, do="look", tab="table")
    until(lambda: page.parts("rows")[-1].count(b"\x1e") == 6)
    assert page.of("frame")[-1]["head"]["problem"] == ""
    assert threads() == ["ebpflab-view-opens"]


def test_a_turn_that_fails_is_told_once_and_the_thread_goes_on(page, view, monkeypatch):
    page.hello(view)
    until(lambda: page.of("frame"))
    seen = []

    def failing():
        seen.append(1)
        raise ZeroDivisionError("on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(view._monitor, "look", failing)
        until(lambda: len(seen) >= 2)
        until(lambda: page.of("note"))
    assert ["on purpose" in note["text"] for note in page.of("note")] == [True]
    start = time.monotonic()
    page.tell(view, do="look", rows=3)
    until(lambda: page.of("frame", start))
    assert threads() == ["ebpflab-view-opens"]


def test_closing_does_not_wait_for_a_drawing_and_nothing_is_sent_afterwards(page, view, monkeypatch):
    began, go = threading.Event(), threading.Event()

    def slow(*_, **__):
        began.set()
        go.wait(10)
        return picture.Picture(b"late", 760, 320, "late")

    view.show()
    page.hello(view)
    until(lambda: page.of("frame"))
    monkeypatch.setattr(picture, "draw", slow)
    page.tell(view, do="look", plot="rate")
    assert began.wait(10)
    start = time.monotonic()
    view.close()
    assert time.monotonic() - start < 0.2
    assert threads() == ["ebpflab-view-opens"]  # in the drawing, which nothing can end
    sent, shown = len(page.sent), len(page.displays)
    go.set()
    until(lambda: threads() == [])
    assert (len(page.sent), len(page.displays)) == (sent, shown)
    assert {WIDGET, OURS} & set(page.displays[-1][2]) == set()


def test_the_end_of_the_session_is_the_last_frame_and_looks_are_answered_without_a_thread(page, view):
    view.show()
    page.hello(view)
    until(lambda: page.of("frame"))
    view.session.close()
    until(lambda: page.of("over"))
    until(lambda: threads() == [])
    assert page.of("frame")[-1]["head"]["state"] == "closed"
    assert page.sent[-1][3] == {"kind": "over"}
    shown = set(page.displays[-1][2])  # our extension is there, and needs no type but ours
    assert OURS in shown
    assert WIDGET not in shown
    page.tell(view, do="look", rows=5, sort="b")
    assert page.parts("rows")[-1].count(b"\x1e") == 4
    start = len(page.parts("picture"))
    page.tell(view, do="look", plot="hist", column="b")
    assert len(page.parts("picture")) == start + 1
    page.tell(view, do="bye", view="page")
    count = len(page.of("frame"))
    page.hello(view, "reloaded")
    assert page.sent[-1][3] == {"kind": "over"}
    assert page.of("frame")[count]["choices"]["streams"] == ["events"]
    assert threads() == []


def test_a_view_of_a_closed_session_needs_no_thread(page, replay):
    replay.close()
    with LiveView(replay, Look(tab="plot", plot="hist", column="b")) as view:
        view.show()
        assert "<img" in page.displays[-1][2]["text/html"]
        page.hello(view)
        assert threads() == []
        assert page.parts("picture")[-1].startswith(b"\x89PNG")
        assert page.of("over")


def test_buttons_act_on_the_session_and_say_so(page, view, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page.hello(view)
    expected = view.session.events.df()
    page.tell(view, do="save")
    until(lambda: len(page.of("note")) == 1)
    (path,) = tmp_path.glob("opens-*.parquet")
    assert page.of("note")[0] == {"kind": "note", "tone": "ok", "text": f"saved 43 rows to {path.name}"}
    pd.testing.assert_frame_equal(pd.read_parquet(path), expected, check_dtype=False, check_categorical=False)
    page.tell(view, do="clear")
    until(lambda: len(page.of("note")) == 2)
    assert len(view.session.events) == 0
    until(lambda: page.of("frame")[-1]["parts"] and page.parts("rows")[-1] == b"")
    page.tell(view, do="stop")
    until(lambda: page.of("over"))
    assert view.session.state == "closed"
    assert [note["tone"] for note in page.of("note")] == ["ok"] * 3


def test_a_folder_that_cannot_be_written_is_told(page, view, monkeypatch):
    monkeypatch.chdir("/proc/self")
    page.hello(view)
    page.tell(view, do="save")
    until(lambda: page.of("note"))
    assert page.of("note")[0]["tone"] == "error"
    assert "cannot be written" in page.of("note")[0]["text"]
    assert "/proc/" in page.of("note")[0]["text"]


def test_the_plain_text_is_the_twins(page, view):
    assert repr(view).startswith("opens [replayed] replay")
    assert "43" in repr(view)


def test_saving_does_not_stop_the_frames(page, view, monkeypatch):
    go = threading.Event()
    monkeypatch.setattr(type(view.session.events), "to_parquet", lambda *_: go.wait(10) and 1 / 0)
    page.hello(view)
    until(lambda: page.of("frame"))
    saving = threading.Thread(target=page.tell, args=(view,), kwargs={"do": "save"})
    saving.start()
    start = time.monotonic()
    view.session.events.clear()
    until(lambda: page.of("frame", start))
    go.set()
    saving.join(5)
    until(lambda: page.of("note"))
    assert page.of("note")[0]["tone"] == "error"


def test_a_view_whose_session_was_replaced_ends_by_itself(page, replay, tmp_path):
    view = LiveView(replay)
    view.show()
    page.hello(view)
    until(lambda: page.of("frame"))
    with ebpflab.replay(tmp_path / "opens.parquet", speed=None, name="opens"):
        until(lambda: threads() == [])
        assert replay.state == "closed"
        assert view.comm is None
        assert set(page.displays[-1][2]) == {"text/plain", "text/html"}
        view.show()
        assert set(page.displays[-1][2]) == {"text/plain", "text/html"}


def test_nothing_keeps_a_closed_view(page, replay):
    view = LiveView(replay)
    view.show()
    page.hello(view)
    until(lambda: page.of("frame"))
    view.close()
    view.close()
    until(lambda: threads() == [])
    gone = weakref.ref(view)
    del view
    page.comms.clear()
    gc.collect()
    assert gone() is None


def test_a_widget_that_could_not_be_made_is_no_trouble(page, replay, monkeypatch):
    monkeypatch.setattr(comm, "create_comm", lambda **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        LiveView(replay)
    gc.collect()
    assert threads() == []


def test_the_view_is_a_widget_where_there_is_a_kernel(page, replay, monkeypatch):
    monkeypatch.setattr("IPython.get_ipython", lambda: type("Shell", (), {"kernel": True})())
    with views.view(replay, plot="top") as made:
        assert isinstance(made, LiveView)
        assert made.look.tab == "plot"
    assert np.isfinite(made.look.scale)
