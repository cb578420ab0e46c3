"""Which maps are event buffers; the live tests show how each is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from ebpflab.btf import Btf
from ebpflab.engines.base import MapInfo
from ebpflab.errors import EbpflabError
from ebpflab.records import record_types
from ebpflab.sources import event_maps, open_source

BTF = Btf.parse((Path(__file__).parent / "data" / "btf" / "maps.BTF").read_bytes())


def info(name, kind, **more):
    return MapInfo(name, kind, 4, 4, 1, 0, internal=False, **more)


RING = info("ring", 27)
PERF = info("perf", 4)
SHARDS = info("shards", 12, inner_type=27)
BY_CPU = info("by_cpu", 13, inner_type=27)
OTHERS = [info("hash", 1), info("array", 2), info("of_hashes", 12), info("user", 31)]


def test_ring_buffers_maps_of_them_and_perf_arrays_are_event_buffers():
    assert event_maps([*OTHERS, RING, PERF, SHARDS, BY_CPU]) == ["ring", "perf", "shards", "by_cpu"]


def test_a_ring_in_a_map_of_rings_is_read_with_that():
    held = info("own", 27, held_by="shards")
    assert event_maps([held, SHARDS]) == ["shards"]


@pytest.mark.parametrize("buffer", [RING, PERF, SHARDS])
def test_a_map_that_is_not_loaded_cannot_be_read(buffer):
    with pytest.raises(EbpflabError, match=f"{buffer.name} has no memory to read from") as caught:
        open_source(buffer, record_types(buffer.name, BTF))
    assert caught.value.stage == "stream"
