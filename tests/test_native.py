"""The walkers, C and numpy, against a plain Python model; and how the C one is built and trusted."""

from __future__ import annotations

import ctypes
import platform
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_ring import BUSY, DISCARD, PAGE, SyntheticRing

from ebpflab import _native
from ebpflab._native import Ring, Status, Walk, build
from ebpflab.cache import is_private
from ebpflab.errors import ToolMissingError

# A stale header and payload, as an earlier lap leaves them: committed, 16 bytes long.
STALE = struct.pack("<II", 16, 0) + b"stale-stale-stal"


@pytest.fixture(scope="module", params=["c", "numpy"])
def kind(request):
    if request.param == "c" and build.find_compiler() is None:
        pytest.skip("no C compiler")
    if request.param == "numpy" and not _native.numpy_is_safe():
        pytest.skip("the numpy walker needs x86-64's memory order")
    return request.param


class Harness:
    """A synthetic ring and a walker on it."""

    def __init__(self, kind, size=PAGE, start=0):
        self.ring = SyntheticRing(size, start=start, garbage=STALE)
        words = np.frombuffer(self.ring.memory, np.uint64)
        data = np.frombuffer(self.ring.memory, np.uint8, offset=2 * PAGE)
        mapped = Ring(words[:1], words[PAGE // 8 :][:1], data)
        self.walker, self.count = _native.walker(mapped, kind), _native.counter(mapped, kind)

    def walk(self, capacity=1 << 16, max_records=1 << 12) -> tuple[Walk, list[bytes]]:
        # Guard bytes behind both arrays show a walker that writes past its bounds.
        out = np.full(capacity + 16, 0xEE, np.uint8)
        lens = np.full(max_records + 4, 0xEEEEEEEE, np.uint32)
        walk = self.walker(out[:capacity], lens[:max_records])
        assert (out[capacity:] == 0xEE).all()
        assert (lens[max_records:] == 0xEEEEEEEE).all()
        ends = np.cumsum(lens[: walk.records], dtype=np.int64)
        assert walk.nbytes == (ends[-1] if walk.records else 0)
        raw = out.tobytes()
        records = [
            raw[end - length : end] for end, length in zip(ends.tolist(), lens[: walk.records].tolist(), strict=True)
        ]
        return walk, records


def payload(number: int, length: int) -> bytes:
    return bytes((number * 31 + i) % 256 for i in range(length))


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 15, 16, 17, 48, 255, 256, 1000])
def test_records_of_any_length_arrive_as_they_were_sent(kind, length):
    h = Harness(kind, size=4 * PAGE)
    sent = [payload(n, length) for n in range(13)]
    assert all(h.ring.output(record) for record in sent)
    walk, records = h.walk()
    assert records == sent
    assert walk == Walk(13, 13 * length, 0, 0, False, Status.EMPTY)
    assert h.ring.consumed == h.ring.produced == 13 * ((length + 15) // 8 * 8)


def test_lengths_may_change_from_record_to_record(kind):
    h = Harness(kind, size=4 * PAGE)
    sent = [payload(n, length) for n, length in enumerate([48] * 20 + [8, 0, 48, 1] * 11 + [16] * 100 + [3])]
    assert all(h.ring.output(record) for record in sent)
    assert h.walk()[1] == sent


def test_records_that_cross_the_end_of_the_ring_are_whole(kind):
    h = Harness(kind, start=PAGE - 24)
    sent = [payload(n, 100) for n in range(31)]
    assert all(h.ring.output(record) for record in sent)
    assert h.walk()[1] == sent


def test_many_laps_lose_nothing(kind):
    h = Harness(kind)
    sent, got = [], []
    for n in range(499):
        record = payload(n, n % 40 + 60)
        if not h.ring.output(record):
            got += h.walk(max_records=17)[1]
            assert h.ring.output(record)
        sent.append(record)
    while h.ring.consumed != h.ring.produced:
        got += h.walk(max_records=17)[1]
    assert got == sent


def test_a_full_ring_of_equal_records_is_moved_in_one_walk(kind):
    h = Harness(kind, size=64 * PAGE, start=8 * 12345)
    sent = []
    while h.ring.output(payload(len(sent), 24)):
        sent.append(payload(len(sent), 24))
    walk, records = h.walk(capacity=64 * PAGE, max_records=1 << 16)
    assert records == sent
    assert walk.status is Status.EMPTY


def test_a_busy_record_holds_back_those_behind_it(kind):
    h = Harness(kind)
    h.ring.output(b"first")
    slow = h.ring.reserve(4)
    h.ring.output(b"third")
    walk, records = h.walk()
    assert (records, walk.status) == ([b"first"], Status.BUSY)
    assert h.ring.consumed == slow
    assert h.walk()[0] == Walk(0, 0, 0, 0, False, Status.BUSY)
    h.ring.submit(slow, b"slow")
    walk, records = h.walk()
    assert (records, walk.status) == ([b"slow", b"third"], Status.EMPTY)


def test_discarded_records_are_counted_and_not_delivered(kind):
    h = Harness(kind)
    for n in range(23):
        position = h.ring.reserve(40)
        if n % 3:
            h.ring.discard(position, 40)
        else:
            h.ring.submit(position, payload(n, 40))
    walk, records = h.walk()
    assert records == [payload(n, 40) for n in range(0, 23, 3)]
    assert (walk.discarded, walk.status) == (15, Status.EMPTY)
    assert h.ring.consumed == h.ring.produced


def test_stale_headers_behind_the_producer_are_never_read(kind):
    h = Harness(kind)
    assert h.walk()[0] == Walk(0, 0, 0, 0, False, Status.EMPTY)
    h.ring.output(payload(1, 16))
    assert h.walk()[1] == [payload(1, 16)]  # the stale records behind it have just this length
    assert h.walk()[0].records == 0


def test_the_number_of_records_is_bounded(kind):
    h = Harness(kind)
    sent = [payload(n, 12) for n in range(29)]
    assert all(h.ring.output(record) for record in sent)
    walk, records = h.walk(max_records=7)
    assert (records, walk.status, walk.next_length) == (sent[:7], Status.LIMIT, 0)
    assert h.walk(max_records=22) == (Walk(22, 22 * 12, 0, 0, False, Status.EMPTY), sent[7:])


def test_a_record_that_does_not_fit_is_named_and_left(kind):
    h = Harness(kind)
    h.ring.output(payload(0, 60))
    h.ring.output(payload(1, 61))
    walk, records = h.walk(capacity=120)
    assert (records, walk.status, walk.next_length) == ([payload(0, 60)], Status.LIMIT, 61)
    assert h.walk(capacity=60)[0] == Walk(0, 0, 0, 61, False, Status.LIMIT)
    assert h.walk(capacity=61)[1] == [payload(1, 61)]


@pytest.mark.parametrize("word", [57, 1 << 20, (1 << 30) - 1, 1 << 20 | DISCARD, 1 << 20 | BUSY])
def test_a_length_that_cannot_be_stops_the_walk_and_moves_nothing(kind, word):
    h = Harness(kind)
    h.ring.output(payload(0, 48))
    h.ring.header(h.ring.reserve(48), word)  # 57 + 8 is rounded up past what was reserved
    assert h.walk()[0] == Walk(0, 0, 0, 0, False, Status.TORN)
    assert h.ring.consumed == 0
    assert h.count() == 1


def test_positions_that_are_further_apart_than_the_ring_is_large_are_torn(kind):
    h = Harness(kind)
    struct.pack_into("<Q", h.ring.memory, PAGE, PAGE + 8)
    assert h.walk()[0].status is Status.TORN
    assert h.ring.consumed == 0


@dataclass
class Slot:
    position: int
    length: int
    state: str = "busy"
    data: bytes = b""

    @property
    def step(self) -> int:
        return 8 + -(-self.length // 8) * 8


def mixed(records: list[bytes]) -> bool:
    return len({len(record) for record in records}) > 1


def expected_walk(slots: list[Slot], capacity: int, max_records: int) -> tuple[Walk, list[bytes]]:
    """Walk over the model: eats `slots` from the front."""
    taken, discarded, used = [], 0, 0
    while slots:
        slot = slots[0]
        if slot.state == "busy":
            return Walk(len(taken), used, discarded, 0, mixed(taken), Status.BUSY), taken
        if slot.state == "sent":
            if len(taken) == max_records:
                return Walk(len(taken), used, discarded, 0, mixed(taken), Status.LIMIT), taken
            if used + slot.length > capacity:
                return Walk(len(taken), used, discarded, slot.length, mixed(taken), Status.LIMIT), taken
            taken.append(slot.data)
            used += slot.length
        else:
            discarded += 1
        del slots[0]
    return Walk(len(taken), used, discarded, 0, mixed(taken), Status.EMPTY), taken


LENGTHS = st.one_of(st.sampled_from([24, 24, 24, 24, 8, 0]), st.integers(0, 300))
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("output"), LENGTHS, st.integers(1, 30)),
        st.tuples(st.just("reserve"), LENGTHS, st.just(0)),
        st.tuples(st.sampled_from(["submit", "discard"]), st.integers(0, 50), st.just(0)),
        st.tuples(st.just("drain"), st.integers(0, 3000), st.integers(0, 120)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(actions=ACTIONS, start=st.integers(0, 1 << 37).map(lambda n: n * 8))
def test_any_sequence_of_producing_and_draining_equals_the_model(kind, actions, start):
    h = Harness(kind, start=start)
    slots: list[Slot] = []
    number = 0
    for action, a, b in actions:
        if action in ("output", "reserve"):
            for _ in range(max(b, 1)):
                position = h.ring.reserve(a)
                if position is None:
                    break
                slots.append(Slot(position, a))
                if action == "output":
                    number += 1
                    slots[-1].state, slots[-1].data = "sent", payload(number, a)
                    h.ring.submit(position, slots[-1].data)
        elif action == "drain":
            assert h.count() == len(slots)
            want = expected_walk(slots, a, b)
            assert h.walk(capacity=a, max_records=b) == want
            assert h.ring.consumed == h.ring.produced - sum(slot.step for slot in slots)
        elif busy := [slot for slot in slots if slot.state == "busy"]:
            slot = busy[a % len(busy)]
            number += 1
            if action == "submit":
                slot.state, slot.data = "sent", payload(number, slot.length)
                h.ring.submit(slot.position, slot.data)
            else:
                slot.state = "discarded"
                h.ring.discard(slot.position, slot.length)


@pytest.fixture
def fresh_build():
    build.load.cache_clear()
    yield
    build.load.cache_clear()


@pytest.fixture
def cache(tmp_path, monkeypatch, fresh_build):
    if build.find_compiler() is None:
        pytest.skip("no C compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ebpflab" / "native"


def test_the_first_load_compiles_into_a_private_cache_and_the_second_uses_it(cache):
    assert isinstance(build.load(), ctypes.PyDLL)
    (built,) = cache.iterdir()
    assert cache.stat().st_mode & 0o777 == 0o700
    assert built.suffix == ".so"
    written = built.stat().st_mtime_ns
    build.load.cache_clear()
    build.load()
    assert [path.stat().st_mtime_ns for path in cache.iterdir()] == [written]


def test_a_cache_that_others_could_write_to_is_not_used(cache):
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    planted = cache / f"{build._key(build.find_compiler())}.so"
    planted.write_bytes(b"not a library: loading it would fail")
    assert build.load().ebpflab_ringwalk
    assert list(cache.iterdir()) == [planted]


@pytest.mark.parametrize("home", ["/proc/no-such-home", "unknown"])
def test_a_home_that_cannot_be_written_or_found_does_not_matter(monkeypatch, cache, home):
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    if home == "unknown":
        monkeypatch.setattr(Path, "home", Path("~nobody-of-this-name").expanduser)
    assert build.load().ebpflab_ringwalk
    assert not cache.exists()


@pytest.mark.parametrize(
    ("own", "parent", "private"),
    [
        (0o700, 0o755, True),
        (0o700, 0o1777, True),
        (0o755, 0o755, True),
        (0o702, 0o755, False),
        (0o720, 0o755, False),
        (0o700, 0o777, False),
        (0o700, 0o775, False),
    ],
)
def test_a_directory_is_private_if_nobody_else_can_change_it_or_its_path(tmp_path, own, parent, private):
    above = tmp_path / "above"
    directory = above / "own"
    directory.mkdir(parents=True)
    above.chmod(parent)
    directory.chmod(own)
    assert is_private(directory) is private


def test_a_link_in_the_path_is_judged_by_where_it_leads(tmp_path):
    shared = tmp_path / "shared"
    (shared / "own").mkdir(parents=True, mode=0o700)
    shared.chmod(0o777)
    (tmp_path / "link").symlink_to(shared / "own")
    assert not is_private(tmp_path / "link")


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch, fresh_build):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ToolMissingError, match="no C compiler") as caught:
        Harness("c")
    assert caught.value.hint == "apt install clang"


def test_without_a_compiler_x86_64_still_drains_and_other_machines_refuse(monkeypatch, fresh_build):
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    h = Harness("auto")
    h.ring.output(b"still here")
    assert h.walk()[1] == [b"still here"]
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    for kind in ("auto", "numpy"):
        with pytest.raises(ToolMissingError):
            Harness(kind)


def test_a_compiler_that_fails_is_quoted(tmp_path, monkeypatch, cache):
    broken = tmp_path / "bin" / "clang"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'ld: cannot find crt0' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(broken.parent))
    with pytest.raises(ToolMissingError, match="cannot find crt0"):
        build.load()
    assert list(cache.iterdir()) == []
