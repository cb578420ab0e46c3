"""The source that is made of several: order by time, what is held back and for how long, counts."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from synthetic_perf import SyntheticPerf, padded
from synthetic_ring import PAGE, SyntheticRing

from ebpflab import merge
from ebpflab._native import Status
from ebpflab.merge import MergedSource
from ebpflab.perfbuf import PerfRing
from ebpflab.ringbuf import RingBuffer
from ebpflab.store import Keep, RecordStore
from ebpflab.stream import Drain

_FIELD = 8  # where the records of these tests hold their time


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(merge, "_SLACK_NS", 0)  # what is older than a round goes out in it: tests need not wait


class Perf(PerfRing):
    """A synthetic perf ring with an eventfd to wait for, since epoll refuses a memfd."""

    def __init__(self, size=16 * PAGE, cpu=0):
        self.synthetic, self.wakeup = SyntheticPerf(size), os.eventfd(0, os.EFD_NONBLOCK)
        super().__init__(self.synthetic.fd, size, "synthetic", cpu=cpu)

    def filenos(self):
        return (self.wakeup,)

    def send(self, number, when):
        assert self.synthetic.sample(number.to_bytes(4, "little"), when)

    def close(self):
        super().close()
        if self.wakeup is not None:
            os.close(self.wakeup)
            self.wakeup = None


class Shard(RingBuffer):
    """A synthetic ring whose records hold a number and a time."""

    def __init__(self, size=16 * PAGE, times=None):
        self.synthetic, self.wakeup = SyntheticRing(size), os.eventfd(0, os.EFD_NONBLOCK)
        super().__init__(self.synthetic.fd, size, "synthetic", times={16: _FIELD} if times is None else times)

    def filenos(self):
        return (self.wakeup,)

    def send(self, number, when):
        assert self.synthetic.output(number.to_bytes(8, "little") + when.to_bytes(8, "little"))

    def close(self):
        super().close()
        if self.wakeup is not None:
            os.close(self.wakeup)
            self.wakeup = None


@pytest.fixture(params=[Perf, Shard])
def members(request):
    made = [request.param() for _ in range(3)]
    yield made
    for member in made:
        member.close()


@pytest.fixture
def store():
    return RecordStore()


def numbers(store):
    with store.snapshot() as snapshot:
        assert len(snapshot.lengths()) <= 1
        rows = [chunk.data[:, :4].copy() for length in snapshot.lengths() for chunk in snapshot.chunks(length)]
    return np.concatenate(rows).view("<u4")[:, 0].tolist() if rows else []


def test_records_of_all_members_come_out_in_the_order_of_time(members, store):
    source = MergedSource("events", members)
    for n in range(1009):
        members[n * n % 3].send(n, 1_000_000 + 7 * n)
    assert source.pending_records() == 1009
    walk = source.drain(store)
    assert (walk.records, walk.status) == (1009, Status.EMPTY)
    assert numbers(store) == list(range(1009))
    assert (source.pending_bytes, source.pending_records()) == (0, 0)
    assert source.delivered == source.produced == sum(member.produced for member in members)


def test_what_is_newer_than_the_round_waits_for_what_may_come_before_it(members, store, monkeypatch):
    monkeypatch.setattr(merge, "_SLACK_NS", 10**9)
    source = MergedSource("events", members)
    now = time.monotonic_ns()
    members[0].send(2, now)
    assert source.drain(store).records == 0
    assert source.pending_records() == 1
    assert source.pending_bytes > 0
    members[1].send(1, now - 100)  # committed late, but within the slack
    assert source.drain(store).records == 0
    monkeypatch.setattr(merge, "_SLACK_NS", 0)
    assert source.drain(store).records == 2
    assert numbers(store) == [1, 2]
    assert source.pending_records() == 0


def test_records_of_one_member_keep_their_order_when_clocks_tie_or_jump_back(members, store):
    source = MergedSource("events", members)
    for n, when in enumerate([50, 50, 50, 10, 60, 0, 61]):
        members[0].send(n, when)
    for n, when in enumerate([50, 55, 60]):
        members[1].send(100 + n, when)
    source.drain(store)
    got = numbers(store)
    assert [n for n in got if n < 100] == list(range(7))
    # At 50 the first member goes first; its record that says 10 counts as 50.
    assert got[:6] == [0, 1, 2, 3, 100, 101]


def test_a_time_in_the_future_holds_nothing_up(members, store):
    source = MergedSource("events", members)
    members[0].send(1, (1 << 64) - 1)
    members[1].send(2, time.monotonic_ns())
    while source.pending_records():
        source.drain(store)
    assert sorted(numbers(store)) == [1, 2]
    assert source.delivered == source.produced


def test_a_member_that_was_not_emptied_holds_back_the_newer_records_of_others(store, monkeypatch):
    monkeypatch.setattr(merge, "_LANE_LARGEST", PAGE)
    monkeypatch.setattr(merge, "_LANE_SMALLEST", PAGE)
    busy, quiet = Shard(64 * PAGE), Shard()
    source = MergedSource("events", [busy, quiet])
    for n in range(5003):
        (quiet if n % 100 == 99 else busy).send(n, 1000 + n)
    rounds = 0
    while source.pending_bytes:
        rounds += 1
        assert source.drain(store).status is (Status.LIMIT if busy.pending_bytes else Status.EMPTY)
    assert rounds > 5003 * 16 // PAGE // 2  # a lane has room for a fraction
    assert numbers(store) == list(range(5003))
    source.close()


def test_a_record_larger_than_a_lane_gets_through(store, monkeypatch):
    monkeypatch.setattr(merge, "_LANE_LARGEST", PAGE)
    monkeypatch.setattr(merge, "_LANE_SMALLEST", PAGE)
    large, small = Shard(64 * PAGE), Shard()
    source = MergedSource("events", [large, small])
    for n in range(23):
        assert large.synthetic.output(bytes([n]) * (n * 700 + 100))
        small.send(n, 5)
    for _ in range(100):
        source.drain(store)
    with store.snapshot() as snapshot:
        assert snapshot.lengths() == {16: 23, **{n * 700 + 100: 1 for n in range(23)}}
    assert source.pending_bytes == 0
    source.close()


def test_records_without_a_time_come_in_the_order_of_the_rounds(store):
    members = [Shard(times={}), Shard(times={})]
    source = MergedSource("events", members)
    for n in range(29):
        members[n % 2].send(n, 0)
        source.drain(store)
    while source.pending_bytes:
        source.drain(store)
    assert numbers(store) == list(range(29))
    source.close()


def test_mixed_sizes_and_discards_are_merged_and_counted(store):
    members = [Shard(), Shard(times={16: _FIELD, 48: 0})]
    source = MergedSource("events", members)
    for n in range(101):
        members[0].send(n, 10 * n + 1)
        members[1].synthetic.output((10 * n + 2).to_bytes(8, "little") + bytes(40))
        position = members[1].synthetic.reserve(8)
        members[1].synthetic.discard(position, 8)
    assert source.pending_records() == 303
    walk = source.drain(store)
    assert (walk.records, walk.discarded, walk.mixed) == (202, 101, True)
    with store.snapshot() as snapshot:
        assert snapshot.order(16).tolist() == list(range(0, 202, 2))
        assert snapshot.order(48).tolist() == list(range(1, 202, 2))
    assert store.counters().discarded == 101
    source.close()


def test_a_record_that_is_being_written_holds_back_what_is_newer(store):
    members = [Shard(), Shard()]
    source = MergedSource("events", members)
    slow = members[0].synthetic.reserve(16)
    members[0].send(2, 20)
    members[1].send(3, 30)
    before = source.produced
    assert source.drain(store).status is Status.BUSY
    assert numbers(store) == []
    assert (source.delivered, source.pending_records()) == (0, 3)
    members[0].synthetic.submit(slow, (1).to_bytes(8, "little") + (10).to_bytes(8, "little"))
    source.drain(store)
    assert numbers(store) == [1, 2, 3]
    assert source.delivered == before
    source.close()


def test_but_not_for_ever(store):
    members = [Shard(), Shard()]
    source = MergedSource("events", members)
    slow = members[0].synthetic.reserve(16)
    members[1].send(3, 30)
    began = time.monotonic()
    while not source.drain(store).records:
        time.sleep(0.001)
    assert 0.01 < time.monotonic() - began < 0.2
    assert numbers(store) == [3]
    members[0].synthetic.submit(slow, (1).to_bytes(8, "little") + (10).to_bytes(8, "little"))
    source.drain(store)
    assert numbers(store) == [3, 1]
    source.close()


def test_delivered_counts_what_every_member_has_delivered(store):
    members = [Shard(), Shard()]
    source = MergedSource("events", members)
    busy = members[0].synthetic.reserve(16)
    target = source.produced
    for n in range(100):  # the other member alone delivers more bytes than were in both
        members[1].send(n, n)
    while source.drain(store).records == 0:
        time.sleep(0.001)
    assert store.counters().received == 100
    assert source.delivered < target
    members[0].synthetic.submit(busy, bytes(16))
    source.drain(store)
    source.drain(store)
    assert source.delivered == source.produced
    source.close()


def test_losses_of_all_cpus_are_told_and_those_of_rings_are_not():
    members = [Perf(cpu=0), Perf(cpu=5)]
    source = MergedSource("events", members)
    members[1].synthetic.refused = 23
    members[1].send(1, 1)
    source.drain(RecordStore())
    assert source.lost_by_kernel() == {0: 0, 5: 23}
    source.close()
    shard = Shard()
    assert MergedSource("events", [shard]).lost_by_kernel() is None
    shard.close()


def test_finish_releases_everything_whatever_its_time(members, monkeypatch):
    monkeypatch.setattr(merge, "_SLACK_NS", 10**12)
    store = RecordStore(Keep(rows=10**6))
    source = MergedSource("events", members)
    for n in range(503):
        members[n % 3].send(n, time.monotonic_ns())
    source.drain(store)
    assert source.pending_records() == 503
    source.finish(store)
    assert numbers(store) == list(range(503))
    assert source.pending_records() == 0


@pytest.fixture
def drain(members, store):
    drain = Drain({MergedSource("events", members): store}, name="merged")
    drain.start()
    yield drain
    drain.stop()


def test_flush_delivers_what_was_sent_before_it(members, store, drain, monkeypatch):
    monkeypatch.setattr(merge, "_SLACK_NS", 1_000_000)
    for n in range(53):
        members[n % 3].send(n, time.monotonic_ns())
        assert drain.flush()
        assert store.counters().received == n + 1
    assert numbers(store) == list(range(53))


def test_stop_delivers_what_is_held_back_too(members, store, drain, monkeypatch):
    monkeypatch.setattr(merge, "_SLACK_NS", 10**12)
    for n in range(1009):
        members[n % 3].send(n, time.monotonic_ns())
    os.eventfd_write(members[0].wakeup, 1)
    time.sleep(0.05)
    drain.stop()
    assert numbers(store) == list(range(1009))


def test_order_holds_across_rounds_while_records_pour_in(members, store, drain):
    # One thread writes to all members, so what it writes first is older; the drain takes turns meanwhile.
    for n in range(20_011):
        member = members[n * 7 % 3]
        while member.pending_bytes > member.size // 2:
            time.sleep(0.001)
        member.send(n, time.monotonic_ns())
        if n % 64 == 0:
            os.eventfd_write(members[0].wakeup, 1)
            os.eventfd_read(members[0].wakeup)
    assert drain.flush()
    assert numbers(store) == list(range(20_011))


def test_an_idle_merge_costs_next_to_nothing(drain):
    spent = time.process_time()
    time.sleep(1)
    assert time.process_time() - spent < 0.03


def test_a_descriptor_that_was_hung_up_does_not_make_the_thread_spin(store):
    # As the perf event of a CPU that went away: epoll says so at once, every time.
    member = Perf()
    read, write = os.pipe()
    os.close(write)
    os.dup2(read, member.wakeup)
    os.close(read)
    source = MergedSource("events", [member])
    drain = Drain({source: store}, name="hung")
    drain.start()
    spent = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - spent < 0.05
    member.send(1, 1)
    assert store.wait_for(1, timeout=1)
    drain.pause(source)
    drain.resume(source)
    assert drain.stop()
    source.close()


def test_a_lane_uses_no_more_memory_than_it_was_given():
    source = MergedSource("events", [Shard(PAGE) for _ in range(100)])
    assert sum(lane._data.nbytes for lane in source._lanes) <= merge._LANES
    source.close()


def test_a_padded_payload_has_the_length_that_the_kernel_gives_it():
    assert [len(padded(bytes(n))) for n in (1, 4, 5, 12, 13, 20)] == [4, 4, 12, 12, 20, 20]
