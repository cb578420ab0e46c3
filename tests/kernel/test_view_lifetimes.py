"""Whatever ends a view - an interrupt, its own end, that of the session or of the kernel - leaves nothing behind.

A page is played by the test: it sends what the script of the view sends, on a subshell as JupyterLab does, so that it
is answered while a cell runs.
"""

from __future__ import annotations

import itertools
import os
import queue
import signal
import statistics
import threading
import time
from pathlib import Path

import cells
import objects
import pytest
from test_lifetimes import QUICK, descriptors
from test_magics import DEADLINE, Notebook, cell

import ebpflab

VIEW = "application/vnd.ebpflab.view+json"
WITHIN = 0.2  # seconds
ROUNDS = 3  # the median counts: the machine that runs the tests has other things to do
OURS = "sorted(t.name for t in __import__('threading').enumerate() if t.name.startswith('ebpflab-view'))"


def measures(pid):
    """Whether a process has the kernel count the runs of programs, by the kernel's own name of that descriptor."""
    names = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            names.add(str(descriptor.readlink()))
        except FileNotFoundError:  # descriptors come and go
            continue
    return "anon_inode:bpf-stats" in names


class Page:
    """A page that shows a view: it says hello, and that it has seen each frame."""

    numbers = itertools.count()

    def __init__(self, notebook, model):
        self.notebook, self.model, self.name = notebook, model, f"page{next(self.numbers)}"
        self.frames, self.over = [], False
        self.shell = self._subshell()
        self.tell(do="hello", view=self.name, dark=False, width=760, scale=1.0, lab=True)

    def _subshell(self):
        client = self.notebook.client
        asked = client.session.msg("create_subshell_request", {})
        client.control_channel.send(asked)
        while (reply := client.get_control_msg(timeout=DEADLINE))["parent_header"]["msg_id"] != asked["msg_id"]:
            continue
        return reply["content"]["subshell_id"]

    def tell(self, **content):
        client = self.notebook.client
        data = {"comm_id": self.model, "data": {"method": "custom", "content": content}}
        message = client.session.msg("comm_msg", data)
        message["header"]["subshell_id"] = self.shell
        client.shell_channel.send(message)

    def take(self, message):
        """Look at a message; returns True for a frame of ours."""
        content = message["content"]
        if message["msg_type"] != "comm_msg" or content["comm_id"] != self.model:
            return False
        told = content["data"].get("content", {})
        if told.get("kind") == "frame":
            self.frames.append(told)
            self.tell(do="seen", number=told["number"])
        self.over = self.over or told.get("kind") == "over"
        return told.get("kind") == "frame"

    def until(self, condition, timeout=DEADLINE):
        """Read what the kernel sends until the condition holds."""
        begin = time.monotonic()
        while not condition():
            assert time.monotonic() - begin < timeout, f"not within {timeout} s; last frame: {self.frames[-1:]}"
            try:
                self.take(self.notebook.client.get_iopub_msg(timeout=0.02))
            except queue.Empty:
                continue

    @property
    def tiles(self):
        return {key: value for key, _, value, *_ in self.frames[-1]["tiles"]} if self.frames else {}

    @property
    def state(self):
        return self.frames[-1]["head"]["state"] if self.frames else ""

    def close(self):
        client = self.notebook.client
        client.control_channel.send(client.session.msg("delete_subshell_request", {"subshell_id": self.shell}))


@pytest.fixture(scope="module")
def kernel():
    running = Notebook()
    assert running.run("%load_ext ebpflab").of("error") == []
    running.pid = int(running.value("__import__('os').getpid()"))
    yield running
    running.stop()


@pytest.fixture
def notebook(kernel):
    yield kernel
    kernel.run("import ebpflab\nebpflab.close_all()")
    assert cells.wait_until(lambda: kernel.value(OURS) == "[]"), kernel.value(OURS)
    assert not measures(kernel.pid)


def watched(notebook, line="calls --watch"):
    """Run a watched cell; returns the page that shows it, and the request while the cell runs."""
    request = notebook.start(cell(line))
    answer = notebook.collect(request, until=lambda message: VIEW in message["content"].get("data", ()))
    return Page(notebook, answer.last[VIEW]["model_id"]), request


def live(notebook):
    """A watched session whose cell has ended, and a page that shows it."""
    page, _ = watched(notebook)
    page.until(lambda: page.tiles)
    assert notebook.value("calls.state") == "attached"
    return page


def links_of(pid):
    return {each for each in objects.held_by(pid) if each[0] == "link"}


def test_an_interrupt_of_a_watched_run_ends_the_cell_at_once_detaches_and_keeps_the_events(notebook):
    took = []
    for _ in range(ROUNDS):
        page, request = watched(notebook, "calls --for 60s --watch")
        cells.call_getppid(17)
        page.until(lambda page=page: page.tiles.get("received") == "17")
        assert len(links_of(notebook.pid)) == 1
        assert measures(notebook.pid)
        sent = time.monotonic()
        notebook.manager.interrupt_kernel()
        answer = notebook.collect(request)
        took.append(time.monotonic() - sent)
        assert answer.of("error") == []
        assert links_of(notebook.pid) == set()
        assert notebook.value("calls.state, len(calls.events.df())") == "detached 17"
        notebook.start("%bpf stop")
        page.until(lambda page=page: page.over)
        assert cells.wait_until(lambda: notebook.value(OURS) == "[]")
        assert not measures(notebook.pid)
        assert objects.held_by(notebook.pid) == set()
        page.close()
    assert statistics.median(took) <= WITHIN, took


def test_a_watched_run_shows_its_view_at_once_and_ends_detached_with_what_was_seen_below_it(notebook):
    page, request = watched(notebook, "calls --for 2s --watch")
    cells.call_getppid(13)
    answer = notebook.collect(request)
    shown = [m["content"]["data"] for _, m in answer.messages if m["msg_type"] == "update_display_data"]
    assert any("detached" in data["text/plain"] and "13" in data["text/plain"] for data in shown)
    assert notebook.value("calls.state, len(calls.events.df())") == "detached 13"
    assert answer.of("error") == []
    page.close()


def test_a_watched_cell_returns_at_once_and_its_page_sees_events_while_other_cells_run(notebook):
    page, request = watched(notebook)
    assert notebook.collect(request).seconds < 5
    notebook.start("import time; time.sleep(3)")
    cells.call_getppid(19)
    begin = time.monotonic()
    page.until(lambda: page.tiles.get("received") == "19")
    assert time.monotonic() - begin < 2.5
    page.close()


def test_closing_the_view_alone_leaves_the_session_and_takes_its_thread(notebook):
    page = live(notebook)
    before = objects.held_by(notebook.pid)
    notebook.run("import gc\nfrom ebpflab.jupyter.view import LiveView")
    notebook.run("for v in [o for o in gc.get_objects() if isinstance(o, LiveView)]: v.close()")
    assert notebook.value(OURS) == "[]"
    assert not measures(notebook.pid)
    assert objects.held_by(notebook.pid) == before
    cells.call_getppid(7)
    assert notebook.value("calls.events.wait(7, timeout=5), calls.state") == "True attached"
    page.close()


def test_a_page_that_goes_away_switches_the_measuring_off(notebook):
    page = live(notebook)
    assert cells.wait_until(lambda: measures(notebook.pid))
    page.tell(do="bye", view=page.name)
    assert cells.wait_until(lambda: not measures(notebook.pid))
    assert notebook.value("calls.state") == "attached"
    page.close()


def test_running_a_watched_cell_again_ends_the_old_program_and_the_old_view(notebook):
    first = live(notebook)
    before = links_of(notebook.pid)
    second = live(notebook)
    after = links_of(notebook.pid)
    assert (len(before), len(after), before & after) == (1, 1, set())
    assert cells.wait_until(lambda: notebook.value(OURS) == "['ebpflab-view-calls']"), notebook.value(OURS)
    cells.call_getppid(11)
    second.until(lambda: second.tiles.get("received") == "11")
    first.close()
    second.close()


def test_a_session_that_another_thread_closes_ends_its_view_with_a_last_frame(notebook):
    page = live(notebook)
    cells.call_getppid(5)
    page.until(lambda: page.tiles.get("received") == "5")
    notebook.start("import threading\nthreading.Thread(target=calls.close).start()")
    page.until(lambda: page.over)
    assert (page.state, page.tiles["received"]) == ("closed", "5")
    assert cells.wait_until(lambda: notebook.value(OURS) == "[]")
    assert objects.held_by(notebook.pid) == set()
    page.close()


def test_31_rounds_of_view_and_close_leak_no_descriptor_no_thread_and_no_widget(notebook):
    notebook.run(cell("calls"))
    # Of a kernel: descriptors, threads, and widgets that Jupyter still knows.
    counted = (
        "*(len(os.listdir(f'/proc/self/{kind}')) for kind in ('fd', 'task')),"
        " len(__import__('ipywidgets').widgets.widget._instances)"
    )
    rounds = "import os\nfor _ in range({}):\n    v = calls.view()\n    v.show()\n    v.close()"
    assert notebook.run(rounds.format(2) + "\nimport time; time.sleep(2.5)").of("error") == []
    before = notebook.value(counted).split()
    assert notebook.run(rounds.format(31)).of("error") == []
    after = notebook.value(counted).split()
    assert all(int(now) <= int(then) for now, then in zip(after, before, strict=True)), (before, after)
    assert notebook.value(OURS) == "[]"


CHILDREN = {
    "nothing": "pass",
    "closes the view": "v.close()",
    "closes everything": "ebpflab.close_all()",
    "looks": "v.publish()",
}


@pytest.mark.parametrize("deed", CHILDREN)
def test_a_forked_child_does_not_disturb_a_view(notebook, deed):
    notebook.run(cell("calls"))
    answer = notebook.run("import ebpflab, os\nv = calls.view()\nv.show()")
    page = Page(notebook, answer.bundle[VIEW]["model_id"])
    page.until(lambda: page.tiles)
    forked = f"""
child = os.fork()
if child == 0:
    try:
        {CHILDREN[deed]}
    finally:
        os._exit(0)
print(os.waitpid(child, 0)[1], end="")
"""
    assert notebook.run(forked).printed == "0"
    assert_undisturbed(notebook, page)


def test_a_process_of_multiprocessing_does_not_disturb_a_view(notebook):
    page = live(notebook)
    notebook.run("import multiprocessing\nchild = multiprocessing.get_context('fork').Process(target=len, args=([],))")
    assert notebook.run("child.start()\nchild.join(10)\nprint(child.exitcode, end='')").printed == "0"
    assert_undisturbed(notebook, page)


def assert_undisturbed(notebook, page):
    cells.call_getppid(23)
    page.until(lambda: page.tiles.get("received") == "23")
    assert not page.over
    assert measures(notebook.pid)
    assert notebook.value("calls.state, " + OURS) == "attached ['ebpflab-view-calls']"
    page.close()


@pytest.mark.parametrize("end", ["restart", "SIGKILL"])
def test_a_kernel_that_ends_while_it_is_watched_leaves_nothing(end):
    before = objects.live()
    running = Notebook()
    try:
        assert running.run("%load_ext ebpflab").of("error") == []
        pid = int(running.value("__import__('os').getpid()"))
        page = live(running)
        assert cells.wait_until(lambda: measures(pid))
        held = objects.held_by(pid)
        assert held
        if end == "restart":
            running.manager.restart_kernel(now=True)
        else:
            os.kill(pid, signal.SIGKILL)
        assert page.frames
        assert cells.wait_until(lambda: not (objects.live() & held))
        assert objects.leaked_since(before) == set()
        assert not Path(f"/proc/{pid}/fd").exists() or not measures(pid)
    finally:
        running.stop()


@pytest.mark.parametrize("looked_at", ["table", "plot", "maps", "code", "log"])
def test_a_text_of_a_session_that_another_thread_closes_is_always_there(load, looked_at):
    for _ in range(3):
        session = load(QUICK, vars={"only": os.getpid()})
        cells.call_getppid(13)
        assert session.events.wait(13, timeout=5)
        closing = threading.Timer(0.05, session.close)
        closing.start()
        with session.view(tab=looked_at) as view:
            while session.state != "closed":
                assert session.name in repr(view)
            assert "closed" in repr(view)
        closing.join()


def test_31_rounds_of_text_views_leak_nothing(load):
    session = load(QUICK, vars={"only": os.getpid()})
    with session.view() as view:
        repr(view)
    before, threads = descriptors(), threading.active_count()
    for _ in range(31):
        with session.view() as view:
            assert view.follow(seconds=0.01)
    assert (descriptors(), threading.active_count()) == (before, threads)
    assert not measures(os.getpid())
    assert session.state == "attached"
    assert ebpflab.sessions() == [session]
