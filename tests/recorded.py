"""A stream that a test feeds itself, with the types of tests/data/btf/records.c: recordings without a kernel."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd

import ebpflab
from ebpflab.btf import Btf
from ebpflab.engines.base import LinkInfo, ProgramInfo
from ebpflab.events import Events
from ebpflab.keep import Keep
from ebpflab.losses import Losses
from ebpflab.recording.layout import Facts
from ebpflab.records import record_types
from ebpflab.store import RecordStore

BTF = (Path(__file__).parent / "data" / "btf" / "records.bpfel.BTF").read_bytes()
CLOCK = 1_700_000_000_000_000_000
FACTS = Facts(
    session="opens",
    engine="libbpf",
    source="int the_source;",
    kernel="6.1.0-test",
    machine="x86_64",
    programs=(ProgramInfo("on_open", "tp/syscalls/sys_enter_openat", 23, fd=7, id=11, jited=True),),
    links=(LinkInfo(1, "on_open", "tracepoint", "syscalls/sys_enter_openat", 9),),
    btf=BTF,
)


class Feed:
    """A buffer in which nothing ever waits."""

    size, pending_bytes = 1 << 16, 0

    def pending_records(self):
        return 0

    def flush(self, timeout):
        return True


class Stream:
    """Events of some structs, sent by the test."""

    def __init__(self, structs=("event",), wanted=None, keep=None, counted=True):
        self.types = record_types("events", Btf.parse(BTF), structs, wanted)
        self.store = RecordStore(Keep.parse(keep))
        self.lost = [0, 0]
        self.losses = Losses(lambda: list(self.lost) if counted else None)
        self.events = Events("events", self.store, Feed(), self.types, self.losses)
        self.events.facts = lambda: FACTS
        self.events.begin()

    def send(self, *records, clock=CLOCK, discarded=0):
        """Write records, as bytes, as a drain does."""
        records = list(records)
        while records or discarded:
            out, lengths = self.store.reserve(len(records[0]) if records else 1)
            count = nbytes = 0
            while count < min(len(records), len(lengths)) and nbytes + len(records[count]) <= len(out):
                raw = records[count]
                out[nbytes : nbytes + len(raw)] = np.frombuffer(raw, np.uint8)
                lengths[count] = len(raw)
                count, nbytes = count + 1, nbytes + len(raw)
            self.store.commit(count, nbytes, clock, time.monotonic(), discarded=discarded)
            self.losses.look(self.store.received)
            del records[:count]
            discarded = 0

    def lose(self, count, cpu=0):
        self.lost[cpu] += count
        self.losses.look(self.store.received)

    def close(self):
        """End as a session does: the store, then its recordings."""
        self.events.end()
        self.store.close()
        self.events.finish()


def event_bytes(count, seed=1):
    """Records of struct event, whatever their bytes mean."""
    rows = np.random.default_rng(seed).integers(0, 256, (count, 496), np.uint8)
    rows[:, :8] = np.arange(count, dtype="<i8")[:, None].view(np.uint8) + 1  # when: a time in order
    return [row.tobytes() for row in rows]


def points(*pairs):
    """Records of struct point: two 16-bit numbers."""
    return [np.array(pair, "<i2").tobytes() for pair in pairs]


def shapes(*names):
    """Records of struct shape: two points and a name of six bytes."""
    return [bytes(range(8)) + name.encode().ljust(6, b"\0") for name in names]


def replayed(path, **options):
    """The frame of a recording, played at once."""
    with ebpflab.replay(path, **{"speed": None, **options}) as session:
        return session.events.df()


def assert_same(frame, live):
    """That two frames are equal to the bit, attrs included."""
    pd.testing.assert_frame_equal(frame, live, check_exact=True)
    assert frame.attrs == live.attrs
