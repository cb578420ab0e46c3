"""Stopping at full rate, and a notebook that holds the interpreter while a million events a second arrive."""

from __future__ import annotations

import os
import re
import signal
import statistics
import threading
import time

import numpy as np
import pytest
from test_magics import Notebook

from benchmarks.cells import GETPPID, order, sender
from benchmarks.producer import Producer

KEEP = 100_003
WITHIN = 0.2  # seconds
ROUNDS = 3  # the median counts: the machine that runs the tests has other things to do
PER_RUN = 4_001


def is_kept(session, received):
    """The newest rows are all there, one after another, though everything has stopped."""
    frame, stats = session.events.df(), session.events.stats()
    assert stats["received"] >= received
    assert len(frame) == stats["rows"] == min(KEEP, stats["received"])
    return frame


def test_close_at_full_rate_takes_no_time_and_keeps_the_rows(load):
    took = []
    for _ in range(ROUNDS):
        session = load(sender(), keep=KEEP)
        with Producer(session, order=order(PER_RUN)) as producer:
            producer.start()
            assert session.events.wait(1_000_003, timeout=20)
            begin = time.monotonic()
            session.close()
            took.append(time.monotonic() - begin)
        numbers = is_kept(session, 1_000_003)["number"].to_numpy()
        assert (np.diff(numbers.astype(np.int64)) > 0).all()
    assert statistics.median(took) <= WITHIN


def test_detach_at_full_rate_takes_no_time_and_everything_is_accounted_for(load):
    took = []
    for _ in range(ROUNDS):
        with Producer() as producer:
            session = load(GETPPID, keep=KEEP, vars={"only": producer.pid})
            producer.start()
            assert session.events.wait(100_003, timeout=20)
            begin = time.monotonic()
            session.detach()
            took.append(time.monotonic() - begin)
            stats = session.events.stats()
            assert stats["received"] + stats["lost"] == session.vars["sent"]
            assert set(is_kept(session, 100_003)["pid"]) == {producer.pid}
    assert statistics.median(took) <= WITHIN


def test_an_interrupt_ends_a_wait_at_full_rate_at_once_and_the_stream_goes_on(load):
    took = []
    for _ in range(ROUNDS):
        session, sent = load(sender(), keep=KEEP), []

        def interrupt(sent=sent):
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

        with Producer(session, order=order(PER_RUN)) as producer:
            producer.start()
            assert session.events.wait(1_000_003, timeout=20)
            timer = threading.Timer(0.1, interrupt)
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                session.events.wait(10**15, timeout=20)
            took.append(time.monotonic() - sent[0])
            timer.join()
            before = session.events.stats()["received"]
            assert session.events.wait(before + 1_000_003, timeout=20)
            producer.stop()
        session.detach()
        is_kept(session, before)
    assert statistics.median(took) <= WITHIN


@pytest.fixture
def notebook():
    running = Notebook()
    running.run("%load_ext ebpflab")
    yield running
    running.run("import ebpflab\nebpflab.close_all()")
    running.stop()


def shown(message):
    """How many events a timed cell says it has."""
    said = re.search(r"of 60 s\s+([\d,]+) events", str(message["content"].get("data")))
    return int(said[1].replace(",", "")) if said else 0


def test_an_interrupt_ends_a_timed_cell_at_full_rate_at_once(notebook):
    took = []
    for _ in range(ROUNDS):
        with Producer() as producer:
            cell = f"%%bpf calls --for 60s --keep {KEEP} --var only={producer.pid}\n{GETPPID}"
            request = notebook.start(cell)
            notebook.collect(request, until=lambda message: "of 60 s" in str(message["content"].get("data")))
            producer.start()
            notebook.collect(request, until=lambda message: shown(message) > KEEP)
            begin = time.monotonic()
            notebook.manager.interrupt_kernel()
            answer = notebook.collect(request)
            took.append(time.monotonic() - begin)
            assert answer.of("error") == []
        stats = "*(calls.events.stats()[name] for name in ('received', 'lost'))"
        answer = notebook.value(f"calls.state, len(calls.events.df()), {stats}, calls.vars['sent']").split()
        state, (rows, received, lost, sent) = answer[0], map(int, answer[1:])
        assert (state, rows) == ("detached", KEEP)
        assert received + lost == sent
    assert statistics.median(took) <= WITHIN


def in_bytecodes(seconds):
    """A loop of Python: the interpreter can be had in between."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def in_one_call(seconds):
    """One call of C code that never lets go of the interpreter."""
    begin = time.perf_counter()
    sum(range(5_000_000))
    rounds = seconds / (time.perf_counter() - begin) * 5_000_000
    sum(range(int(rounds)))


def hogged(load, hog, ring_bytes):
    """Hold the interpreter for two seconds at a million events a second; the stream's counts afterwards.

    That what arrived and what was refused is what was sent, number by number, is checked here.
    """
    session = load(sender(ring=ring_bytes), keep=10**7)
    with Producer(session, order=order(1009), interval=1009e-6) as producer:
        producer.start()
        assert session.events.wait(100_003, timeout=20)
        before = session.vars["sent"]
        hog(2.0)
        during = session.vars["sent"] - before
        producer.stop()
    sent, refused = session.vars["sent"], session.vars["refused"]
    assert session.events.wait(sent - refused, timeout=10)
    stats = session.events.stats()
    assert (stats["received"] + stats["lost"], stats["lost"]) == (sent, refused)
    frame = session.events.df()
    assert len(frame) == stats["received"]
    assert frame.attrs["lost"] == refused
    numbers = frame["number"].to_numpy().astype(np.int64)
    # Each of the numbers 0 to sent - 1 came once, or not at all and was counted.
    gaps = np.diff(numbers, prepend=-1, append=sent) - 1
    assert (gaps >= 0).all()
    assert gaps.sum() == stats["lost"]
    return session, stats, during


def test_a_busy_loop_of_python_loses_nothing(load):
    _, stats, during = hogged(load, in_bytecodes, 64 << 20)
    assert during > 500_000
    assert stats["lost"] == 0


@pytest.mark.parametrize("ring_bytes", [16 << 20, 64 << 20])
def test_a_call_that_keeps_the_interpreter_loses_only_what_is_counted(load, ring_bytes):
    session, stats, during = hogged(load, in_one_call, ring_bytes)
    # What the ring takes while nobody can read it, 48 bytes and a header of 8 each, is not lost.
    fits = ring_bytes // 56
    assert stats["lost"] <= max(0, during - fits) + 100_003
    if during > 2 * fits:
        assert stats["lost"] > 0
        advised = re.search(r"--buffer events=(\d+)MiB$", session.events.advice)
        assert advised, session.events.advice
        assert int(advised[1]) << 20 in (2 * ring_bytes, 4 * ring_bytes, 8 * ring_bytes, 16 * ring_bytes)
        assert int(advised[1]) << 20 > 0.9 * stats["lost"] * 56  # nearly all were lost in one stretch


def test_a_ring_for_four_seconds_loses_nothing_to_a_call_of_two(load):
    _, stats, during = hogged(load, in_one_call, 256 << 20)
    assert during > 500_000
    assert stats["lost"] == 0
