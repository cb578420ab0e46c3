"""Numbers, rows and the log of real sessions; overhead is held against what the kernel itself says."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bpftool
import cells
import numpy as np
import pytest

from ebpflab.errors import EbpflabError
from ebpflab.views import Look, log
from ebpflab.views.entries import entries, names, write
from ebpflab.views.monitor import Monitor
from ebpflab.views.rows import newest

XDP = 'SEC("xdp") int pass(struct xdp_md *ctx) { return XDP_PASS; }'
_SYS_ADMIN = 1 << 21  # include/uapi/linux/capability.h


@pytest.fixture
def opens(load):
    return load(cells.GETPPID, name="opens", vars={"only": os.getpid()})


def holders():
    """The processes that have the kernel count runs: their descriptors are anon_inode:bpf-stats."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if "bpf-stats" in str(link.readlink()):
                found.add(int(link.parts[2]))
    return found


def kernels_count(session, program):
    (row,) = session.programs[session.programs["name"] == program].to_dict("records")
    return row["run_cnt"], row["run_ns"]


def test_events_are_counted_exactly_and_are_in_the_history(opens):
    monitor = Monitor(opens)
    cells.call_getppid(1009)
    assert opens.events.wait(1009, timeout=5)
    time.sleep(0.25)
    assert 0 < monitor.look().rate <= 1009 / 0.25
    time.sleep(0.25)
    seen, history = monitor.look(), monitor.history(60)
    assert (seen.state, seen.tone, seen.engine) == ("attached", "ok", "libbpf")
    assert (seen.received, seen.lost, seen.evicted, seen.held, seen.pending) == (1009, 0, 0, 1009, 0)
    assert history.rate.sum(dtype=np.float64) * history.step == pytest.approx(1009, abs=0.01)
    assert history.lost.sum() == 0
    (flow,) = seen.per_stream
    assert (flow.name, flow.received, flow.lost) == ("events", 1009, 0)


def test_lost_records_are_counted_and_in_the_history_and_the_log(load):
    session = load(cells.SENDER.replace("SIZE", "4096"), name="small", attach=False)
    monitor = Monitor(session)
    session.events.pause()
    order = (1009).to_bytes(4, "little") + (0).to_bytes(4, "little")
    session.test_run("send", ctx=order)
    assert monitor.look().state == "paused"
    session.events.resume()
    assert cells.wait_until(lambda: monitor.look().pending == 0)
    time.sleep(0.25)
    seen, history = monitor.look(), monitor.history(60)
    assert seen.lost > 0
    assert seen.received + seen.lost == session.vars["sent"] == 1009
    assert history.lost.sum(dtype=np.float64) * history.step == pytest.approx(seen.lost, abs=0.01)
    assert f"events: {seen.lost:,} records lost, {seen.lost:,} in all" in [line.text for line in log.lines(session)]
    assert next(tile for tile in seen.tiles() if tile.key == "lost").tone == "error"


def test_runs_are_counted_exactly_while_they_are_measured(load):
    session = load(XDP, name="packets", attach=False)
    monitor = Monitor(session)
    start = time.monotonic()
    monitor.measure(True)
    monitor.measure(True)  # a second time changes nothing
    time.sleep(0.6)
    session.test_run("pass", data=bytes(64), repeat=1009)
    time.sleep(0.6)
    seen = monitor.look()
    (cost,) = seen.per_program
    assert (cost.name, cost.runs) == ("pass", 1009)
    assert kernels_count(session, "pass")[0] == 1009
    assert cost.ns_per_run == pytest.approx(kernels_count(session, "pass")[1] / 1009)
    assert seen.runs_per_s == pytest.approx(cost.runs_per_s)
    assert seen.core_share == pytest.approx(cost.runs_per_s * cost.ns_per_run / 1e9)
    assert seen.problem == ""
    # A mean over the time from the first reading, in measure(), to the last.
    assert 1009 / (time.monotonic() - start) < cost.runs_per_s <= 1009 / 1.2
    told = next(p for p in bpftool.run("prog", "show") if p["id"] == session._handle.programs()[0].id)
    assert told["run_cnt"] == 1009


def test_the_kernel_counts_no_more_when_nobody_looks(load):
    session, second = load(XDP, name="one", attach=False), load(XDP, name="two", attach=False)
    monitor = Monitor(session)
    monitor.measure(True)
    assert os.getpid() in holders()
    second.test_run("pass", data=bytes(64), repeat=23)
    monitor.measure(False)
    assert os.getpid() not in holders()
    assert kernels_count(second, "pass")[0] >= 23

    def moved():
        before = kernels_count(second, "pass")
        second.test_run("pass", data=bytes(64), repeat=29)
        return kernels_count(second, "pass") != before

    # Another process on this machine may have runs counted for a while; if it were us, they would move all the time.
    assert Path("/proc/sys/kernel/bpf_stats_enabled").read_text() == "0\n"
    assert cells.wait_until(lambda: not moved(), timeout=60)
    seen = monitor.look()
    assert (seen.runs_per_s, seen.per_program, seen.problem) == (None, (), "")


def test_measuring_ends_with_the_session_and_its_numbers_stay(load):
    session = load(XDP, name="packets", attach=False)
    monitor = Monitor(session)
    monitor.measure(True)
    session.test_run("pass", data=bytes(64), repeat=503)  # and no look at all before the end
    session.close()
    assert os.getpid() not in holders()
    seen = monitor.look()
    (cost,) = seen.per_program
    assert (seen.state, cost.name, cost.runs) == ("closed", "pass", 503)
    assert seen.runs_per_s > 0
    monitor.measure(True)
    assert os.getpid() not in holders()


def test_a_monitor_that_was_closed_never_measures_again(load):
    # A session closes its views before its state says so: one that draws meanwhile must not begin anew.
    monitor = Monitor(load(XDP, name="packets", attach=False))
    monitor.close()
    monitor.measure(True)
    assert os.getpid() not in holders()
    assert monitor.look().runs_per_s is None


def test_a_view_that_was_opened_when_all_was_over_knows_when_that_was(load):
    session = load(XDP, name="packets", attach=False)
    early = Monitor(session)
    session.close()
    age = early.look().age
    time.sleep(0.1)
    assert Monitor(session).look().age == early.look().age == age


def test_a_monitor_that_nobody_closed_lets_the_kernel_go(load):
    session = load(XDP, name="packets", attach=False)
    monitor = Monitor(session)
    monitor.measure(True)
    assert os.getpid() in holders()
    del monitor
    assert os.getpid() not in holders()


def test_two_views_measure_side_by_side(load):
    session = load(XDP, name="packets", attach=False)
    one, two = Monitor(session), Monitor(session)
    one.measure(True)
    two.measure(True)
    one.measure(False)
    session.test_run("pass", data=bytes(64), repeat=101)
    time.sleep(0.6)
    assert [cost.runs for cost in two.look().per_program] == [101]
    two.close()
    assert os.getpid() not in holders()


def test_where_it_is_not_permitted_a_sentence_says_why(load):
    session = load(XDP, name="packets", attach=False)
    monitor = Monitor(session)

    def without_sys_admin():
        status = Path("/proc/thread-self/status").read_text()
        cells.keep_only_capabilities(int(re.search(r"CapPrm:\s*(\w+)", status)[1], 16) & ~_SYS_ADMIN)
        monitor.measure(True)
        return monitor.look()

    with ThreadPoolExecutor(1) as pool:  # capabilities are a thread's own, and go with it
        seen = pool.submit(without_sys_admin).result()
    assert seen.runs_per_s is None
    assert "CAP_SYS_ADMIN" in seen.problem
    assert "kernel.bpf_stats_enabled" in seen.problem
    assert os.getpid() not in holders()
    monitor.measure(False)
    assert monitor.look().problem == ""


def test_overhead_is_read_twice_a_second_however_often_somebody_looks(load):
    session = load(XDP, name="packets", attach=False)
    monitor, read = Monitor(session), []
    monitor.measure(True)
    programs = session._handle.programs
    session._handle.programs = lambda: read.append(time.monotonic()) or programs()
    start, looks = time.monotonic(), 0
    while time.monotonic() < start + 1.6:
        monitor.look()
        looks += 1
    assert 2 <= len(read) <= 1 + (time.monotonic() - start) / 0.5
    assert looks > 10 * len(read)


def test_newest_rows_are_those_that_were_just_sent(opens):
    cells.call_getppid(23)
    assert opens.events.wait(23, timeout=5)
    rows = newest(opens, Look(rows=7, filter=f"pid={os.getpid()}"))
    assert (rows.shown, rows.matched, rows.held, rows.problem) == (7, 23, 23, "")
    assert [(c.name, c.kind) for c in rows.columns] == [("ts", "time"), ("pid", "number"), ("comm", "text")]
    assert {row[1] for row in rows.cells} == {str(os.getpid())}
    assert {row[2] for row in rows.cells} == {Path("/proc/self/comm").read_text().strip()}
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}", row[0]) for row in rows.cells)
    opens.close()
    assert newest(opens, Look(rows=7)).cells == rows.cells


def test_the_log_says_what_was_attached_and_detached(opens):
    texts = [line.text for line in log.lines(opens)]
    assert [text.partition(":")[0] for text in texts[:5]] == ["cell", "compile", "open", "load + verify", "attach"]
    assert "attached on_getppid to tracepoint syscalls/sys_enter_getppid" in texts
    opens.detach()
    opens.close()
    assert [line.text for line in log.lines(opens)][-2:] == ["detached on_getppid", "the session is closed"]


@pytest.mark.parametrize("round", range(31))
def test_looking_goes_on_while_another_thread_closes_the_session(load, round):
    session = load(cells.GETPPID, name="opens", vars={"only": os.getpid()})
    monitor, started = Monitor(session), threading.Event()
    monitor.measure(True)

    def draw():
        while session.state != "closed":
            monitor.measure(True)
            monitor.look()
            newest(session, Look(filter="pid>0", sort="ts"))
            for name in names(session):
                entries(session, Look(map=name))
            with contextlib.suppress(EbpflabError):  # the session may be gone
                write(session, "variables", "seen", "17")
            monitor.history().spark()
            log.lines(session)
            started.set()
        monitor.measure(True)
        return monitor.look().state

    with ThreadPoolExecutor(1) as pool:
        drawing = pool.submit(draw)
        started.wait(10)
        cells.call_getppid(101)
        time.sleep(round / 5000)
        session.close()
        assert drawing.result(10) == "closed"
    assert os.getpid() not in holders()
    assert monitor.look().received == 101


def test_a_view_costs_the_same_however_many_events_have_come(load):
    session = load(cells.SENDER.replace("SIZE", "1 << 22"), name="many", attach=False)
    monitor = Monitor(session)
    order = (1024).to_bytes(4, "little") + (0).to_bytes(4, "little")
    took = []
    for _ in range(211):
        session.test_run("send", ctx=order)
        start = time.perf_counter()
        monitor.look()
        newest(session, Look())
        took.append(time.perf_counter() - start)
    assert cells.wait_until(lambda: monitor.look().received == 211 * 1024)
    assert monitor.look().lost == 0
    early, late = sorted(took[:53])[26], sorted(took[-53:])[26]
    assert late < 5 * early + 0.01
