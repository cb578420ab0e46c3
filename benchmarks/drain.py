"""Drain of a ring that was filled before: nobody produces meanwhile, so this is the reader's own speed."""

import time

from . import cells, peers
from .producer import map_fd
from .report import Broken, Figure

COUNT = 1_000_003
BCC_COUNT = 200_003  # BCC takes a microsecond and more for each


def run(quick):
    rounds = 3 if quick else 7
    packed, columns, c, bcc, missing = [], [], [], [], {}
    with cells.filled(COUNT, keep=COUNT) as s:
        first = [to_store(s, COUNT)]
        for number in range(2, rounds + 2):
            # The history is full by now, and its memory is used again, as in every stream that runs for a while.
            cells.fill(s, COUNT)
            packed.append(to_store(s, number * COUNT))
    with cells.filled(COUNT, keep=COUNT) as s:
        to_columns(s)
        for _ in range(rounds):
            cells.fill(s, COUNT)
            columns.append(to_columns(s))
            for name, rates, measure in (("C", c, in_c), ("BCC", bcc, in_bcc)):
                if name not in missing:
                    try:
                        rates.append(measure())
                    except peers.PeerMissing as error:
                        missing[name] = str(error)
    yield Figure(
        "ready ring -> packed records",
        "M/s",
        packed,
        c,
        "libbpf C",
        budget=("ours", ">=", 60),
        missing=missing.get("C", ""),
        note=f"{COUNT:,} records of 48 bytes lie ready; both sides write to memory that was used before",
    )
    yield Figure(
        "  the first time, into fresh memory",
        "M/s",
        first,
        note="page faults, of huge pages where the kernel has some: one round only",
    )
    yield Figure(
        "ready ring -> packed records",
        "M/s",
        packed,
        bcc,
        "BCC",
        missing=missing.get("BCC", ""),
        note=f"BCC's callback reads six fields and keeps a tuple; {BCC_COUNT:,} records",
    )
    yield Figure(
        "ready ring -> decoded columns",
        "M/s",
        columns,
        bcc,
        "BCC",
        budget=("ratio", ">=", 25),
        missing=missing.get("BCC", ""),
        note="six columns, UTC times and names of processes among them, through e.batches()",
    )


def to_store(session, total):
    """Millions a second, from the moment the drain may begin until the store has the last one."""
    start = time.perf_counter()
    session.events.resume()
    done = session.events.wait(total, timeout=30)
    took = time.perf_counter() - start
    _check(done and session.events.stats()["received"] == total)
    return COUNT / took / 1e6


def to_columns(session):
    """The same until the last one is in a column."""
    batches = session.events.batches(timeout=1.0)
    rows, start = 0, time.perf_counter()
    session.events.resume()
    for batch in batches:
        rows += len(batch["number"])
        if rows == COUNT:
            break
    took = time.perf_counter() - start
    _check(rows == COUNT)
    return COUNT / took / 1e6


def in_c():
    with cells.filled(COUNT, keep=COUNT) as s, peers.c_consumer("drain", map_fd(s)) as peer:
        return _rate(peer.result(), COUNT)


def in_bcc():
    with cells.filled(BCC_COUNT, keep=BCC_COUNT) as s:
        fd = map_fd(s)
        with peers.bcc("drain", fd, fds=(fd,)) as peer:
            return _rate(peer.result(), BCC_COUNT)


def _rate(result, count):
    _check(result["records"] == count)
    return count / (result["last"] - result["first"]) / 1e6


def _check(right):
    if not right:
        raise Broken("drain: not every record arrived")
