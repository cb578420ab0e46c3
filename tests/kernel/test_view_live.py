"""The live view in a real ipykernel, with real events: frames, buttons, and what is left when it ends."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from pathlib import Path

import cells
import pytest

jupyter_client = pytest.importorskip("jupyter_client", reason="the view is tested through jupyter_client")
from test_magics import Notebook, cell, display_of  # noqa: E402

OURS = "application/vnd.ebpflab.view+json"
THREADS = "[t.name for t in __import__('threading').enumerate() if t.name.startswith('ebpflab-view')]"


class Watched(Notebook):
    """A notebook that keeps every message, and answers frames as a page does."""

    def __init__(self):
        super().__init__()
        self.messages = []
        self.answers = True

    def tell(self, model, /, **content):
        data = {"comm_id": model, "data": {"method": "custom", "content": content}}
        message = self.client.session.msg("comm_msg", data)
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def hello(self, view, page="page"):
        self.tell(view, do="hello", view=page, dark=False, width=760, scale=1, lab=True)

    def watch(self, until, seconds=20.0):
        """Take messages in until `until()` returns something, and return that."""
        end = time.monotonic() + seconds
        while not (found := until()):
            assert time.monotonic() < end, "it did not happen in time"
            if self.client.iopub_channel.msg_ready():
                self.take(self.client.get_iopub_msg(timeout=1))
            else:
                time.sleep(0.005)
        return found

    def listen(self, seconds):
        end = time.monotonic() + seconds
        self.watch(lambda: time.monotonic() >= end, seconds + 5)

    def take(self, message):
        self.messages.append((time.monotonic(), message))
        frame = custom(message)
        if frame.get("kind") == "frame" and self.answers:
            self.tell(message["content"]["comm_id"], do="seen", number=frame["number"])

    def collect(self, request, **options):
        answer = super().collect(request, **options)
        for _, message in answer.messages:
            self.take(message)
        return answer

    def frames(self, view):
        found = [m for _, m in self.messages if m["content"].get("comm_id") == view]
        return [(custom(m), m["buffers"]) for m in found if custom(m).get("kind") == "frame"]

    def notes(self, view):
        found = [custom(m) for _, m in self.messages if m["content"].get("comm_id") == view]
        return [content["text"] for content in found if content.get("kind") == "note"]

    def rows(self, view):
        """The cells of the last table."""
        found = [
            bytes(buffer).decode()
            for content, buffers in self.frames(view)
            for part, buffer in zip(content["parts"], buffers, strict=True)
            if part["name"] == "rows"
        ]
        return [row.split("\x1f") for row in found[-1].split("\x1e")] if found and found[-1] else []

    def tile(self, view, key):
        return {row[0]: row[2] for row in self.frames(view)[-1][0]["tiles"]}[key]


def custom(message):
    data = message["content"].get("data", {}) if message["msg_type"] == "comm_msg" else {}
    return data.get("content", {}) if data.get("method") == "custom" else {}


def statistics_on(pid):
    """Whether a process has the kernel count runs: BPF_ENABLE_STATS is a file (kernel/bpf/syscall.c)."""
    links = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(str(descriptor.readlink()))
        except FileNotFoundError:  # closed meanwhile
            continue
    return "anon_inode:bpf-stats" in links


@pytest.fixture(scope="module")
def kernel():
    running = Watched()
    assert running.run("%load_ext ebpflab\nimport ebpflab, gc, os, threading, weakref").of("error") == []
    yield running
    running.stop()


@pytest.fixture
def notebook(kernel, tmp_path):
    kernel.messages.clear()
    kernel.answers = True
    kernel.run(f"os.chdir({str(tmp_path)!r})")
    yield kernel
    answer = kernel.run("ebpflab.close_all()\nfor each in globals().pop('views', []): each.close()")
    assert answer.of("error") == []
    kernel.watch(lambda: kernel.value(THREADS) == "[]")
    assert not statistics_on(int(kernel.value("os.getpid()")))


def shown(notebook):
    """Load a cell, display its view as a cell does, and return the model's id."""
    answer = notebook.run(cell("calls"))
    assert answer.of("error") == []
    answer = notebook.run("view = calls.view()\nviews = globals().get('views', []) + [view]\nview.show()")
    assert answer.of("error") == []
    return answer.bundle[OURS]["model_id"]


@pytest.fixture
def calling():
    """Calls of getppid(2) in the background, about 20,000 a second."""
    stop = threading.Event()

    def call():
        while not stop.is_set():
            cells.call_getppid(101)
            time.sleep(0.005)

    thread = threading.Thread(target=call)
    thread.start()
    yield
    stop.set()
    thread.join()


def test_a_page_sees_the_events_that_were_caused(notebook):
    view = shown(notebook)
    notebook.hello(view)
    notebook.watch(lambda: notebook.frames(view))
    assert notebook.rows(view) == []
    start = time.monotonic()
    cells.call_getppid(13)
    notebook.watch(lambda: len(notebook.rows(view)) == 13)
    assert time.monotonic() - start < 1.0
    comm = Path("/proc/self/comm").read_text().strip()
    assert [row[1:] for row in notebook.rows(view)] == [[str(os.getpid()), comm]] * 13
    assert notebook.tile(view, "received") == "13"
    head = notebook.frames(view)[-1][0]["head"]
    assert (head["name"], head["state"], head["tone"], head["problem"]) == ("calls", "attached", "ok", "")


def test_runs_are_counted_only_while_a_page_shows_the_view(notebook):
    view, pid = shown(notebook), int(notebook.value("os.getpid()"))
    assert not statistics_on(pid)
    notebook.hello(view)
    notebook.hello(view, "another")
    notebook.watch(lambda: statistics_on(pid))
    end = time.monotonic() + 20
    while notebook.frames(view) == [] or notebook.tile(view, "ns") == "-":
        assert time.monotonic() < end
        cells.call_getppid(7)
        notebook.listen(0.1)
    notebook.tell(view, do="bye", view="another")
    notebook.listen(1.3)
    assert statistics_on(pid)
    notebook.tell(view, do="bye", view="page")
    notebook.watch(lambda: not statistics_on(pid), seconds=2)
    count = len(notebook.frames(view))
    cells.call_getppid(7)
    notebook.listen(1.3)
    assert len(notebook.frames(view)) == count


def test_a_page_that_left_without_a_word_is_not_measured_for_long(notebook):
    view, pid = shown(notebook), int(notebook.value("os.getpid()"))
    notebook.run("from ebpflab.jupyter import pace; usual, pace.AWAY_SECONDS = pace.AWAY_SECONDS, 2.0")
    try:
        notebook.hello(view)
        notebook.watch(lambda: statistics_on(pid))
        notebook.listen(3)
        assert statistics_on(pid)  # while the page answers
        notebook.answers = False
        notebook.watch(lambda: not statistics_on(pid), seconds=6)
        notebook.tell(view, do="seen", number=notebook.frames(view)[-1][0]["number"])
        notebook.watch(lambda: statistics_on(pid), seconds=3)
    finally:
        notebook.run("pace.AWAY_SECONDS = usual")


def test_at_any_rate_messages_stay_few_and_small_and_other_cells_run(notebook, calling):
    view = shown(notebook)
    notebook.hello(view)
    notebook.watch(lambda: notebook.frames(view))
    for tab in ("plot", "maps", "code", "log", "table"):
        notebook.tell(view, do="look", tab=tab, rows=200)
        start = time.monotonic()
        assert notebook.value("6 * 7") == "42"
        assert time.monotonic() - start < 1.0
        notebook.listen(1.0)
    ours = [
        (at, message)
        for at, message in notebook.messages
        if custom(message) or message["msg_type"] in ("display_data", "update_display_data")
    ]
    assert {part["name"] for content, _ in notebook.frames(view) for part in content["parts"]} == {
        *("history", "rows", "picture", "entries", "code", "log")
    }
    assert all(content["head"]["problem"] == "" for content, _ in notebook.frames(view))
    times = [at for at, _ in ours]
    # The cell of the session has an output of its own, which is brought up to date twice.
    assert max(sum(start <= at < start + 1 for at in times) for start in times) <= 12
    sizes = [len(json.dumps(m["content"]).encode()) + sum(map(len, m["buffers"])) for _, m in ours]
    assert max(sizes) <= 50_000


def test_frames_go_on_while_a_cell_runs_and_nobody_can_answer(notebook, calling):
    view = shown(notebook)
    notebook.hello(view)
    notebook.watch(lambda: notebook.frames(view))
    notebook.answers = False
    before = len(notebook.frames(view))
    notebook.run("__import__('time').sleep(3)")
    assert len(notebook.frames(view)) - before >= 8


def test_a_change_of_look_is_answered_soon(notebook):
    view = shown(notebook)
    notebook.hello(view)
    cells.call_getppid(23)
    notebook.watch(lambda: len(notebook.rows(view)) == 20)
    waits = []
    for rows in (7, 11, 13, 17, 19):
        notebook.listen(0.4)
        start = time.monotonic()
        notebook.tell(view, do="look", rows=rows)
        notebook.watch(lambda rows=rows: len(notebook.rows(view)) == rows)
        waits.append(time.monotonic() - start)
    assert min(waits) < 0.1, waits


def test_pause_resume_clear_and_stop_count_exactly(notebook):
    view = shown(notebook)
    notebook.hello(view)
    cells.call_getppid(23)
    notebook.watch(lambda: notebook.frames(view) and notebook.tile(view, "received") == "23")
    notebook.tell(view, do="pause")
    notebook.watch(lambda: notebook.frames(view)[-1][0]["head"]["state"] == "paused")
    cells.call_getppid(7)
    notebook.listen(0.7)
    assert notebook.tile(view, "received") == "23"
    notebook.tell(view, do="resume")
    notebook.watch(lambda: notebook.tile(view, "received") == "30")
    notebook.tell(view, do="save")
    notebook.watch(lambda: any("saved 30 rows" in text for text in notebook.notes(view)))
    (path,) = Path(notebook.value("os.getcwd()")).glob("calls-*.parquet")
    assert notebook.value(f"len(__import__('pandas').read_parquet({str(path)!r}))") == "30"
    notebook.tell(view, do="clear")
    notebook.watch(lambda: notebook.rows(view) == [])
    assert any("cleared 30 rows" in text for text in notebook.notes(view))
    cells.call_getppid(5)
    notebook.watch(lambda: len(notebook.rows(view)) == 5)
    notebook.tell(view, do="stop")
    notebook.watch(lambda: any(custom(m).get("kind") == "over" for _, m in notebook.messages))
    assert notebook.frames(view)[-1][0]["head"]["state"] == "closed"
    assert notebook.tile(view, "received") == "35"
    assert notebook.value("calls.state") == "closed"
    notebook.watch(lambda: notebook.value(THREADS) == "[]")
    notebook.tell(view, do="look", rows=3)
    notebook.watch(lambda: len(notebook.rows(view)) == 3)


def test_a_map_is_edited_from_the_page(notebook):
    view = shown(notebook)
    notebook.hello(view)
    notebook.tell(view, do="look", tab="maps", map="variables")
    notebook.watch(lambda: notebook.frames(view))
    notebook.tell(view, do="set", map="variables", key="seen", value="1009")
    notebook.watch(lambda: notebook.notes(view))
    assert notebook.value("calls.vars['seen']") == "1009"
    notebook.tell(view, do="set", map="variables", key="seen", value="many")
    notebook.watch(lambda: len(notebook.notes(view)) == 2)
    assert notebook.value("calls.vars['seen']") == "1009"


@pytest.mark.parametrize("end", ["view.close()", "calls.close()", "%bpf stop calls"])
def test_whatever_ends_it_no_thread_and_no_measuring_is_left(notebook, end):
    view, pid = shown(notebook), int(notebook.value("os.getpid()"))
    notebook.hello(view)
    cells.call_getppid(23)
    notebook.watch(lambda: statistics_on(pid) and len(notebook.rows(view)) == 20)
    assert notebook.value(THREADS) == "['ebpflab-view-calls']"
    assert notebook.run(end).of("error") == []
    notebook.watch(lambda: notebook.value(THREADS) == "[]", seconds=3)
    assert not statistics_on(pid)
    assert notebook.value("calls.state") == ("attached" if end == "view.close()" else "closed")
    updates = [m["content"] for _, m in notebook.messages if m["msg_type"] == "update_display_data"]
    last = [content["data"] for content in updates if "20 of 23 events" in content["data"]["text/plain"]][-1]
    # What ends with the session keeps its widget, which still answers, and has a plot.
    assert [OURS in last, "<img" in last["text/html"]] == [end != "view.close()"] * 2
    notebook.run("gone = weakref.ref(view); view.close(); views.remove(view); del view")
    assert notebook.value("(gc.collect(), gone() is None)[1]") == "True"


def test_the_view_of_a_cell_that_ran_again_ends_with_its_session(notebook):
    first = shown(notebook)
    notebook.hello(first)
    notebook.watch(lambda: notebook.frames(first))
    second = shown(notebook)
    assert second != first
    closed = lambda: [m for _, m in notebook.messages if m["msg_type"] == "comm_close"]  # noqa: E731
    notebook.watch(lambda: first in [m["content"]["comm_id"] for m in closed()])
    assert notebook.value("views[0].comm is None, views[1].comm is None") == "True False"
    notebook.hello(second)
    cells.call_getppid(23)
    notebook.watch(lambda: len(notebook.rows(second)) == 20)
    assert notebook.value(THREADS) == "['ebpflab-view-calls']"


def test_all_displays_of_a_view_have_one_id_and_the_end_reaches_them(notebook):
    shown(notebook)
    cells.call_getppid(23)
    again = notebook.run("view.show()")
    displays = [m["content"] for _, m in notebook.messages if m["msg_type"] == "display_data"]
    ours = {display_of(content) for content in displays if OURS in content["data"]}
    assert ours == {again.display}
    notebook.run("calls.events.wait(23, timeout=5); view.publish(final=True)")
    updates = [m["content"] for _, m in notebook.messages if m["msg_type"] == "update_display_data"]
    last = [content["data"] for content in updates if display_of(content) == again.display][-1]
    assert set(last) == {"text/plain", "text/html"}
    assert "20 of 23 events" in last["text/plain"]


def test_a_kernel_shuts_down_with_an_open_view_without_a_word(tmp_path, load):
    load(cells.GETPPID).close()  # compiled here: a kernel waits for its children, and clang is one
    with (tmp_path / "stderr").open("w+") as said:
        manager, client = jupyter_client.manager.start_new_kernel(
            kernel_name="python3", env=cells.environment(), cwd=str(cells.ROOT), stderr=said, stdout=subprocess.DEVNULL
        )
        try:
            notebook = Watched.__new__(Watched)
            notebook.manager, notebook.client, notebook.messages, notebook.answers = manager, client, [], True
            notebook.run("%load_ext ebpflab\nimport os")
            view = shown(notebook)
            notebook.hello(view)
            cells.call_getppid(23)
            notebook.watch(lambda: len(notebook.rows(view)) == 20)
            process = Path(f"/proc/{notebook.value('os.getpid()')}")
            start = time.monotonic()
            client.shutdown()
            while process.exists() and "State:\tZ" not in (process / "status").read_text():
                # Now and then ipykernel waits 10 s for a last flush of its streams, with and without us.
                assert time.monotonic() - start < 25
                time.sleep(0.01)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
            manager.cleanup_resources()
        said.seek(0)
        lines = [line for line in said if "TCP without encryption" not in line]
    assert "Traceback" not in "".join(lines)
    assert "Fatal" not in "".join(lines)
