"""Live at full speed: another process sends 48 byte records flat out for seconds; who keeps up, and who loses what.

Every record is accounted for on both sides: what the program tried to send is what arrived and what it counted as
refused.
"""

import functools
import resource
import time

from . import cells, peers
from .producer import Producer, map_fd
from .report import Broken, Figure

PER_RUN = 4_001  # what one run of the program sends: a longer one would keep its CPU from everybody else
KEEP = 1_000_000  # records
DECODED = "250MB"  # so that the reader of columns may lag behind the drain for a while
QUIET = 500  # milliseconds without a record after which a peer has seen them all


def run(quick):
    rounds, seconds = (2, 1.0) if quick else (3, 2.0)
    for wakeups, mode in ((True, "live"), (False, "nap")):
        yield from _beside(rounds, seconds, wakeups, mode)
    yield from _bcc(seconds)


def _beside(rounds, seconds, wakeups, mode):
    program = cells.sender(wakeups=wakeups)
    sides = {"kept": kept, "columns": columns, "C": functools.partial(in_c, mode=mode)}
    results, missing = {name: [] for name in sides}, ""
    for _ in range(rounds):
        for name, measure in sides.items():
            if name != "C" or not missing:
                try:
                    results[name].append(measure(program, seconds))
                except peers.PeerMissing as error:
                    missing = str(error)
    asked = "wakes" if wakeups else "no wakeups"
    for name, title in (("kept", "kept records"), ("columns", "decoded columns")):
        ours, theirs = results[name], results["C"]
        yield Figure(
            f"live, flat out, {asked} -> {title}",
            "M/s",
            [r["rate"] for r in ours],
            [r["rate"] for r in theirs],
            "libbpf C",
            budget=("ratio", ">=", 0.8),
            missing=missing,
            note=f"{account(ours, theirs)}; the history was full before",
            raw={"rounds": ours, "peer_rounds": theirs},
        )
        yield Figure(
            "  lost of these",
            "%",
            [100 * r["lost"] / r["sent"] for r in ours],
            [100 * r["lost"] / r["sent"] for r in theirs],
            "libbpf C",
            better="less",
            budget=("ours", "<=", 1),
        )


def _bcc(seconds):
    program = cells.sender()
    ours, theirs, missing = kept(program, seconds), [], ""
    try:
        theirs = [in_bcc(program, seconds)]
    except peers.PeerMissing as error:
        missing = str(error)
    yield Figure(
        "live, flat out, wakes -> kept records",
        "M/s",
        [ours["rate"]],
        [r["rate"] for r in theirs],
        "BCC",
        missing=missing,
        note="".join(f"BCC lost {r['lost'] / r['sent']:.1%} of {r['sent']:,}" for r in theirs),
        raw={"rounds": [ours], "peer_rounds": theirs},
    )


def kept(program, seconds):
    """Our drain into the store."""
    with cells.load(program, keep=KEEP) as s, Producer(s, order=cells.order(PER_RUN), seconds=seconds) as p:
        before, begin = cells.warm(s), cpu()
        p.start()
        made = p.wait()
        s.events.wait(s.vars["sent"] - s.vars["refused"], timeout=10)
        last = time.monotonic()
        stats = s.events.stats()
        return checked(s, stats["received"], stats["lost"], last - made["began"], before) | {"cpu": cpu() - begin}


def columns(program, seconds):
    """Our drain, and every batch decoded by a reader in the same process."""
    with cells.load(program, keep=DECODED) as s, Producer(s, order=cells.order(PER_RUN), seconds=seconds) as p:
        before, rows, last = cells.warm(s), 0, 0.0
        begin = cpu()
        batches = s.events.batches(timeout=QUIET / 1000)
        p.start()
        for batch in batches:
            rows += len(batch["number"])
            last = time.monotonic()
        made, stats = p.wait(), s.events.stats()
        # What left the history before it was read is lost to whoever reads columns.
        result = checked(s, stats["received"], stats["lost"], last - made["began"], before)
        unread = result["received"] - rows
        result |= {"received": rows, "lost": stats["lost"] + unread, "unread": unread}
        return result | {"rate": rows / result["seconds"] / 1e6, "cpu": cpu() - begin}


def in_c(program, seconds, mode):
    with cells.load(program, keep=1) as s:
        s.events.pause()
        return beside_peer(s, peers.c_consumer(mode, map_fd(s), QUIET), seconds)


def in_bcc(program, seconds):
    with cells.load(program, keep=1) as s:
        s.events.pause()
        return beside_peer(s, peers.bcc("live", map_fd(s), fds=(map_fd(s),)), seconds)


def beside_peer(session, consumer, seconds, order=None):
    """What a peer's process takes meanwhile; our own stream is paused."""
    with consumer as peer, Producer(session, order=order or cells.order(PER_RUN), seconds=seconds) as p:
        p.start()
        made = p.wait()
        result = peer.result()
        # What the program counts and what the prelude counts are two counts of the same thing.
        lost = session.events.stats()["lost"]
        return checked(session, result["records"], lost, result["last"] - made["began"]) | {"cpu": result["cpu"]}


def checked(session, received, lost, took, before=0):
    # Without the first records, which warmed the memory.
    sent, refused = session.vars["sent"], session.vars["refused"]
    if received + lost != sent or lost != refused:
        raise Broken(f"live: received {received:,} + lost {lost:,} is not sent {sent:,} (refused {refused:,})")
    sent, received = sent - before, received - before
    return {"sent": sent, "received": received, "lost": lost, "seconds": took, "rate": received / took / 1e6}


def account(ours, theirs):
    def told(rows):
        return f"{sum(r['sent'] for r in rows):,} sent = received + lost ({sum(r['lost'] for r in rows):,})"

    return f"ours: {told(ours)}; C: {told(theirs)}"


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
