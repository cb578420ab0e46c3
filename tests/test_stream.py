"""The drain thread on synthetic rings: exact delivery, stop, flush, pause, errors, the cost of being idle."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest
from synthetic_ring import PAGE, SyntheticRing

from ebpflab.errors import EbpflabError, SessionError
from ebpflab.ringbuf import RingBuffer
from ebpflab.store import Keep, RecordStore
from ebpflab.stream import Drain, monotonic_to_utc_offset


class WakeableRing(RingBuffer):
    """A synthetic ring with an eventfd to wait for, since epoll refuses a memfd."""

    def __init__(self, size=16 * PAGE):
        self.source = SyntheticRing(size)
        self.wakeup = os.eventfd(0, os.EFD_NONBLOCK)
        super().__init__(self.source.fd, size, "synthetic")

    def filenos(self):
        return (self.wakeup,)

    def output(self, *payloads):
        for payload in payloads:
            assert self.source.output(payload)
        os.eventfd_write(self.wakeup, 1)

    def drain(self, sink):
        walk = super().drain(sink)
        if not self.pending_bytes:
            os.eventfd_write(self.wakeup, 1)
            os.eventfd_read(self.wakeup)
        return walk


@pytest.fixture
def ring():
    ring = WakeableRing()
    yield ring
    os.close(ring.wakeup)


@pytest.fixture
def store():
    return RecordStore()


@pytest.fixture
def drain(ring, store):
    drain = Drain({ring: store}, name="test")
    drain.start()
    yield drain
    drain.stop()


def values(store):
    with store.snapshot() as snapshot:
        rows = [chunk.data for chunk in snapshot.chunks(8)]
    return np.concatenate(rows).view("<u8")[:, 0].tolist() if rows else []


def numbered(count, start=0):
    return [n.to_bytes(8, "little") for n in range(start, start + count)]


def test_a_ring_begins_where_its_consumer_stopped(store):
    source = SyntheticRing(PAGE, start=1 << 40)
    source.output(b"first")
    RingBuffer(source.fd, PAGE, "reopened").drain(store)
    source.output(b"again")
    again = RingBuffer(source.fd, PAGE, "reopened")
    assert again.pending_bytes == 16
    assert again.drain(store).records == 1
    assert store.counters().received == 2


@pytest.mark.parametrize("size", [0, -PAGE, PAGE // 2, 3 * PAGE, PAGE + 1])
def test_a_size_that_no_ring_has_is_refused(size):
    source = SyntheticRing(PAGE)
    with pytest.raises(EbpflabError, match="size") as caught:
        RingBuffer(source.fd, size, "odd")
    assert caught.value.stage == "stream"


def test_a_descriptor_that_cannot_be_mapped_is_refused():
    with open("/dev/null") as null, pytest.raises(EbpflabError, match="cannot be mapped"):  # noqa: PTH123
        RingBuffer(null.fileno(), PAGE, "null")


def test_a_closed_ring_says_so(ring, store):
    ring.close()
    ring.close()
    with pytest.raises(EbpflabError, match="closed"):
        ring.drain(store)
    assert ring.pending_bytes == 0


def test_a_ring_counts_the_records_that_no_sink_has(ring, store):
    ring.output(*numbered(23))
    busy = ring.source.reserve(8)
    ring.source.discard(ring.source.reserve(8), 8)
    assert ring.pending_records() == 25
    RingBuffer.drain(ring, store)
    assert (ring.pending_records(), ring.pending_bytes) == (2, 32)
    ring.source.submit(busy, bytes(8))
    RingBuffer.drain(ring, store)
    assert ring.pending_records() == 0
    assert ring.lost_by_kernel() is None


def test_a_record_larger_than_what_is_left_of_a_slab_follows_in_the_next(ring):
    store = RecordStore(Keep(rows=100))  # slabs of a page
    ring.output(b"x" * 3000, b"y" * 3000, b"z" * 20_000)
    for _ in range(6):
        RingBuffer.drain(ring, store)
    assert store.snapshot().lengths() == {3000: 2, 20_000: 1}


def test_everything_sent_is_delivered_once_and_in_order(ring, store, drain):
    for start in range(0, 10_007, 10):
        while ring.pending_bytes > ring.size // 2:
            time.sleep(0.001)
        ring.output(*numbered(min(10, 10_007 - start), start))
    assert drain.flush()
    assert values(store) == list(range(10_007))


def test_two_rings_may_share_a_store():
    rings, store = [WakeableRing(PAGE), WakeableRing(PAGE)], RecordStore()
    drain = Drain(dict.fromkeys(rings, store), name="two")
    drain.start()
    rings[0].output(*numbered(23))
    rings[1].output(*numbered(29, 100))
    assert drain.stop()
    assert sorted(values(store)) == [*range(23), *range(100, 129)]


def test_flush_returns_once_all_that_was_committed_is_there(ring, store, drain):
    for n in range(50):
        ring.source.output(n.to_bytes(8, "little"))  # without a wakeup
        assert drain.flush()
        assert store.counters().received == n + 1


def test_a_record_without_a_wakeup_arrives_within_a_tenth_of_a_second(ring, store, drain):
    ring.source.output(b"no wake.")
    assert store.wait_for(1, timeout=1)


def test_flush_gives_up_on_a_record_that_is_never_committed(ring, store, drain):
    ring.output(b"before..")
    busy = ring.source.reserve(8)
    ring.output(b"behind..")
    assert not drain.flush(timeout=0.05)
    assert store.counters().received == 1
    ring.source.submit(busy, b"at last.")
    assert drain.flush()
    assert store.counters().received == 3


@pytest.mark.parametrize("behind", [0, 3000])
def test_an_uncommitted_record_does_not_make_the_thread_spin(ring, drain, behind):
    ring.source.reserve(8)
    assert all(ring.source.output(b"12345678") for _ in range(behind))
    os.eventfd_write(ring.wakeup, 1)  # as the kernel's poll: readable while positions differ
    spent = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - spent < 0.1


def test_stop_delivers_what_is_left_and_ends_the_thread(ring, store):
    drain = Drain({ring: store}, name="stopping")
    drain.start()
    (thread,) = [t for t in threading.enumerate() if t.name == "ebpflab-drain-stopping"]
    for payload in numbered(1009):
        ring.source.output(payload)
    assert drain.stop()
    assert not thread.is_alive()
    assert values(store) == list(range(1009))
    assert store.closed
    assert drain.stop()  # and again


def test_stop_is_quick_while_records_pour_in(ring, store):
    drain = Drain({ring: store}, name="pouring")
    drain.start()
    done = threading.Event()

    def pour():
        while not done.is_set():
            ring.source.output(b"12345678")

    producer = threading.Thread(target=pour)
    producer.start()
    try:
        assert store.wait_for(1000, timeout=10)
        before = time.monotonic()
        drain.stop()
        assert time.monotonic() - before < 0.25
        assert not any(t.name == "ebpflab-drain-pouring" for t in threading.enumerate())
    finally:
        done.set()
        producer.join()


def test_stop_says_when_something_is_left_behind(ring, store):
    drain = Drain({ring: store}, name="stuck")
    drain.start()
    ring.source.reserve(8)
    before = time.monotonic()
    assert drain.stop(timeout=0.1) is False
    assert time.monotonic() - before < 0.2


def test_a_drain_that_never_started_can_be_stopped(ring, store):
    drain = Drain({ring: store}, name="unused")
    assert drain.stop()
    with pytest.raises(SessionError):
        drain.start()


def test_a_drain_starts_once(drain):
    with pytest.raises(SessionError):
        drain.start()


def test_a_paused_ring_is_left_alone_until_it_is_resumed(ring, store, drain):
    ring.output(*numbered(5))
    assert drain.flush()
    drain.pause(ring)
    ring.output(*numbered(7, 5))
    assert drain.flush()  # paused rings are left out
    time.sleep(0.15)  # longer than the thread ever waits
    assert store.counters().received == 5
    assert ring.pending_bytes == 7 * 16
    drain.resume(ring)
    assert drain.flush()
    assert values(store) == list(range(12))


def test_pausing_before_the_start_holds_from_the_first_record_on(ring, store):
    drain = Drain({ring: store}, name="early")
    drain.pause(ring)
    drain.start()
    ring.output(b"waiting.")
    time.sleep(0.15)
    assert store.counters().received == 0
    drain.resume(ring)
    assert drain.stop()
    assert store.counters().received == 1


def test_a_torn_ring_is_reported_by_the_next_call(ring, store):
    drain = Drain({ring: store}, name="torn")
    drain.start()
    ring.source.header(ring.source.reserve(8), 1 << 20)
    os.eventfd_write(ring.wakeup, 1)
    with pytest.raises(EbpflabError, match="torn") as caught:
        drain.flush()
    assert caught.value.stage == "stream"
    with pytest.raises(EbpflabError, match="torn"):
        drain.pause(ring)
    assert drain.stop() is False  # said already: closing goes on
    assert store.closed


def test_an_error_that_nobody_heard_of_is_raised_by_stop(ring):
    class Broken(RecordStore):
        def commit(self, *args, **kwargs):
            raise MemoryError("no memory for this batch")

    store = Broken()
    drain = Drain({ring: store}, name="broken")
    drain.start()
    ring.output(b"12345678")
    assert not store.wait_for(1, timeout=10)  # ends early: the failure closes the store
    with pytest.raises(EbpflabError, match="no memory for this batch") as caught:
        drain.stop()
    assert isinstance(caught.value.__cause__, MemoryError)
    drain.stop()


def test_an_idle_drain_costs_next_to_nothing(drain):
    spent = time.process_time()
    time.sleep(1)
    assert time.process_time() - spent < 0.02


def test_no_descriptor_is_left_open():
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    ring, store = WakeableRing(), RecordStore()
    drain = Drain({ring: store}, name="fds")
    drain.start()
    drain.stop()
    ring.close()
    os.close(ring.wakeup)
    del ring, drain
    assert set(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


def test_the_clock_offset_turns_monotonic_into_utc():
    errors = [time.monotonic_ns() + monotonic_to_utc_offset() - time.time_ns() for _ in range(101)]
    assert abs(sorted(errors)[50]) < 1_000_000
