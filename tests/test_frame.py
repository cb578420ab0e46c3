"""Records shorter than their struct: its beginning, where the buffer is known to hold no other type."""

from __future__ import annotations

import struct

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_btf import Types

from ebpflab.decode import RecordType
from ebpflab.errors import DecodeError
from ebpflab.frame import arrow, frame, parts
from ebpflab.records import Candidate, RecordTypes
from ebpflab.store import RecordStore

OFFSETS = (1_700_000_000_000_000_000, 1_700_000_007_000_000_000)


def data_t() -> RecordType:
    types = Types()
    byte, word, long = types.integer("unsigned char", 1), types.integer("unsigned int", 4), types.integer("long", 8)
    ktime = types.typedef("ktime_t", long)
    members = (("ts", ktime, 0), ("pid", word, 8), ("length", word, 12), ("text", types.array(byte, 8), 16))
    return types.record(types.struct("data_t", 24, *members))


DATA = data_t()
ONLY = RecordTypes("events", (Candidate(DATA),), "definition")


def stored(records: list[tuple[bytes, int]]) -> RecordStore:
    """A store with these records, each with its clock's offset."""
    store = RecordStore()
    for raw, offset in records:
        out, lens = store.reserve(max(len(raw), 1))
        out[: len(raw)] = np.frombuffer(raw, np.uint8)
        lens[0] = len(raw)
        store.commit(1, len(raw), offset, 0.0)
    return store


RAW = st.builds(
    struct.Struct("<qII8s").pack, st.integers(1, 10**18), st.just(7), st.integers(0, 99), st.binary(max_size=8)
)


@given(st.lists(st.tuples(RAW, st.integers(0, 24) | st.just(24), st.sampled_from(OFFSETS))))
def test_a_short_record_is_filled_up_with_zeros_in_its_place(records: list[tuple[bytes, int, int]]) -> None:
    cut = [(raw[:length], offset) for raw, length, offset in records]
    with stored(cut).snapshot() as snapshot:
        shown, table = frame(snapshot, ONLY), arrow(snapshot, ONLY)
    rows = [struct.unpack("<qII8s", raw.ljust(24, b"\0")) for raw, _ in cut]
    assert shown["pid"].tolist() == table["pid"].to_pylist() == [row[1] for row in rows]
    assert shown["length"].tolist() == [row[2] for row in rows]
    assert [bytes(text) for text in shown["text"]] == [row[3] for row in rows]
    since = [row[0] and row[0] + offset for row, (_, offset) in zip(rows, cut, strict=True)]
    assert [0 if time is pd.NaT else time.value for time in shown["ts"]] == since
    assert shown.attrs.get("padded", 0) == sum(len(raw) < 24 for raw, _ in cut)


def test_the_parts_tell_how_many_were_padded_and_none_where_all_are_whole() -> None:
    with stored([(b"x" * 24, 0)] * 3).snapshot() as snapshot:
        assert [(len(p.places), p.padded) for p in parts(snapshot, ONLY)] == [(3, 0)]
        assert "padded" not in frame(snapshot, ONLY).attrs
    with stored([(b"x" * 24, 0)] * 3 + [(b"x" * 12, 0)] * 5).snapshot() as snapshot:
        assert [(len(p.places), p.padded) for p in parts(snapshot, ONLY)] == [(8, 5)]


def test_a_record_longer_than_the_struct_is_an_error_beside_short_ones() -> None:
    snapshot = stored([(b"x" * 12, 0), (b"x" * 24, 0), (b"x" * 32, 0)]).snapshot()
    with snapshot, pytest.raises(DecodeError, match="holds records of 32 bytes, but struct data_t has 24"):
        frame(snapshot, ONLY)


@pytest.mark.parametrize(
    "types",
    [
        RecordTypes("events", (Candidate(DATA),), "size"),
        RecordTypes("events", (Candidate(DATA, "pid", 7),), "option"),
        RecordTypes("events", (Candidate(DATA), Candidate(data_t())), "option"),
    ],
    ids=["a guess by size", "told by a tag", "one of two"],
)
def test_where_the_type_is_not_known_for_sure_a_short_record_is_an_error(types: RecordTypes) -> None:
    snapshot = stored([(b"x" * 12, 0)]).snapshot()
    with snapshot, pytest.raises(DecodeError, match="holds records of 12 bytes"):
        frame(snapshot, types)
