"""The bounded store against plain Python lists: caps to the row, counters, snapshots, cursors, memory."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflab.errors import CellError
from ebpflab.store import Keep, RecordStore

OFFSET = 1_700_000_000_000_000_000


def put(store, records, *, now=0.0, offset=OFFSET, discarded=0):
    """Write `records` as a walker does: as many as fit, then the next reservation."""
    records = list(records)
    while records or discarded:
        out, lens = store.reserve(len(records[0]) if records else 1)
        taken = nbytes = 0
        while taken < min(len(records), len(lens)) and nbytes + len(records[taken]) <= len(out):
            raw = records[taken]
            out[nbytes : nbytes + len(raw)] = np.frombuffer(raw, np.uint8)
            lens[taken] = len(raw)
            nbytes += len(raw)
            taken += 1
        store.commit(taken, nbytes, offset, now, discarded=discarded)
        del records[:taken]
        discarded = 0


def records_of(snapshot):
    """Everything in arrival order, put together again from chunks and order."""
    found = {}
    for length, count in snapshot.lengths().items():
        rows = [row.tobytes() for chunk in snapshot.chunks(length) for row in chunk.data]
        assert len(rows) == count
        found.update(zip(snapshot.order(length).tolist(), rows, strict=True))
    assert sorted(found) == list(range(snapshot.rows))
    return [found[place] for place in range(snapshot.rows)]


def numbered(count, length=16, start=0):
    return [n.to_bytes(length, "little") for n in range(start, start + count)]


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        (None, Keep(rows=1_000_000)),
        ("1e6", Keep(rows=1_000_000)),
        (1e6, Keep(rows=1_000_000)),
        (23, Keep(rows=23)),
        ("1_000", Keep(rows=1000)),
        ("200MB", Keep(bytes=200_000_000)),
        ("1.5 GiB", Keep(bytes=3 << 29)),
        ("64kB", Keep(bytes=64_000)),
        ("64KiB", Keep(bytes=65536)),
        ("512b", Keep(bytes=512)),
        ("60s", Keep(seconds=60)),
        ("5m", Keep(seconds=300)),
        ("0.5h", Keep(seconds=1800)),
        ("250ms", Keep(seconds=0.25)),
        (Keep(rows=7), Keep(rows=7)),
    ],
)
def test_a_cap_is_read_as_it_is_written(text, keep):
    assert Keep.parse(text) == keep


@pytest.mark.parametrize(
    "text",
    ["", "many", "-1", -1, 0, "0MB", "1M", "60 sec", "1e999", "nan", "inf", True, "12 34", "0.2", "MB"],
)
def test_a_cap_that_cannot_be_read_says_what_can(text):
    with pytest.raises(CellError) as caught:
        Keep.parse(text)
    assert "200MB" in caught.value.hint


@given(st.text(max_size=12) | st.floats() | st.integers())
def test_any_text_is_a_cap_or_a_cell_error(text):
    try:
        keep = Keep.parse(text)
    except CellError:
        return
    assert any(cap is not None and cap > 0 for cap in (keep.rows, keep.bytes, keep.seconds))


def test_a_cap_without_a_limit_is_refused():
    with pytest.raises(CellError):
        Keep()


def test_what_was_committed_is_read_back_in_order():
    store = RecordStore()
    put(store, numbered(100_003, 48))
    with store.snapshot() as snapshot:
        data = np.concatenate([chunk.data for chunk in snapshot.chunks(48)])
    assert data[:, :8].copy().view("<u8")[:, 0].tolist() == list(range(100_003))


def test_a_row_cap_is_exact_to_the_row():
    store = RecordStore(Keep(rows=997))
    for n in range(0, 20_000, 50):
        put(store, numbered(50, start=n))
        assert store.counters().rows == min(997, n + 50)
    with store.snapshot() as snapshot:
        assert records_of(snapshot) == numbered(997, start=20_000 - 997)
    counters = store.counters()
    assert (counters.received, counters.evicted, counters.nbytes) == (20_000, 19_003, 997 * 16)


def test_a_row_cap_smaller_than_one_commit_keeps_its_newest_rows():
    store = RecordStore(Keep(rows=3))
    put(store, numbered(1000))
    assert records_of(store.snapshot()) == numbered(3, start=997)


def test_a_byte_cap_is_never_passed_and_as_full_as_whole_records_allow():
    store = RecordStore(Keep(bytes=10_000))
    for n in range(200):
        put(store, numbered(7, 48, start=7 * n))
        assert store.counters().nbytes == min(7 * 48 * (n + 1), 208 * 48)  # 208 records of 48 bytes fit


def test_a_byte_cap_on_mixed_records_drops_the_fewest_rows_that_it_can():
    store = RecordStore(Keep(bytes=5000))
    sent = []
    for n in range(300):
        batch = [bytes([n % 256]) * (1 + (n * 7 + i * 13) % 90) for i in range(5)]
        put(store, batch)
        sent += batch
        held = store.counters()
        assert held.nbytes == sum(map(len, sent[len(sent) - held.rows :])) <= 5000
        if held.rows < len(sent):
            assert held.nbytes + len(sent[len(sent) - held.rows - 1]) > 5000
    assert records_of(store.snapshot()) == sent[-store.counters().rows :]


def test_empty_records_cannot_pile_up_under_a_byte_cap():
    store = RecordStore(Keep(bytes=100))
    put(store, [b""] * 1009)
    assert store.counters().rows == 100
    assert store.snapshot().lengths() == {0: 100}


def test_an_age_cap_goes_by_the_arrival_of_each_commit():
    time_is = [0.0]
    store = RecordStore(Keep(seconds=10), clock=lambda: time_is[0])
    for second in range(30):
        time_is[0] = float(second)
        put(store, numbered(5, start=5 * second), now=time_is[0])
        assert store.counters().rows == 5 * min(second + 1, 11)
    assert records_of(store.snapshot()) == numbered(55, start=5 * 19)


def test_old_rows_leave_even_when_nothing_arrives():
    time_is = [0.0]
    store = RecordStore(Keep(seconds=10), clock=lambda: time_is[0])
    put(store, numbered(5), now=0.0)
    time_is[0] = 10.0
    assert store.snapshot().rows == 5
    time_is[0] = 10.1
    assert store.snapshot().rows == 0
    assert store.counters().evicted == 5


@pytest.mark.parametrize("length", [8, 48, 200, 5000])
def test_memory_stays_within_a_fifth_of_a_byte_cap(length):
    cap = 4_000_000
    store = RecordStore(Keep(bytes=cap))
    worst = 0
    for _ in range(3 * cap // length // 997):
        put(store, [bytes(length)] * 997)
        worst = max(worst, store.allocated)
    assert store.counters().nbytes > 0.99 * cap
    assert worst <= 1.2 * cap


def test_memory_stays_within_a_fifth_when_lengths_are_mixed():
    cap = 4_000_000
    store = RecordStore(Keep(bytes=cap))
    batch = [bytes(24 + 8 * (n % 5)) for n in range(1009)]
    while store.counters().received_bytes < 3 * cap:
        put(store, batch)
        assert store.allocated <= 1.2 * cap


def test_slabs_are_used_again_once_nobody_looks_at_them():
    store = RecordStore(Keep(bytes=400_000))
    seen = set()
    for _ in range(300):
        put(store, numbered(600))
        seen.add(store.reserve(1)[0].base.__array_interface__["data"][0])
    written = store.counters().received_bytes
    assert written > 7 * 400_000
    assert len(seen) < 1.3 * 400_000 / 16384  # slabs of 16 KiB: the cap's, and a few


def test_an_array_outlives_its_snapshot_and_the_eviction_of_its_rows():
    store = RecordStore(Keep(rows=1000))
    put(store, numbered(1000))
    with store.snapshot() as snapshot:
        kept = [chunk.data for chunk in snapshot.chunks(16)]
        before = [array.copy() for array in kept]
    for _ in range(200):
        put(store, [b"\xff" * 16] * 500)
    for array, old in zip(kept, before, strict=True):
        np.testing.assert_array_equal(array, old)


def test_a_snapshot_does_not_change_with_what_comes_later():
    store = RecordStore(Keep(rows=500))
    put(store, [*numbered(300, 8), *numbered(300, 24)])
    snapshot = store.snapshot()
    before = records_of(snapshot)
    for n in range(100):
        put(store, numbered(50, 8 + n % 3))
    assert records_of(snapshot) == before
    assert snapshot.counters.received == 600
    store.clear()
    assert records_of(snapshot) == before


def test_arrays_of_a_snapshot_are_read_only():
    store = RecordStore()
    put(store, [*numbered(3, 8), *numbered(3, 16)])
    for length in (8, 16):
        with pytest.raises(ValueError, match="read-only"):
            store.snapshot().chunks(length)[0].data[0, 0] = 1


def test_a_closed_snapshot_is_empty():
    store = RecordStore()
    put(store, numbered(5))
    with store.snapshot() as snapshot:
        assert len(snapshot) == 5
    assert (snapshot.rows, snapshot.lengths(), snapshot.chunks(16)) == (0, {}, [])


@pytest.mark.parametrize(("last", "rows"), [(None, 100), (0, 0), (1, 1), (37, 37), (100, 100), (10**9, 100)])
def test_the_last_rows_are_the_newest(last, rows):
    store = RecordStore(Keep(rows=100))
    put(store, numbered(150))
    assert records_of(store.snapshot(last=last)) == numbered(rows, start=150 - rows)


def test_a_record_larger_than_a_slab_gets_a_slab_of_its_own():
    store = RecordStore(Keep(rows=5))
    large = bytes(range(256)) * 20_000
    put(store, [b"small", large, b"after"])
    assert records_of(store.snapshot()) == [b"small", large, b"after"]


def test_records_of_one_length_are_one_view_and_mixed_ones_are_told_apart():
    store = RecordStore()
    put(store, numbered(10, 48))
    put(store, numbered(10, 48, start=10))
    (chunk,) = store.snapshot().chunks(48)
    assert chunk.data.shape == (20, 48)
    assert chunk.data.base is not None
    put(store, [b"odd"])
    assert store.snapshot().lengths() == {48: 20, 3: 1}
    assert store.snapshot().order(3).tolist() == [20]


def test_chunks_are_split_where_the_clock_steps_and_only_there():
    store = RecordStore()
    for step in (0, 900_000, -900_000, 2_000_000, 2_500_000, 7_200_000_000_000):
        put(store, numbered(3), offset=OFFSET + step)
    chunks = store.snapshot().chunks(16)
    assert [(len(c.data), c.clock_offset_ns - OFFSET) for c in chunks] == [
        (9, 0),
        (6, 2_000_000),
        (3, 7_200_000_000_000),
    ]


def test_a_cursor_reads_every_row_once():
    store = RecordStore()
    put(store, numbered(10))
    new, old = store.cursor(), store.cursor(from_start=True)
    put(store, numbered(7, start=10))
    assert records_of(new.read()) == numbered(7, start=10)
    assert records_of(new.read()) == []
    assert [records_of(old.read(6)) for _ in range(4)] == [
        numbered(6),
        numbered(6, start=6),
        numbered(5, start=12),
        [],
    ]
    assert (new.missed, old.missed) == (0, 0)


def test_a_slow_cursor_is_told_how_many_rows_it_missed():
    store = RecordStore(Keep(rows=10))
    cursor = store.cursor()
    put(store, numbered(33))
    assert records_of(cursor.read()) == numbered(10, start=23)
    assert cursor.missed == 23
    cursor.close()
    put(store, numbered(3))
    assert cursor.read().rows == 0
    assert cursor.wait(0) is False


def test_clearing_forgets_the_rows_and_keeps_the_counts():
    store = RecordStore()
    put(store, numbered(10), discarded=4)
    store.clear()
    put(store, numbered(3))
    counters = store.counters()
    assert (counters.received, counters.cleared, counters.evicted) == (13, 10, 0)
    assert (counters.rows, counters.discarded, counters.nbytes) == (3, 4, 48)
    assert records_of(store.snapshot()) == numbered(3)


def test_waiting_ends_at_the_count_at_the_timeout_or_with_the_stream():
    store = RecordStore()
    put(store, numbered(5))
    assert store.wait_for(5, timeout=0)
    assert not store.wait_for(6, timeout=0.01)
    writer = threading.Timer(0.05, put, (store, numbered(3)))
    writer.start()
    assert store.wait_for(8, timeout=10)
    writer.join()
    ender = threading.Timer(0.05, store.close)
    ender.start()
    assert not store.wait_for(9, timeout=10)
    ender.join()
    assert store.closed


def test_a_cursor_waits_for_its_next_row():
    store = RecordStore()
    cursor = store.cursor()
    assert not cursor.wait(timeout=0)
    writer = threading.Timer(0.05, put, (store, numbered(3)))
    writer.start()
    assert cursor.wait(timeout=10)
    writer.join()
    assert cursor.read().rows == 3


def test_readers_beside_a_writer_see_only_whole_records_in_order():
    store = RecordStore(Keep(rows=5000))
    stop = threading.Event()

    def write():
        n = 0
        while not stop.is_set():
            batch = [k.to_bytes(8 + 8 * (k // 1000 % 2), "little") for k in range(n, n + 97)]
            put(store, batch, now=time.monotonic())
            n += 97

    writer = threading.Thread(target=write)
    writer.start()
    try:
        deadline = time.monotonic() + 1
        looked = 0
        while time.monotonic() < deadline or looked < 5:
            with store.snapshot() as snapshot:
                first = snapshot.first
                values = [int.from_bytes(raw, "little") for raw in records_of(snapshot)]
            assert values == list(range(first, first + len(values)))
            looked += 1
    finally:
        stop.set()
        writer.join()
    assert store.counters().evicted > 0


KEEPS = st.one_of(
    st.builds(Keep, rows=st.integers(1, 400)),
    st.builds(Keep, bytes=st.integers(1, 30_000)),
    st.builds(Keep, seconds=st.integers(1, 20)),
    st.builds(Keep, rows=st.integers(1, 300), bytes=st.integers(1, 9000), seconds=st.integers(1, 20)),
)
LENGTHS = st.sampled_from([(8,), (24,), (8, 24), (0, 5), (1500, 3)])  # taken in turn
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 200), LENGTHS),
        st.tuples(st.just("tick"), st.integers(1, 8), st.none()),
        st.tuples(st.just("step clock"), st.integers(0, 3), st.none()),
        st.tuples(st.just("read"), st.integers(0, 300), st.none()),
        st.tuples(st.just("clear"), st.none(), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(keep=KEEPS, steps=STEPS)
def test_any_history_equals_the_model(keep, steps):
    now, offset, sent = [0.0], OFFSET, 0
    store = RecordStore(keep, clock=lambda: now[0])
    cursor, read, missed = store.cursor(), 0, 0
    model: list[tuple[int, bytes, float, int]] = []  # number, record, arrival, clock offset
    cleared = 0

    def expire():
        while model and (
            (keep.rows is not None and len(model) > keep.rows)
            or (keep.bytes is not None and max(sum(len(m[1]) for m in model), len(model)) > keep.bytes)
            or (keep.seconds is not None and now[0] - model[0][2] > keep.seconds)
        ):
            del model[0]

    for what, a, b in steps:
        if what == "put":
            batch = [(sent + i).to_bytes(1500, "little")[: b[i % len(b)]] for i in range(a)]
            put(store, batch, now=now[0], offset=offset)
            model += [(sent + i, raw, now[0], offset) for i, raw in enumerate(batch)]
            sent += a
        elif what == "tick":
            now[0] += a
        elif what == "step clock":
            offset += a * 1_000_000_000
        elif what == "clear":
            expire()
            cleared += len(model)
            store.counters()  # what is too old counts as evicted, not as cleared
            store.clear()
            model.clear()
        expire()
        if what == "read":
            oldest = model[0][0] if model else sent
            missed += max(oldest - read, 0)
            read = max(read, oldest)
            want = [m[1] for m in model if m[0] >= read][:a]
            assert records_of(cursor.read(a)) == want
            read += len(want)
            assert cursor.missed == missed
        with store.snapshot() as snapshot:
            assert records_of(snapshot) == [m[1] for m in model]
            for length in snapshot.lengths():
                offsets = [c.clock_offset_ns for c in snapshot.chunks(length) for _ in c.data]
                assert offsets == [m[3] for m in model if len(m[1]) == length]
        counters = store.counters()
        assert counters.received == sent == counters.rows + counters.evicted + counters.cleared
        assert counters.nbytes == sum(len(m[1]) for m in model)
        assert counters.cleared == cleared
