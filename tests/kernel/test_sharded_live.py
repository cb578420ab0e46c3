"""Maps of ring buffers, one for each CPU, on the running kernel: who makes the rings, order by time, losses."""

from __future__ import annotations

import os
import time

import objects
import pytest
from cells_buffers import (
    SHARDED_MIXED,
    each_cpu_is_complete,
    pouring,
    produce,
    produce_on,
    rows_that_came_late,
    sharded,
    totals,
)

import ebpflab

CPUS = sorted(os.sched_getaffinity(0))
POSSIBLE = os.cpu_count()


@pytest.fixture
def pinned():
    os.sched_setaffinity(0, CPUS[:1])
    yield CPUS[0]
    os.sched_setaffinity(0, CPUS)


def map_info(session, name):
    return next(info for info in session._handle.maps() if info.name == name)


@pytest.mark.parametrize("kind", ["ARRAY_OF_MAPS", "HASH_OF_MAPS"])
@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_records_of_all_shards_come_in_the_order_of_time(load, kind):
    s = load(sharded(kind), attach=False, keep=10**7)
    produce_on(s, CPUS, 503, runs=211)
    frame = s.events.df()
    sent, refused = totals(s)
    assert sent == len(CPUS) * 503 * 211
    assert s.events.stats()["lost"] == refused
    assert len(frame) + refused == sent
    assert frame["cpu"].nunique() == len(CPUS)
    assert frame["ts"].is_monotonic_increasing  # here the record's own time is what is merged by
    for _, rows in frame.groupby("cpu"):
        assert rows["number"].is_monotonic_increasing


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_nothing_is_missing_or_late_when_shards_are_large_enough(load):
    s = load(sharded(), attach=False, keep=10**7, buffers={"shards": "16MiB"})
    produce_on(s, CPUS, 503, runs=211)
    frame = s.events.df()
    assert totals(s) == (len(CPUS) * 503 * 211, 0)
    assert len(frame) == len(CPUS) * 503 * 211
    each_cpu_is_complete(frame)
    assert rows_that_came_late(frame.assign(sent_before=frame["ts"])) == 0


def test_every_possible_cpu_gets_a_ring_of_the_size_that_the_definition_says(load):
    before = objects.live()
    s = load(sharded(), attach=False)
    info = map_info(s, "shards")
    assert info.max_entries == POSSIBLE
    assert info.inner_sizes == (1 << 20,) * POSSIBLE
    assert len(objects.leaked_since(before)) > POSSIBLE
    assert list(s.streams) == ["shards"]


def test_a_map_with_fewer_slots_than_cpus_has_as_many_rings(load):
    s = load(sharded(slots=1), attach=False)
    assert len(map_info(s, "shards").inner_fds) == 1


def test_slots_beyond_the_cpus_stay_empty(load):
    s = load(sharded(slots=POSSIBLE + 3), attach=False)
    assert len(map_info(s, "shards").inner_fds) == POSSIBLE


def test_a_ring_that_the_program_put_into_a_slot_stays_and_is_read_with_the_others(load, pinned):
    rings = 'struct ring own SEC(".maps");'
    s = load(sharded(slots=POSSIBLE, rings=rings, values=f"= {{ .values = {{ [{pinned}] = &own }} }}"), attach=False)
    assert map_info(s, "own").held_by == "shards"
    produce(s, 101)
    assert list(s.streams) == ["shards"]
    assert s.events.wait(101, timeout=5)
    assert s.events.df()["number"].tolist() == list(range(101))
    assert len(map_info(s, "shards").inner_fds) == POSSIBLE


@pytest.mark.parametrize(("asked", "got"), [("100KB", 1 << 17), (1, 4096), ("2MiB", 1 << 21)])
def test_the_size_of_each_shard_can_be_asked_for(load, asked, got):
    s = load(sharded(), attach=False, buffers={"shards": asked})
    assert map_info(s, "shards").inner_sizes == (got,) * POSSIBLE


def test_what_a_full_shard_refuses_is_what_is_missing(load, pinned):
    s = load(sharded(), attach=False, buffers={"shards": 4096})
    s.events.pause()
    produce(s, 1009)
    sent, refused = totals(s)
    assert sent - refused == 4096 // 40  # a record of 32 bytes takes 40
    assert s.events.stats()["pending"] == sent - refused
    s.events.resume()
    assert s.events.wait(sent - refused, timeout=5)
    stats = s.events.stats()
    assert (stats["received"], stats["lost"]) == (sent - refused, refused)
    assert s.events.df()["number"].tolist() == list(range(4096 // 40))


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_small_shards_under_fire_keep_the_books_exact(load):
    s = load(sharded(), attach=False, buffers={"shards": 8192}, keep=1000)
    produce_on(s, CPUS, 4001, runs=101)
    sent, refused = totals(s)
    s.events.df()
    stats = s.events.stats()
    assert sent == len(CPUS) * 4001 * 101
    assert refused > 0
    assert (stats["lost"], stats["received"]) == (refused, sent - refused)


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_records_of_several_sizes_are_merged_by_the_time_of_each(load):
    s = load(
        SHARDED_MIXED, attach=False, keep=10**7, buffers={"shards": "16MiB"}, events={"shards": "event,long_event"}
    )
    produce_on(s, CPUS, 503, runs=53)
    frame = s.events.df()
    assert totals(s) == (len(CPUS) * 503 * 53, 0)
    each_cpu_is_complete(frame)
    when = frame["ts"].fillna(frame["when"])
    assert when.notna().all()
    assert when.is_monotonic_increasing
    assert set(frame["record"]) == {"event", "long_event"}
    assert frame.loc[frame["record"] == "long_event", "text"].unique().tolist() == ["long"]


def test_stop_is_quick_at_full_speed(load):
    s = load(sharded(), attach=False, keep=10_000)
    with pouring(s, CPUS[-1]):
        assert s.events.wait(100_003, timeout=10)
        before = time.monotonic()
        s._buffers._drain.stop()
        assert time.monotonic() - before < 0.25
    assert len(s.events.df()) == 10_000


def test_the_verifier_can_be_asked_again(load):
    s = load(sharded(), attach=False, buffers={"shards": 4096})
    assert "processed" in s.verifier_log


def test_a_map_of_other_maps_is_no_event_buffer():
    source = """
    struct inner { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u32); };
    struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 2); __type(key, u32);
        __array(values, struct inner); } outer SEC(".maps");
    SEC("raw_tp/sys_enter") int h(void *ctx) { u32 k = 0; return bpf_map_lookup_elem(&outer, &k) != 0; }
    """
    with ebpflab.load(source, attach=False) as s:
        assert s.streams == {}
    with pytest.raises(ebpflab.EbpflabError, match="outer is no event buffer"):
        ebpflab.load(source, attach=False, buffers={"outer": 4096})
