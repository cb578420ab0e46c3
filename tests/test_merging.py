"""Merging by time in memory, C and numpy, against sorting in Python; reading the times out of records."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflab._native import build
from ebpflab._native.merging import Held, merger, time_reader


@pytest.fixture(scope="module", params=["c", "numpy"])
def kind(request):
    if request.param == "c" and build.find_compiler() is None:
        pytest.skip("no C compiler")
    return request.param


def held(records):
    """A lane of (time, payload) pairs."""
    data = np.frombuffer(b"".join(data for _, data in records), np.uint8)
    lens = np.array([len(data) for _, data in records], np.uint32)
    return Held(data, lens, np.array([when for when, _ in records], np.uint64))


def run(kind, lanes, until, capacity, max_records):
    # Guard elements behind both arrays show a merger that writes past its bounds.
    out, lens = np.full(capacity + 16, 0xEE, np.uint8), np.full(max_records + 4, 0xEEEEEEEE, np.uint32)
    merged = merger(kind)([held(lane) for lane in lanes], until, out[:capacity], lens[:max_records])
    assert (out[capacity:] == 0xEE).all()
    assert (lens[max_records:] == 0xEEEEEEEE).all()
    got, start = [], 0
    for length in lens[: merged.records].tolist():
        got.append(out[start : start + length].tobytes())
        start += length
    assert merged.nbytes == start
    return merged, got


def expected(lanes, until, capacity, max_records):
    due = sorted((when, i, k) for i, lane in enumerate(lanes) for k, (when, _) in enumerate(lane) if when <= until)
    got, used, next_length = [], 0, 0
    for _, i, k in due:
        data = lanes[i][k][1]
        if len(got) == max_records:
            break
        if used + len(data) > capacity:
            next_length = len(data)
            break
        got.append(data)
        used += len(data)
    taken = [0] * len(lanes)
    for _, i, _ in due[: len(got)]:
        taken[i] += 1
    return got, next_length, len(got) < len(due), taken


RECORDS = st.lists(st.tuples(st.integers(0, 30), st.sampled_from([8, 8, 8, 0, 3, 40])), max_size=40)


@settings(max_examples=200, deadline=None)
@given(
    lanes=st.lists(RECORDS, min_size=1, max_size=5),
    until=st.integers(-1, 40),
    capacity=st.integers(0, 500),
    max_records=st.integers(0, 60),
)
def test_any_lanes_merge_as_sorting_by_time_lane_and_place_would(kind, lanes, until, capacity, max_records):
    number = iter(range(1000))
    lanes = [[(when, bytes([next(number) % 256]) * n) for when, n in sorted(lane)] for lane in lanes]
    # Times start at 1: "until" below 0 means nothing.
    lanes = [[(when + 1, data) for when, data in lane] for lane in lanes]
    merged, got = run(kind, lanes, until, capacity, max_records)
    want, next_length, full, taken = expected(lanes, until, capacity, max_records)
    assert got == want
    assert (merged.next_length, merged.full) == (next_length, full)
    assert merged.mixed == (len({len(data) for data in got}) > 1)
    left = [sum(len(data) for _, data in lane[:n]) for lane, n in zip(lanes, taken, strict=True)]
    assert list(merged.taken) == list(zip(taken, left, strict=True))


def test_many_lanes_of_one_size_merge_in_order(kind):
    random = np.random.default_rng(7)
    lanes = [[(when, when.to_bytes(8, "little")) for when in sorted(random.integers(1, 10**6, 499).tolist())]] * 11
    merged, got = run(kind, lanes, 1 << 63, 1 << 16, 1 << 13)
    assert merged.records == 11 * 499
    assert got == sorted((data for lane in lanes for _, data in lane), key=lambda data: int.from_bytes(data, "little"))


@settings(max_examples=100, deadline=None)
@given(
    records=st.lists(st.integers(0, 2**64 - 1).flatmap(lambda t: st.sampled_from([(24, t), (16, t), (3, t), (40, t)]))),
    offsets=st.fixed_dictionaries({24: st.integers(0, 16), 40: st.integers(0, 40)}),
)
def test_times_are_read_from_where_the_record_of_that_length_has_them(kind, records, offsets):
    known = {length: offset for length, offset in offsets.items() if offset + 8 <= length}
    packed, want = b"", []
    for length, when in records:
        record = bytearray(b"\xee" * length)
        if length in known:
            record[known[length] : known[length] + 8] = when.to_bytes(8, "little")
        packed += record
        want.append(when if length in known else 0)
    times = np.full(len(records) + 3, 99, np.uint64)
    lens = np.array([length for length, _ in records], np.uint32)
    time_reader(offsets, kind)(np.frombuffer(packed, np.uint8), lens, times[: len(records)])
    assert times.tolist() == [*want, 99, 99, 99]
