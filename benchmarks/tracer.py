"""The same events through bpftrace's JSON: every getppid(2) of a process that calls nothing else, flat out."""

import contextlib
import json
import signal
import subprocess
import threading
import time

from . import cells, peers
from .producer import Producer
from .report import Broken, Figure

PROGRAM = "tracepoint:syscalls:sys_enter_getppid /pid == %d/ { print((nsecs, pid, cpu, comm)); }"
ATTACHING = 2.0  # seconds: bpftrace says "attached" before it has attached
QUIET = 1.0  # seconds without a line after which it has told all


def run(quick):
    runs, rounds = 307, 1 if quick else 3  # runs of a thousand calls
    ours, theirs, missing = [], [], ""
    for _ in range(rounds):
        ours.append(through_us(runs))
        if not missing:
            try:
                theirs.append(through_bpftrace(runs))
            except peers.PeerMissing as error:
                missing = str(error)
    account = "; ".join(
        f"{name}: {_sum(rows, 'rows')} rows + {_sum(rows, 'lost')} lost of {len(rows) * runs * 1000:,}"
        for name, rows in (("ours", ours), ("bpftrace", theirs))
        if rows
    )
    yield Figure(
        "getppid flat out -> DataFrame",
        "k rows/s",
        [r["rate"] / 1e3 for r in ours],
        [r["rate"] / 1e3 for r in theirs],
        "bpftrace JSON",
        missing=missing,
        note=f"from the first call until the frame is there; {account}",
        raw={"rounds": ours, "peer_rounds": theirs},
    )
    yield Figure(
        "  lost of these",
        "%",
        [100 * r["lost"] / runs / 1000 for r in ours],
        [100 * r["lost"] / runs / 1000 for r in theirs],
        "bpftrace JSON",
        better="less",
        budget=("ours", "<=", 1),
    )
    yield Figure(
        "  calls that the traced process makes",
        "k calls/s",
        [r["calls"] / 1e3 for r in ours],
        [r["calls"] / 1e3 for r in theirs],
        "bpftrace JSON",
        note="what being traced costs the process that is traced; its loop is one of Python",
    )


def _sum(rounds, name):
    return f"{sum(r[name] for r in rounds):,}"


def through_us(runs):
    with Producer(runs=runs) as p, cells.load(cells.GETPPID, keep=runs * 1000, vars={"only": p.pid}) as s:
        p.start()
        made = p.wait()
        s.detach()
        frame = s.events.df()
        took = time.monotonic() - made["began"]
        if len(frame) + frame.attrs["lost"] != runs * 1000:
            raise Broken(f"tracer: {len(frame):,} rows and {frame.attrs['lost']:,} lost of {runs:,}000")
        calls = runs * 1000 / (made["ended"] - made["began"])
        return {"rows": len(frame), "lost": frame.attrs["lost"], "rate": len(frame) / took, "calls": calls}


def through_bpftrace(runs):
    import pandas as pd

    with Producer(runs=runs) as p, _bpftrace(p.pid) as lines:
        p.start()
        made = p.wait()
        lines.settle()
        messages = [json.loads(text) for text in lines.texts if text.startswith('{"type"')]
        rows = [m["data"] for m in messages if m["type"] == "value"]
        parse = time.monotonic()
        frame = pd.DataFrame(rows, columns=["ts", "pid", "cpu", "comm"])
        took = lines.last - made["began"] + lines.parsing + time.monotonic() - parse
    lost = sum(m["data"]["events"] for m in messages if m["type"] == "lost_events")
    calls = runs * 1000 / (made["ended"] - made["began"])
    unaccounted = runs * 1000 - lost - len(frame)
    return {"rows": len(frame), "lost": lost, "rate": len(frame) / took, "calls": calls, "unaccounted": unaccounted}


class _Lines:
    # Reads bpftrace's output in a thread of its own, so that its pipe never makes it wait longer than it must.

    def __init__(self, process):
        self.process, self.texts, self.last, self.parsing = process, [], 0.0, 0.0
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for text in self.process.stdout:
            self.texts.append(text)
            if '"value"' in text:  # empty lines come when it ends
                self.last = time.monotonic()

    def settle(self):
        while time.monotonic() - self.last < QUIET:
            time.sleep(0.05)
        begin = time.monotonic()
        for text in self.texts:
            json.loads(text) if text.strip() else None
        self.parsing = time.monotonic() - begin
        self.process.send_signal(signal.SIGINT)
        self.thread.join(10)


@contextlib.contextmanager
def _bpftrace(pid):
    command = [peers.bpftrace(), "-f", "json", "-B", "line", "-e", PROGRAM % pid]
    process = peers.start(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        lines = _Lines(process)
        deadline = time.monotonic() + 20
        while not any("attached_probes" in text for text in lines.texts):
            if process.poll() is not None or time.monotonic() > deadline:
                raise peers.PeerMissing("bpftrace did not attach")
            time.sleep(0.05)
        time.sleep(ATTACHING)
        yield lines
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
