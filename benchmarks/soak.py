"""Sequence and checksum: ``python -m benchmarks soak [--records 1e9]``.

Several processes send records of four lengths into two rings, one of them tiny; the readers are paused now and then
until the rings overflow. Every record that arrives is looked at: its checksum covers length, sender and payload, and
the numbers of one sender in one ring have to grow. What is missing has to be exactly what the program counted as
refused or thrown away, and the prelude's count of losses has to say the same.
"""

import contextlib
import json
import os
import struct
import time
from pathlib import Path

import numpy as np

import ebpflab

from .producer import Producer

SOURCE = Path(__file__).with_name("soak.bpf.c")
RINGS = ("events", "tiny")
PRODUCERS = 16  # as in the program
BEHIND, CAUGHT_UP = 1_000_000, 100_000  # rows: from when the producers rest, and until when
PER_LOOK = 1 << 18  # rows
PER_RUN = 2_003
PHASES = 20  # forced overflows in a whole run
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_WORDS = {40: 2, 45: 2, 64: 5, 128: 13}  # length -> words of payload
_HEAD = [("producer", "<u4"), ("ring", "<u4"), ("sequence", "<u8"), ("check", "<u8")]


class Wrong(AssertionError):  # noqa: N818 - what is wrong is the stream
    """A record that is torn, repeated, out of order, or missing without being counted."""


class Audit:
    """Looks at every record of one ring.

    Parameters
    ----------
    ring
        The ring's number, which every record has to carry.
    """

    def __init__(self, ring):
        self.ring, self.lengths = ring, {}
        self.last = np.full(PRODUCERS, -1, np.int64)
        self.received = np.zeros(PRODUCERS, np.int64)
        self.missing = np.zeros(PRODUCERS, np.int64)

    def look(self, snapshot):
        """Check the rows of a snapshot, which follow those of the last one."""
        who, number = np.empty(len(snapshot), np.uint32), np.empty(len(snapshot), np.int64)
        for length, count in snapshot.lengths().items():
            self.lengths[length] = self.lengths.get(length, 0) + count
            places, start = snapshot.order(length), 0
            for data, _ in snapshot.chunks(length):
                records = self._signed(data, length)
                here = places[start : start + len(data)]
                who[here], number[here] = records["producer"], records["sequence"]
                start += len(data)
        for producer in np.flatnonzero(np.bincount(who, minlength=PRODUCERS)):
            self._ordered(producer, number[who == producer])

    def _signed(self, data, length):
        if length not in _WORDS:
            raise Wrong(f"a record of {length} bytes, which nobody sent")
        words, tail = _WORDS[length], length % 8
        fields = [*_HEAD, *((f"w{w}", "<u8") for w in range(words)), ("tail", "u1", (tail,))]
        records = data.view(np.dtype(fields)).reshape(-1)
        total = (records["sequence"] ^ np.uint64(length)) * _FACTOR
        for w in range(words):
            total = (total ^ records[f"w{w}"]) * _FACTOR
        sender = records["producer"].astype(np.uint64) << np.uint64(32) | records["ring"]
        whole = (total ^ sender) * _FACTOR == records["check"]
        whole &= records["ring"] == self.ring
        if tail:
            whole &= (records["tail"] == (records["sequence"] & np.uint64(255))[:, None]).all(axis=1)
        if not whole.all():
            raise Wrong(f"{int((~whole).sum()):,} of {len(whole):,} records of {length} bytes are torn")
        return records

    def _ordered(self, producer, numbers):
        steps = np.diff(numbers, prepend=self.last[producer])
        if (steps <= 0).any():
            at = int(np.flatnonzero(steps <= 0)[0])
            raise Wrong(f"producer {producer}: number {numbers[at]} came {steps[at]:+} after the one before")
        self.last[producer] = numbers[-1]
        self.received[producer] += len(numbers)
        self.missing[producer] += int(steps.sum()) - len(numbers)


class Soak:
    """One run; :meth:`run` gives its numbers, or raises :class:`Wrong`.

    Parameters
    ----------
    records
        How many records have to arrive and be looked at, at least.
    producers
        Processes that send, spread over the CPUs.
    events_bytes, tiny_bytes
        Sizes of the rings.
    say
        Called with a line of text now and then.
    """

    def __init__(self, records, *, producers=None, events_bytes=16 << 20, tiny_bytes=1 << 16, say=None):
        self.records, self.say = records, say or (lambda _: None)
        self.cpus = sorted(os.sched_getaffinity(0))
        self.producers = producers or max(3, len(self.cpus))
        sizes = {"EVENTS_BYTES": events_bytes, "TINY_BYTES": tiny_bytes}
        self.source = "".join(f"#define {name} {size}\n" for name, size in sizes.items()) + SOURCE.read_text()
        self.audits = {name: Audit(number) for number, name in enumerate(RINGS)}
        self.overflows = self.rests = 0

    def run(self):
        begin, cpu = time.monotonic(), time.process_time()
        with ebpflab.load(self.source, keep="512MB") as session, contextlib.ExitStack() as stack:
            self.session = session
            self.cursors = {name: session.streams[name]._store.cursor(from_start=True) for name in RINGS}
            running = [stack.enter_context(self._producer(number)) for number in range(self.producers)]
            for producer in running:
                producer.start()
            self._follow()
            for producer in running:
                producer.stop()
            self._rest_of_it()
            took = time.monotonic() - begin
            return self._account() | {"seconds": took, "cpu": time.process_time() - cpu}

    def _producer(self, number):
        order = struct.pack("<II", number, PER_RUN)
        return Producer(self.session, order=order, cpu=self.cpus[number % len(self.cpus)])

    @property
    def looked_at(self):
        return sum(int(audit.received.sum()) for audit in self.audits.values())

    def _follow(self):
        overflow_at, behind, told, alive = 0, 0, time.monotonic(), time.monotonic()
        while (done := self.looked_at) < self.records:
            if done >= overflow_at and behind < CAUGHT_UP:
                self._overflow()
                overflow_at = done + max(self.records // PHASES, 1)
            behind = self._look()
            self._hold(behind)
            if self.looked_at > done:
                alive = time.monotonic()
            elif time.monotonic() - alive > 20:
                raise Wrong(f"nothing arrives any more after {done:,} records")
            else:
                time.sleep(0.001)
            if time.monotonic() - told > 10:
                told = time.monotonic()
                self.say(f"{done:,} of {self.records:,} records, all right so far")

    def _look(self):
        # How many rows the slower reader is behind.
        behind = 0
        for name, cursor in self.cursors.items():
            with cursor.read(PER_LOOK) as snapshot:
                behind = max(behind, snapshot.counters.received - snapshot.first - snapshot.rows)
                if len(snapshot):
                    self.audits[name].look(snapshot)
        return behind

    def _hold(self, behind):
        # The rows would leave the history unseen if the producers outran this check for long.
        held = bool(self.session.vars["hold"])
        if behind > BEHIND and not held:
            self.rests += 1
            self.session.vars["hold"] = 1
        elif held and behind < CAUGHT_UP:
            self.session.vars["hold"] = 0

    def _overflow(self):
        # Leave every ring alone until each has refused records in this phase.
        self.session.vars["hold"] = 0
        before = self._counts("refused").sum(axis=0)
        for name in RINGS:
            self.session.streams[name].pause()
        deadline = time.monotonic() + 20
        while not (self._counts("refused").sum(axis=0) > before + 100).all():
            if time.monotonic() > deadline:
                raise Wrong("the rings do not overflow though nobody reads them")
            time.sleep(0.001)
        for name in RINGS:
            self.session.streams[name].resume()
        self.overflows += 1

    def _rest_of_it(self):
        sent = (self._counts("tried") - self._counts("refused") - self._counts("discarded")).sum(axis=0)
        for name, count in zip(RINGS, sent, strict=True):
            if not self.session.streams[name].wait(int(count), timeout=10):
                raise Wrong(f"{name}: {count:,} were sent, and the stream says {self.session.streams[name].stats()}")
        before = -1
        while before < self.looked_at:
            before = self.looked_at
            self._look()

    def _counts(self, name):
        # Of the program: by producer and ring.
        value = self.session.vars[name]
        numbers = np.frombuffer(value, "<u8") if isinstance(value, bytes) else np.asarray(value, np.uint64)
        return numbers.astype(np.int64).reshape(PRODUCERS, len(RINGS))

    def _account(self):
        tried, refused, discarded = (self._counts(name) for name in ("tried", "refused", "discarded"))
        for number, (name, audit) in enumerate(self.audits.items()):
            stats = self.session.streams[name].stats()
            _same(f"{name}: tried", tried[:, number], audit.received + refused[:, number] + discarded[:, number])
            # Gaps behind a producer's last record that arrived are seen by nobody but the counts.
            seen = audit.missing + (tried[:, number] - 1 - audit.last)
            _same(f"{name}: missing numbers", seen, refused[:, number] + discarded[:, number])
            for what, counts in (("received", audit.received), ("lost", refused), ("discarded", discarded)):
                counted = counts if counts.ndim == 1 else counts[:, number]
                _same(f"{name}: {what}", stats[what], counted.sum())
            _same(f"{name}: unseen", self.cursors[name].missed, 0)
        lengths = {}
        for audit in self.audits.values():
            lengths |= {length: lengths.get(length, 0) + count for length, count in audit.lengths.items()}
        return {
            "records": self.looked_at,
            "tried": int(tried.sum()),
            "lost": {name: int(refused[:, number].sum()) for number, name in enumerate(RINGS)},
            "discarded": int(discarded.sum()),
            "lengths": lengths,
            "producers": self.producers,
            "overflows": self.overflows,
            "rests": self.rests,
        }


def _same(what, value, expected):
    if not np.array_equal(value, expected):
        raise Wrong(f"{what}: {value} and not {expected}")


def main(records):
    """Run it and print the numbers; 1 if anything was wrong."""
    try:
        result = Soak(records, say=lambda text: print(text, flush=True)).run()
    except Wrong as error:
        print(f"WRONG: {error}")
        return 1
    except KeyboardInterrupt:
        print("interrupted")
        return 130
    print(f"{result['records']:,} records in {result['seconds']:.1f} s, {result['cpu']:.1f} s of CPU here")
    print(json.dumps(result))
    return 0
