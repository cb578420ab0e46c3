"""Perf rings: the walkers, C and numpy, against a plain Python model; what a ring says of itself."""

from __future__ import annotations

import errno
import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_perf import PAGE, THROTTLE, SyntheticPerf, padded

from ebpflab import _native
from ebpflab._native import Status, Walk, build
from ebpflab._native.perf import KEPT, PerfMemory, perf_counter, perf_walker
from ebpflab.errors import EbpflabError, KernelSupportError
from ebpflab.perfbuf import PerfRing


@pytest.fixture(scope="module", params=["c", "numpy"])
def kind(request):
    if request.param == "c" and build.find_compiler() is None:
        pytest.skip("no C compiler")
    if request.param == "numpy" and not _native.numpy_is_safe():
        pytest.skip("the numpy walker needs x86-64's memory order")
    return request.param


class Harness:
    """A synthetic ring, a walker and a counter on it."""

    def __init__(self, kind, size=PAGE, start=0, sizes=None):
        self.ring = SyntheticPerf(size, start=start)
        os.close(self.ring.fd)
        words = np.frombuffer(self.ring.memory, np.uint64)
        kept = np.zeros(KEPT, np.uint32)
        for length, kept_size in (sizes or {}).items():
            kept[(length + 4) // 8] = kept_size
        data = np.frombuffer(self.ring.memory, np.uint8, offset=PAGE)
        memory = PerfMemory(words[1032 // 8 :][:1], words[1024 // 8 :][:1], data, kept)
        self.walker, self.count = perf_walker(memory, kind), perf_counter(memory, kind)

    def walk(self, capacity=1 << 17, max_records=1 << 12):
        # Guard elements behind the arrays show a walker that writes past its bounds.
        out = np.full(capacity + 16, 0xEE, np.uint8)
        lens = np.full(max_records + 4, 0xEEEEEEEE, np.uint32)
        times = np.full(max_records + 4, 0xEE, np.uint64)
        walk = self.walker(out[:capacity], lens[:max_records], times[:max_records])
        assert (out[capacity:] == 0xEE).all()
        assert (lens[max_records:] == 0xEEEEEEEE).all()
        assert (times[max_records:] == 0xEE).all()
        got, start, raw = [], 0, out.tobytes()
        for length, when in zip(lens[: walk.records].tolist(), times[: walk.records].tolist(), strict=True):
            got.append((raw[start : start + length], when))
            start += length
        assert walk.nbytes == start
        return walk, got


def payload(number: int, length: int) -> bytes:
    return bytes((number * 31 + i) % 256 for i in range(length))


@pytest.mark.parametrize("length", [1, 4, 7, 8, 12, 20, 100, 1000, 3000])
def test_samples_of_any_length_arrive_padded_and_with_their_time(kind, length):
    h = Harness(kind, size=16 * PAGE)
    sent = [(payload(n, length), 1000 + n) for n in range(13)]
    assert all(h.ring.sample(*each) for each in sent)
    assert h.count() == 13
    walk, got = h.walk()
    assert got == [(padded(data), when) for data, when in sent]
    assert walk == Walk(13, 13 * len(padded(sent[0][0])), 0, 0, False, Status.EMPTY, 0)
    assert h.ring.tail == h.ring.head
    assert h.count() == 0


def test_a_known_size_is_restored_and_others_stay_as_they_arrive(kind):
    h = Harness(kind, sizes={20: 17, 28: 28})
    for n, length in enumerate([17, 17, 20, 24, 28, 30]):
        assert h.ring.sample(payload(n, length), n)
    _, got = h.walk()
    assert [len(data) for data, _ in got] == [17, 17, 17, 28, 28, 36]
    assert got[0][0] == payload(0, 17)


@pytest.mark.parametrize("offset", range(8, 96, 8))
def test_a_sample_that_breaks_off_at_the_end_goes_on_at_the_start(kind, offset):
    h = Harness(kind, start=7 * PAGE - offset)
    sent = [(padded(payload(n, 60)), n) for n in range(31)]
    assert all(h.ring.sample(*each) for each in sent)
    assert h.count() == 31
    assert h.walk()[1] == sent


def test_lost_records_are_counted_and_other_kinds_are_skipped(kind):
    h = Harness(kind)
    sent = 0
    while h.ring.sample(payload(sent, 44), sent):
        sent += 1
    for n in range(22):
        assert not h.ring.sample(payload(n, 44), n)
    assert h.count() == sent
    first = h.walk()[0]
    assert (first.records, first.lost) == (sent, 0)  # the count goes out with the next record only
    h.ring.record(THROTTLE, bytes(24))
    assert h.ring.sample(b"room again  ", 7)
    assert h.count() == 1
    walk, got = h.walk()
    assert (walk.lost, got) == (23, [(b"room again  ", 7)])


def test_many_laps_lose_nothing(kind):
    h = Harness(kind)
    sent, got = [], []
    for n in range(1009):
        record = (padded(payload(n, n % 40 + 60)), n)
        if h.ring.head - h.ring.tail + 200 > PAGE:
            got += h.walk(max_records=17)[1]
        assert h.ring.sample(*record)
        sent.append(record)
    while h.ring.tail != h.ring.head:
        got += h.walk(max_records=17)[1]
    assert got == sent


def test_both_limits_bound_a_walk_and_the_record_without_room_is_named(kind):
    h = Harness(kind)
    for n in range(29):
        assert h.ring.sample(payload(n, 12), n)
    walk, got = h.walk(max_records=7)
    assert (walk.records, walk.status, walk.next_length) == (7, Status.LIMIT, 0)
    walk, more = h.walk(capacity=100)
    assert (walk.records, walk.status, walk.next_length) == (8, Status.LIMIT, 12)
    rest = h.walk(max_records=14)
    assert rest[0].status is Status.EMPTY
    assert [data for data, _ in got + more + rest[1]] == [payload(n, 12) for n in range(29)]


@pytest.mark.parametrize(
    "bad",
    [
        struct.pack("<IHH", 9, 0, 0),
        struct.pack("<IHH", 9, 0, 12) + bytes(8),
        struct.pack("<IHH", 9, 0, 64) + bytes(8),  # longer than what was written
        struct.pack("<IHHQ", 9, 0, 16, 5),  # a sample without raw data
        struct.pack("<IHHQIi", 9, 0, 24, 5, 5, 0),  # raw data longer than the record
    ],
)
def test_a_record_that_cannot_be_stops_the_walk_and_moves_nothing(kind, bad):
    h = Harness(kind)
    assert h.ring.sample(b"good", 1)
    h.ring.write(bad)
    assert h.walk()[0] == Walk(0, 0, 0, 0, False, Status.TORN)
    assert h.ring.tail == 0


def test_positions_that_are_further_apart_than_the_ring_is_large_are_torn(kind):
    h = Harness(kind)
    struct.pack_into("<Q", h.ring.memory, 1024, PAGE + 8)
    assert h.walk()[0].status is Status.TORN
    assert h.count() == 0


def expected_walk(queue, capacity, max_records, sizes):
    """Walk over the model: eats `queue` from the front."""
    taken, used, lost = [], 0, 0

    def result(status, next_length=0):
        mixed = len({len(data) for data, _ in taken}) > 1
        return Walk(len(taken), used, 0, next_length, mixed, status, lost), taken

    while queue:
        what, data, when = queue[0]
        if what == "lost":
            lost += when
        elif what == "sample":
            if len(taken) == max_records:
                return result(Status.LIMIT)
            raw = padded(data)
            raw = raw[: sizes.get(len(raw), len(raw))]
            if used + len(raw) > capacity:
                return result(Status.LIMIT, len(raw))
            taken.append((raw, when))
            used += len(raw)
        del queue[0]
    return result(Status.EMPTY)


LENGTHS = st.one_of(st.sampled_from([24, 24, 24, 24, 20, 4]), st.integers(1, 300))
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("sample"), LENGTHS, st.integers(1, 30)),
        st.tuples(st.just("other"), st.integers(0, 6), st.just(0)),
        st.tuples(st.just("drain"), st.integers(0, 3000), st.integers(0, 120)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(actions=ACTIONS, start=st.integers(0, 1 << 37).map(lambda n: n * 8))
def test_any_sequence_of_producing_and_draining_equals_the_model(kind, actions, start):
    sizes = {28: 24, 300: 297}
    h = Harness(kind, start=start, sizes=sizes)
    queue, number = [], 0
    for action, a, b in actions:
        if action == "drain":
            count = sum(what == "sample" for what, _, _ in queue)
            assert h.count() == count
            want = expected_walk(queue, a, b, sizes)
            assert h.walk(capacity=a, max_records=b) == want
            continue
        for _ in range(max(b, 1)):
            number += 1
            data, refused = payload(number, a), h.ring.refused
            sent = h.ring.sample(data, number) if action == "sample" else h.ring.record(THROTTLE, bytes(8 * a))
            if not sent:
                break
            if refused:
                queue.append(("lost", b"", refused))
            queue.append((action, data, number))


def ring(synthetic, **options):
    return PerfRing(synthetic.fd, synthetic.size, "synthetic", cpu=3, **options)


def arrays():
    return np.empty(1 << 16, np.uint8), np.empty(1000, np.uint32), np.empty(1000, np.uint64)


def test_a_ring_counts_bytes_records_and_losses():
    synthetic = SyntheticPerf(start=1 << 40)
    mapped = ring(synthetic, sizes={28: 26})
    synthetic.sample(bytes(26), 5)
    synthetic.refused = 17
    synthetic.sample(bytes(100), 6)
    assert mapped.produced - mapped.delivered == mapped.pending_bytes == 48 + 24 + 120
    assert mapped.pending_records() == 2
    out, lens, times = arrays()
    assert mapped.take(out, lens, times).records == 2
    assert (lens[:2].tolist(), times[:2].tolist()) == ([26, 100], [5, 6])
    assert (mapped.pending_bytes, mapped.pending_records()) == (0, 0)
    assert mapped.lost_by_kernel() == {3: 17}
    mapped.close()
    assert mapped.lost_by_kernel() == {3: 17}


def test_a_closed_ring_says_so_and_gives_its_descriptor_back():
    synthetic = SyntheticPerf()
    mapped = ring(synthetic)
    assert mapped.filenos() == (synthetic.fd,)
    mapped.close()
    mapped.close()
    assert mapped.filenos() == ()
    with pytest.raises(OSError) as gone:
        os.fstat(synthetic.fd)
    assert gone.value.errno == errno.EBADF
    with pytest.raises(EbpflabError, match="closed"):
        mapped.take(*arrays())
    assert (mapped.pending_bytes, mapped.pending_records()) == (0, 0)


def test_a_torn_ring_is_reported_with_its_cpu():
    synthetic = SyntheticPerf()
    mapped = ring(synthetic)
    synthetic.write(bytes(8))
    with pytest.raises(EbpflabError, match="torn on CPU 3") as caught:
        mapped.take(*arrays())
    assert caught.value.stage == "stream"
    mapped.close()


@pytest.mark.parametrize("size", [0, -PAGE, PAGE // 2, 3 * PAGE, PAGE + 1])
def test_a_size_that_no_ring_has_is_refused_and_the_descriptor_closed(size):
    synthetic = SyntheticPerf()
    with pytest.raises(EbpflabError, match="not a size"):
        PerfRing(synthetic.fd, size, "odd", cpu=0)
    with pytest.raises(OSError):
        os.fstat(synthetic.fd)


def test_a_descriptor_that_is_no_perf_event_is_refused():
    synthetic = SyntheticPerf()
    with pytest.raises(KernelSupportError, match="no perf events"):
        PerfRing(synthetic.fd, 2 * PAGE, "short", cpu=0)
