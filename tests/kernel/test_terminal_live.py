"""The view in a terminal: IPython behind a pty, and what a person in front of it sees."""

from __future__ import annotations

import os
import re
import sys
import time

import cells
import objects
import pytest
from test_view_lifetimes import measures

from tests.terminals import Terminal, seen

# %%bpf of a file: what is typed at a prompt has its tabs completed.
RUN = "get_ipython().run_cell_magic('bpf', '{line} --var only={pid}', open({path!r}).read())\n"
PROMPT = r"In \[\d+\]: $"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"  # the cursor, from the first drawing to the last
RECEIVED = re.compile(r"received\D*([\d,]+)")


@pytest.fixture
def ipython(tmp_path):
    """IPython at its prompt, with our magics; `ipython.run(line)` types a watched cell."""
    source = tmp_path / "calls.c"
    source.write_text(cells.GETPPID)
    command = [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--no-confirm-exit"]
    environment = cells.environment(IPYTHONDIR=str(tmp_path), TERM="xterm", NO_COLOR="1")
    with Terminal(command, env=environment) as terminal:
        terminal.until(PROMPT)
        terminal.type("%load_ext ebpflab\n")
        terminal.until(PROMPT)
        terminal.run = lambda line: terminal.type(RUN.format(line=line, pid=os.getpid(), path=str(source)))
        yield terminal


def received(text):
    return [int(found.replace(",", "")) for found in RECEIVED.findall(text)]


def asked(terminal, expression):
    terminal.type(f"print('ANSWER', {expression})\n")
    return re.search(r"^ANSWER (.*?)\r?$", terminal.until(rf"\nANSWER [^\n]*\n[\s\S]*{PROMPT}"), re.MULTILINE)[1]


def test_a_watched_cell_shows_growing_numbers_and_ctrl_c_returns_to_the_prompt_with_the_session_alive(ipython):
    ipython.run("calls --watch")
    ipython.until("calls \\[attached\\]")
    assert cells.wait_until(lambda: measures(ipython.pid))
    assert not ipython.echoes
    text = ""
    for total in (7, 18, 31):  # 7, 11 and 13 more
        cells.call_getppid({7: 7, 18: 11, 31: 13}[total])
        text += ipython.until(rf"received\D*{total}\b")
    assert received(text) == sorted(received(text))
    assert {7, 18, 31} <= set(received(text))
    begin = time.monotonic()
    ipython.type("\x03")
    after = ipython.until(PROMPT)
    assert time.monotonic() - begin < 2
    assert "calls is attached, calls.events.df() has the rows, and %bpf stop calls ends it" in after
    assert "Traceback" not in after
    assert "KeyboardInterrupt" not in after
    assert ipython.echoes
    assert not measures(ipython.pid)
    cells.call_getppid(5)
    assert asked(ipython, "calls.events.wait(36, timeout=5), calls.state") == "True attached"
    assert len(objects.held_by(ipython.pid) & objects.live()) >= 3
    # What a person sees of what was drawn, some ten times over itself: the view, once.
    assert len(received(ipython.sent)) >= 4
    screen = seen(ipython.sent[ipython.sent.index(HIDE) : ipython.sent.index(SHOW) + len(SHOW)])
    assert screen.cursor
    assert screen.text.count("calls [attached]") == 1
    assert screen.text.count("received") == 1
    assert "received 31" in screen.text
    # A program, its runs per second, nanoseconds of a run and share of a core.
    assert re.search(r"^  on_getppid +[\d.,]+ +[\d.,]+ +\d+\.\d\d%$", screen.text, re.MULTILINE), screen.text
    assert "Ctrl-C" not in screen.text


def test_a_watched_run_ends_after_its_time_detached_with_its_summary(ipython):
    ipython.run("calls --for 1500ms --watch")
    ipython.until("calls \\[attached\\]")
    cells.call_getppid(13)
    after = ipython.until(PROMPT)
    assert "received 13" in after
    assert "calls [detached]" in after
    assert asked(ipython, "calls.state, len(calls.events.df())") == "detached 13"


def test_ctrl_c_ends_a_watched_run_early_and_keeps_its_events(ipython):
    ipython.run("calls --for 60s --watch")
    ipython.until("calls \\[attached\\]")
    cells.call_getppid(17)
    ipython.until("received 17")
    begin = time.monotonic()
    ipython.type("\x03")
    after = ipython.until(PROMPT)
    assert time.monotonic() - begin < 2
    assert re.search(r"stopped after \d+\.\d of 60 s; the events are kept", after)
    assert asked(ipython, "calls.state, len(calls.events.df())") == "detached 17"


def test_a_session_that_another_thread_closes_ends_its_watch(ipython):
    ipython.type("import threading, ebpflab\n")
    ipython.until(PROMPT)
    ipython.type("threading.Timer(3, ebpflab.close_all).start()\n")
    ipython.until(PROMPT)
    ipython.run("calls --watch")
    cells.call_getppid(3)
    assert "calls is closed" in ipython.until(rf"calls is closed[\s\S]*{PROMPT}")
    assert asked(ipython, "calls.state, len(ebpflab.sessions())") == "closed 0"


def test_a_view_at_the_prompt_is_one_look_that_says_how_to_watch(ipython):
    ipython.run("calls")
    ipython.until(PROMPT)
    ipython.type("calls.view()\n")
    assert "one look; .watch() keeps it up to date" in ipython.until(rf"\.watch\(\)[\s\S]*{PROMPT}")


def test_killing_ipython_while_it_watches_leaves_nothing(ipython):
    before = objects.live()
    ipython.run("calls --watch")
    ipython.until("calls \\[attached\\]")
    assert cells.wait_until(lambda: measures(ipython.pid))
    held = objects.held_by(ipython.pid)
    assert held
    os.kill(ipython.pid, 9)
    assert cells.wait_until(lambda: not (objects.live() & held))
    assert objects.leaked_since(before) == set()
