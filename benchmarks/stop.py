"""Stopping at full rate: how long close, detach and an interrupt take, and whether the rows stay."""

import os
import signal
import threading
import time

from . import cells
from .live import PER_RUN
from .producer import Producer
from .report import Broken, Figure

KEEP = 1_000_000
LIMIT = 200  # milliseconds


def run(quick):
    rounds = 3 if quick else 7
    for title, measure in (
        ("close() at full rate, the slowest", closing),
        ("detach() at full rate, the slowest", detaching),
        ("KeyboardInterrupt in e.wait() at full rate", interrupting),
    ):
        took = [measure() for _ in range(rounds)]
        yield Figure(
            title,
            "ms",
            [max(took)],
            budget=("ours", "<=", LIMIT),
            note=f"of {rounds}; the rows were kept each time",
            raw={"rounds": took},
        )


def closing():
    """Milliseconds of ``s.close()`` while another process fills the ring as fast as it can."""
    with cells.load(cells.sender(), keep=KEEP) as s, Producer(s, order=cells.order(PER_RUN)) as p:
        p.start()
        s.events.wait(KEEP, timeout=10)
        start = time.monotonic()
        s.close()
        took = time.monotonic() - start
        p.stop()
        _kept(s)
    return took * 1000


def detaching():
    """Milliseconds of ``s.detach()`` from a system call that another process makes as fast as it can."""
    with Producer() as p, cells.load(cells.GETPPID, keep=KEEP, vars={"only": p.pid}) as s:
        p.start()
        s.events.wait(100_000, timeout=10)
        start = time.monotonic()
        s.detach()
        took = time.monotonic() - start
        stats = s.events.stats()
        if stats["received"] + stats["lost"] != s.vars["sent"]:
            raise Broken(f"stop: {stats} is not what was sent, {s.vars['sent']:,}")
        _kept(s)
    return took * 1000


def interrupting():
    """Milliseconds from SIGINT until ``e.wait()`` has raised KeyboardInterrupt, flat out."""
    with cells.load(cells.sender(), keep=KEEP) as s, Producer(s, order=cells.order(PER_RUN)) as p:
        p.start()
        s.events.wait(KEEP, timeout=10)
        sent = []

        def interrupt():
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

        timer = threading.Timer(0.3, interrupt)
        timer.start()
        try:
            s.events.wait(10**15, timeout=20)
            raise Broken("stop: the interrupt did not arrive")
        except KeyboardInterrupt:
            took = time.monotonic() - sent[0]
        timer.join()
        p.stop()
        _kept(s)
    return took * 1000


def _kept(session):
    frame, stats = session.events.df(), session.events.stats()
    if len(frame) != stats["rows"] or stats["rows"] != min(KEEP, stats["received"]):
        raise Broken(f"stop: {len(frame):,} rows are left of {stats}")
