"""A recording gives back the live frame: streams that the test feeds itself, recorded, replayed and compared."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from recorded import CLOCK, Stream, assert_same, event_bytes, points, replayed, shapes

import ebpflab
from ebpflab.decode import Column, RecordType
from ebpflab.errors import EbpflabError
from ebpflab.recording.columns import Columns, batches
from ebpflab.recording.lookups import NotingLookup, RecordedLookup
from ebpflab.recording.reader import Recording
from ebpflab.records import Candidate, RecordTypes
from ebpflab.rules import MEANINGS, number
from ebpflab.store import RecordStore


@pytest.fixture
def path(tmp_path):
    return tmp_path / "opens.parquet"


def test_a_replay_gives_the_live_frame_with_every_kind_of_column(path):
    stream = Stream()
    records = event_bytes(101)
    stream.send(*records[:17])
    recorder = stream.events.record(path)
    stream.send(*records[17:40])
    stream.lose(7, cpu=1)
    stream.send(*records[40:], discarded=3)
    stream.close()
    live = stream.events.df()
    assert (recorder.rows, recorder.missed, recorder.running) == (101, 0, False)
    assert (len(live), live.attrs["lost"], len(live.attrs["gaps"])) == (101, 7, 1)
    assert_same(replayed(path), live)
    with ebpflab.replay(path, speed="max") as session:
        stats, expected = session.events.stats(), stream.events.stats()
        assert {**stats, "rate": 0} == {**expected, "rate": 0}
        assert stats["discarded"] == 3
        assert session.events.losses()[["row", "cpu", "lost"]].values.tolist() == [[40, 1, 7]]


def test_everybody_reads_the_columns_of_the_frame(path):
    stream = Stream()
    stream.events.record(path)
    stream.send(*event_bytes(23))
    stream.close()
    live, read = stream.events.df(), pd.read_parquet(path)
    own = ["_raw", "_arrived", "_clock", "_lost"]
    assert read.columns.tolist() == [*live.columns, *own]
    assert read["_raw"].tolist() == event_bytes(23)
    assert read["_clock"].unique().tolist() == [CLOCK]
    assert abs(read["_arrived"].max() - pd.Timestamp.now("UTC")) < pd.Timedelta("60s")
    nested = [name for name in live if pa.types.is_nested(pq.read_schema(path).field(name).type)]
    for name in live.columns.difference(nested):
        shown = (column.astype(object) if column.dtype == "category" else column for column in (read[name], live[name]))
        pd.testing.assert_series_equal(*shown, check_exact=True, check_dtype=False)
    for name in nested:
        assert [np.stack(row).tolist() for row in read[name]] == [np.stack(row).tolist() for row in live[name]]


def test_records_of_several_types_come_back_as_they_were(path):
    stream = Stream(("point", "shape"))
    stream.events.record(path)
    for n in range(29):
        stream.send(*points((n, -n), (n, n)), *shapes(f"s{n}"), *points((0, n)))
    stream.close()
    assert_same(replayed(path), stream.events.df())
    read = pd.read_parquet(path)
    assert read.columns.tolist() == ["record", "_raw", "_arrived", "_clock", "_lost"]
    assert read["record"].tolist() == ["point", "point", "shape", "point"] * 29


def test_records_that_a_tag_tells_apart_come_back_as_they_were(path):
    stream = Stream(("point",), wanted="point:x=1,point:x=2")
    stream.events.record(path)
    stream.send(*points((1, 5), (2, 6), (1, 7)), *points(*[(2, n) for n in range(31)]))
    stream.close()
    assert_same(replayed(path), stream.events.df())
    found = [(c.type.name, c.field, c.value) for c in Recording(path).types.candidates]
    assert found == [("struct point", "x", 1), ("struct point", "x", 2)]


def test_records_of_a_size_that_no_struct_has_are_kept_and_refused_as_live(path):
    stream = Stream(("point",))
    stream.events.record(path)
    stream.send(*points((1, 2)), b"seven b", *points((3, 4)))
    stream.close()
    read = pd.read_parquet(path)
    assert read["x"].fillna(-1).tolist() == [1, -1, 3]
    assert read["_raw"].tolist() == [points((1, 2))[0], b"seven b", points((3, 4))[0]]
    with ebpflab.replay(path, speed=None) as session, pytest.raises(EbpflabError) as caught:
        session.events.df()
    with pytest.raises(EbpflabError) as live:
        stream.events.df()
    assert str(caught.value) == str(live.value)


def test_empty_records_and_an_empty_recording_open(path, tmp_path):
    stream = Stream(("point",))
    stream.events.record(path)
    stream.close()
    assert_same(replayed(path), stream.events.df())
    assert len(pd.read_parquet(path)) == 0
    other = Stream(("point",))
    other.events.record(tmp_path / "empty.parquet")
    other.send(b"", b"", *points((1, 2)), b"")
    other.close()
    assert [len(b.data) for b in Recording(tmp_path / "empty.parquet").batches()] == [4]
    assert pd.read_parquet(tmp_path / "empty.parquet")["_raw"].tolist() == [b"", b"", points((1, 2))[0], b""]


def test_a_clock_that_was_set_makes_the_same_times(path):
    stream = Stream()
    stream.events.record(path)
    records = event_bytes(31)
    for place, record in enumerate(records):
        stream.send(record, clock=CLOCK + place // 7 * 5_000_000 + place * 1000)
    stream.close()
    live = stream.events.df()
    assert live["when"].dt.floor("ms").nunique() == 5
    assert_same(replayed(path), live)


def test_rows_that_left_before_are_counted_and_the_same_rows_are_held(path):
    stream = Stream(("point",), keep=101)
    stream.send(*points(*[(1, n) for n in range(151)]))
    recorder = stream.events.record(path)
    for n in range(53):
        stream.send(*points((2, n), (3, n)))
        time.sleep(0.001)
    stream.close()
    live = stream.events.df()
    assert (live.attrs["received"], live.attrs["evicted"], len(live)) == (257, 156, 101)
    assert recorder.rows + recorder.missed == 101 + 106
    assert_same(replayed(path), live)
    whole = replayed(path, keep=1000)
    assert len(whole) == recorder.rows
    assert whole.attrs["received"] == len(whole) + whole.attrs["evicted"] == 257


def test_rows_that_left_unread_are_missed_and_everything_adds_up(path):
    stream = Stream(("point",), keep=11)
    recorder = stream.events.record(path)
    for n in range(97):  # each batch is larger than the history: nobody can read all of it
        stream.send(*points(*[(n, k) for k in range(13)]))
    stream.close()
    assert recorder.missed > 0
    assert recorder.rows + recorder.missed == 97 * 13
    assert recorder.rows == len(pd.read_parquet(path))
    assert_same(replayed(path), stream.events.df())


def test_nobody_counting_losses_stays_unknown(path):
    stream = Stream(("point",), counted=False)
    stream.events.record(path)
    stream.send(*points((1, 2)))
    stream.close()
    assert replayed(path).attrs["lost"] is None
    assert pd.read_parquet(path)["_lost"].isna().all()


def test_what_was_recorded_can_be_recorded_again(path, tmp_path):
    stream = Stream()
    stream.events.record(path)
    stream.send(*event_bytes(37))
    stream.lose(5)
    stream.close()
    with ebpflab.replay(path, speed=None) as session, session.events.record(tmp_path / "again.parquet") as again:
        pass
    assert again.rows == 37
    assert_same(replayed(tmp_path / "again.parquet"), stream.events.df())


def made_up(name, *columns):
    return RecordTypes(
        "events",
        (
            Candidate(
                RecordType(
                    f"struct {name}", 4 * len(columns), np.dtype([(c.name, "<u4") for c in columns]), tuple(columns)
                )
            ),
        ),
        "definition",
    )


def plain(name, place):
    return Column(name, "u32", 4 * place, 4, number(np.dtype("<u4")))


def filled(rows):
    store = RecordStore()
    data = np.ascontiguousarray(rows, "<u4")
    out, lengths = store.reserve(data.nbytes)
    out[: data.nbytes] = data.view(np.uint8).reshape(-1)
    lengths[: len(data)] = 4 * data.shape[1]
    store.commit(len(data), data.nbytes, CLOCK, 0.0)
    return store


def test_a_field_called_like_an_own_column_keeps_its_name():
    columns = Columns(made_up("event", plain("_raw", 0), plain("__lost", 1)))
    table = columns.table(filled([[1, 2], [3, 4]]).snapshot(), arrived=5, lost=6)
    assert table.column_names == ["_raw", "__lost", "___raw", "___arrived", "___clock", "___lost"]
    assert table.column("_raw").to_pylist() == [1, 3]
    (batch,) = batches(table, columns.prefix, "x")
    assert (batch.arrived, batch.clock, batch.lost, batch.lengths.tolist()) == (5, CLOCK, 6, [8, 8])


class Stacks:
    """What a live lookup says."""

    machine = "x86_64"

    def __init__(self):
        self.asked = []

    def stacks(self, space, ids, pids):
        self.asked.append(ids.tolist())
        return [f"main;{space};f{number}" for number in ids.tolist()]

    def addresses(self, space, values, pids):
        return [f"sym{value}+0x1" for value in values.tolist()]

    def remember(self, space, ids, pids):
        pass


def test_stacks_are_noted_and_told_again_without_the_kernel():
    from ebpflab import decode

    stack = Column("stack", "kernel_stack_t", 0, 4, MEANINGS["kernel_stack_t"](number(np.dtype("<i4"))))
    types = made_up("event", stack, plain("pid", 1))
    noting = NotingLookup(Stacks())
    columns = Columns(types, noting)
    snapshot = filled([[11, 1], [13, 2], [11, 3]]).snapshot()
    table = columns.table(snapshot, 0, None)
    assert table.column("stack").to_pylist() == ["main;kernel;f11", "main;kernel;f13", "main;kernel;f11"]
    assert len(noting.fresh()) == 2
    assert noting.fresh() == []
    recorded = RecordedLookup(noting.all(), "x86_64")
    live = decode.to_frame(types.candidates[0].type, snapshot.chunks(8), Stacks())
    again = decode.to_frame(types.candidates[0].type, snapshot.chunks(8), recorded)
    pd.testing.assert_frame_equal(again, live, check_exact=True)
    assert list(recorded.stacks("kernel", np.array([99]), None)) == ["99"]
    assert list(recorded.addresses("user", np.array([255], np.uint64), np.array([1]))) == ["0xff"]
