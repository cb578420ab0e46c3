"""What stays of the live view of a real session: in JupyterLab without its kernel, and in what nbconvert makes."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time

import cdp
import pytest
from bs4 import BeautifulSoup
from lab import QUIET, SCREENSHOTS, refuse
from survival import (
    close,
    nothing_thrown,
    record,
    recorded,
    reload,
    reopen,
    restart,
    save,
    shut_down,
    wait_for_text,
)

COUNT = 1009
WIDGET = "application/vnd.jupyter.widget-view+json"
# Every getpgid(2) of one process: of that which runs the tests, or of the kernel of the notebook.
CELL = """\
%%bpf asked --watch --var only={pid}
struct event {{
	ktime_t ts;
	u64 number;
	char comm[16];
}};

struct {{
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
}} events SEC(".maps");

const volatile u32 only = 0;
u64 seen = 0;

SEC("tp/syscalls/sys_enter_getpgid")
int on_getpgid(void *ctx)
{{
	struct event *e;

	if ((bpf_get_current_pid_tgid() >> 32) != only)
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->ts = bpf_ktime_get_ns();
	e->number = ++seen;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_ringbuf_submit(e, 0);
	return 0;
}}"""
LIVE = "[...document.querySelectorAll('.jp-Notebook .ebpflab-view')].some(each => each.checkVisibility())"
STOP, GOES_ON = "asked.close()", "asked.state"
NEVER = ("model not found", "Error displaying widget", "Loading widget")


@pytest.fixture(scope="module", autouse=True)
def may_trace():
    if os.geteuid() != 0:
        refuse("programs cannot be loaded: run as root")


@pytest.fixture
def watched(notebook):
    """A notebook with a live view in cell 1 that has seen a prime number of events; cell 2 ends the session."""
    book = notebook("%load_ext ebpflab", CELL.format(pid=os.getpid()), STOP, GOES_ON, kernel=True)
    book.run(0)
    book.run(1)
    book.page.wait_for(LIVE, timeout=60)
    for _ in range(COUNT):
        os.getpgid(0)
    wait_for_text(book, f"{COUNT:,}", 1)
    return book


def kept(book):
    """Save until the file has all events, and a plot; return what it has of the view."""
    deadline = time.monotonic() + 20
    while True:
        (found,) = [data for data in save(book) if "asked [" in data.get("text/plain", "")]
        if f"{COUNT:,}" in found["text/plain"] and "data:image/png" in found["text/html"]:
            return found
        assert time.monotonic() < deadline, found["text/plain"]
        time.sleep(0.3)


def path_of(book):
    return book.page.evaluate("jupyterapp.shell.currentWidget.context.path")


def check(found, state):
    """That the numbers, the newest rows and the plot are there."""
    assert f"asked {state} libbpf" in found["text"].replace("\n", " ")
    numbers, *rest = found["rows"]
    assert numbers[1:4] == [f"{COUNT:,}", "0", "0"]
    rows = [row for row in rest if row[-1].startswith("pytest") or row[-1] == "python"]
    assert [row[1] for row in rows] == [str(n) for n in range(COUNT, COUNT - 20, -1)]
    (alt,) = found["pictures"]
    assert f"{COUNT:,}" in alt
    assert not any(word in found["text"] for word in NEVER)


def picture_of(opened_lab, book, name):
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        opened_lab.theme(theme)
        book.page.evaluate("ebpflabTest.cell(1).outputArea.node.scrollIntoView()")
        book.screenshot(f"survival-{name}-{theme.split()[-1].lower()}")
    opened_lab.theme("JupyterLab Light")


def test_a_session_that_was_stopped_is_there_when_the_notebook_is_opened_without_a_kernel(watched, opened_lab):
    watched.run(2)
    assert watched.page.evaluate(LIVE)
    cdp.wait_for(lambda: "[closed]" in kept(watched)["text/plain"], "the end of the session in the output", pause=0.2)
    path = path_of(watched)
    shut_down(watched)
    check(wait_for_text(watched, "newest first", 1), "closed")
    close(watched)
    again = reopen(opened_lab, path, 4)
    check(wait_for_text(again, "newest first", 1), "closed")
    picture_of(opened_lab, again, "stopped")


def test_a_notebook_that_was_saved_while_events_came_shows_them_without_a_kernel(watched, opened_lab):
    assert WIDGET not in kept(watched)  # which front ends without our extension would miss the widget of
    path = path_of(watched)
    shut_down(watched)
    close(watched)
    again = reopen(opened_lab, path, 4)
    check(wait_for_text(again, "newest first", 1), "attached")
    picture_of(opened_lab, again, "running")


def test_a_restart_under_the_view_leaves_what_it_showed(watched):
    kept(watched)
    record(watched, 1)
    restart(watched)
    check(wait_for_text(watched, "newest first", 1), "attached")
    assert not any(word in text for text in recorded(watched) for word in NEVER)
    assert not watched.page.evaluate(LIVE)


def test_the_view_comes_back_when_the_page_is_loaded_again_and_still_ends_in_the_file(watched):
    kept(watched)
    path = path_of(watched)
    again = reopen(reload(watched.lab), path, 4, kernel=True)
    record(again, 1)
    again.page.wait_for(LIVE, timeout=30)
    assert not any(word in text for text in recorded(again) for word in NEVER)
    again.run(2)
    deadline = time.monotonic() + 20
    while "asked [closed]" not in "".join(data.get("text/plain", "") for data in save(again)):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    shut_down(again)
    check(wait_for_text(again, "newest first", 1), "closed")


LATER = "import threading\nthreading.Timer(4, asked.close).start()"


def test_a_notebook_that_was_closed_while_the_session_ended_gets_the_end_when_it_is_opened(notebook, opened_lab):
    book = notebook("%load_ext ebpflab", CELL.format(pid=os.getpid()), LATER, GOES_ON, kernel=True)
    book.run(0)
    book.run(1)
    book.page.wait_for(LIVE, timeout=60)
    path = path_of(book)
    book.run(2)
    assert "asked [attached]" in str(save(book))
    close(book)
    for _ in range(COUNT):
        os.getpgid(0)
    time.sleep(6)  # LATER ends the session after four seconds, and no page is there to see it
    again = reopen(opened_lab, path, 4, kernel=True)
    again.page.wait_for(LIVE, timeout=30)
    deadline = time.monotonic() + 20
    while "asked [closed]" not in str(found := save(again)):
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
    assert again.page.evaluate(LIVE)
    shut_down(again)
    check(wait_for_text(again, "newest first", 1), "closed")


@pytest.fixture
def without_our_renderer(server, opened_lab):
    """A page of JupyterLab in which our other plugin runs alone; the usual page afterwards."""
    config = server.notebooks.parent / "config" / "labconfig" / "page_config.json"
    usual = config.read_text()
    config.write_text(json.dumps({"disabledExtensions": {**QUIET["disabledExtensions"], "ebpflab:live-view": True}}))
    try:
        yield reload(opened_lab)
    finally:
        config.write_text(usual)
        reload(opened_lab)


def test_where_our_renderer_is_switched_off_the_widget_stays_live(without_our_renderer):
    book = without_our_renderer.open("no-renderer.ipynb", ["%load_ext ebpflab", CELL.format(pid=os.getpid())], True)
    try:
        book.run(0)
        book.run(1)
        book.page.wait_for(LIVE, timeout=60)
        assert book.page.evaluate("[...document.body.classList].filter(each => each.startsWith('ebpflab-'))") == [
            "ebpflab-lab"
        ]
        for _ in range(4):
            os.getpgid(0)
            time.sleep(1)  # the output is brought up to date several times, which must not take the widget away
        assert book.page.evaluate(LIVE)
        book.page.wait_for("document.querySelector('[data-key=received] dd').textContent === '4'")
    finally:
        book.close()


def test_a_notebook_that_is_not_trusted_shows_it_too(watched, opened_lab, server):
    kept(watched)
    saved = json.loads((server.notebooks / path_of(watched)).read_text())
    saved["cells"][2]["source"] = "# not what was signed"
    (server.notebooks / "untrusted-view.ipynb").write_text(json.dumps(saved))
    shut_down(watched)
    close(watched)
    with nothing_thrown(opened_lab.page, ["jupyterlab-manager"]):
        again = reopen(opened_lab, "untrusted-view.ipynb", 4)
        found = wait_for_text(again, "newest first", 1)
    assert again.page.evaluate("ebpflabTest.cell(1).model.trusted") is False
    assert found["styles"] == 0
    check(found, "attached")
    picture_of(opened_lab, again, "untrusted")


def convert(server, path, *options):
    """What nbconvert makes of a notebook, as a file."""
    made = path.with_name(f"{path.stem}{''.join(options).replace('--', '-')}.html")
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--output", str(made), *options, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=server.environment)
    assert done.returncode == 0, done.stderr
    return made


def check_page(made):
    """That an exported page has the numbers, the rows and the picture, and nothing that needs a widget."""
    soup = BeautifulSoup(made.read_text(), "html.parser")
    assert [script for script in soup.find_all("script") if script.get("type") == WIDGET] == []
    rows = [[cell.text for cell in row.find_all("td")] for row in soup.select("div.ebpflab tbody tr")]
    assert [row[1] for row in rows if len(row) == 8] == [f"{COUNT:,}"]
    assert [row[1] for row in rows if len(row) == 3][:20] == [str(n) for n in range(COUNT, COUNT - 20, -1)]
    (image,) = soup.select("div.ebpflab img")
    assert base64.b64decode(image["src"].partition(",")[2])[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def exported(watched, server):
    kept(watched)
    return server.notebooks / path_of(watched)


@pytest.mark.parametrize("template", ["lab", "classic"])
def test_nbconvert_shows_what_was_saved_while_it_was_live(exported, server, browser, watched, template):
    made = convert(server, exported, "--template", template)
    check_page(made)
    shut_down(watched)
    close(watched)
    try:
        with nothing_thrown(browser, ["ERR_", "MathJax", "require"]):
            browser.send("Page.navigate", url=made.as_uri())
            browser.wait_for("document.readyState === 'complete'", timeout=60)
            assert browser.evaluate("[...document.querySelectorAll('div.ebpflab img')].map(i => i.naturalWidth > 99)")
            browser.evaluate("document.querySelector('div.ebpflab').scrollIntoView()")
            browser.screenshot(SCREENSHOTS / f"survival-nbconvert-{template}.png")
    finally:
        reload(watched.lab)
        reopen(watched.lab, exported.name, 4)


@pytest.mark.parametrize("end", ["asked.close()", "asked.state"])
def test_a_run_by_nbconvert_without_a_browser_has_rows_and_the_plot(server, end):
    # No process but the kernel itself can be the one that asks: its number is known when it runs.
    line, body = CELL.split("\n", 1)
    watch = f'get_ipython().run_cell_magic("bpf", f"{line[6:].format(pid="{os.getpid()}")}", {body.format()!r})'
    cells = [
        "%load_ext ebpflab\nimport os, time",
        watch,
        f"for _ in range({COUNT}):\n    os.getpgid(0)\nassert asked.events.wait({COUNT}, timeout=10)\ntime.sleep(7)",
        f"{end}\ntime.sleep(1)",
    ]
    path = server.write("executed-view.ipynb", cells)
    check_page(convert(server, path, "--execute"))
