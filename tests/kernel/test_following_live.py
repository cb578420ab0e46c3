"""Streams over time on the real kernel: asynchronous loops, gaps, sizes of buffers."""

from __future__ import annotations

import asyncio
import struct
import threading
import time

import cells
import pandas as pd
import pytest

import ebpflab
from ebpflab.errors import CellError

RING = 4096  # bytes: the smallest there is
FLOOD = 1021  # records in one order; a prime below the sender's bound
IN_RING = (RING - 1) // 16  # a record takes 8 bytes and a header of 8, and the ring never fills to its last byte


def sender(size=1 << 20):
    return cells.SENDER.replace("SIZE", str(size))


def order(session, count, every=0):
    session.test_run("send", ctx=struct.pack("II", count, every))


def flood(session, count=FLOOD):
    received = session.events.stats()["received"]
    session.events.pause()
    order(session, count)
    session.events.resume()
    assert session.events.wait(received + IN_RING, timeout=5)


async def collect(batches, wanted):
    seen = []
    async for batch in batches:
        seen += batch["number"].tolist()
        if len(seen) >= wanted:
            break
    return seen


def test_async_for_follows_a_stream_in_an_event_loop(load):
    session = load(sender())
    producer = threading.Thread(target=lambda: [order(session, 101) or time.sleep(0.005) for _ in range(7)])

    async def follow():
        task = asyncio.ensure_future(collect(session.events, 707))
        await asyncio.sleep(0)  # it follows before the first event is sent
        producer.start()
        return await asyncio.wait_for(task, 20)

    assert asyncio.run(follow()) == list(range(707))
    producer.join()


def test_async_for_ends_when_the_session_is_closed(load):
    session = load(sender())

    async def follow():
        task = asyncio.ensure_future(collect(session.events, 10**9))
        await asyncio.sleep(0.05)
        order(session, 13)
        await asyncio.to_thread(session.close)
        return await asyncio.wait_for(task, 20)

    assert asyncio.run(follow()) == list(range(13))


def test_what_the_programs_sent_is_received_or_lost_or_discarded_or_still_in_the_ring(load):
    session = load(sender(RING))
    session.events.pause()
    order(session, FLOOD, every=7)
    stats = session.events.stats()
    assert (stats["received"], stats["discarded"]) == (0, 0)
    assert stats["pending"] == IN_RING
    assert stats["lost"] + stats["pending"] == FLOOD
    session.events.resume()
    session.events.df()
    stats = session.events.stats()
    assert stats["pending"] == 0
    assert stats["received"] + stats["discarded"] == IN_RING
    assert stats["received"] + stats["lost"] + stats["discarded"] == session.vars["sent"] == FLOOD


def test_a_loss_has_its_time_and_its_place(load):
    session = load(sender(RING))
    order(session, 11)
    assert session.events.wait(11, timeout=5)
    before = pd.Timestamp.now(tz="UTC")
    time.sleep(0.3)
    flood(session)
    after = pd.Timestamp.now(tz="UTC")
    order(session, 11)
    frame = session.events.df()
    losses = session.events.losses()
    assert losses["lost"].sum() == FLOOD - IN_RING == session.events.stats()["lost"]
    assert losses["start"].min() <= after
    assert before <= losses["end"].min()
    assert losses["end"].max() <= after
    assert losses["row"].max() == 11 + IN_RING
    assert sum(gap[2] for gap in frame.attrs["gaps"]) == FLOOD - IN_RING


def test_a_loss_while_the_buffer_is_paused_is_seen_before_it_is_resumed(load):
    session = load(sender(RING))
    session.events.pause()
    order(session, FLOOD)
    assert session.events.losses()["lost"].sum() == FLOOD - IN_RING
    session.events.resume()


def test_the_summary_says_which_size_would_have_held_and_it_does(load):
    session = load(sender(RING))
    flood(session)
    # 766 records of 16 bytes and 4096 bytes are 16,352 bytes.
    wanted = "766 records were lost"
    assert session.events.advice.startswith(wanted)
    assert session.events.advice.endswith("16KiB would have held them, 4KiB did not: --buffer events=16KiB")
    assert wanted in repr(session)
    larger = load(sender(RING), buffers={"events": "16KiB"})
    larger.events.pause()
    order(larger, FLOOD)
    larger.events.resume()
    assert larger.events.wait(FLOOD, timeout=5)
    assert larger.events.stats()["lost"] == 0
    assert larger.events.advice == ""
    assert "would have held" not in repr(larger)


def test_a_size_is_rounded_up_to_one_that_a_ring_can_have(load):
    session = load(sender(RING), buffers={"events": 5000})
    session.events.pause()
    order(session, FLOOD)
    assert session.events.stats()["pending"] == (8192 - 1) // 16


@pytest.mark.parametrize("size", ["much", "-1", "0", "1XB", ""])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(CellError, match="not the size of a buffer"):
        ebpflab.load(sender(), buffers={"events": size})


def test_the_size_of_a_buffer_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(CellError, match="evnts") as caught:
        ebpflab.load(sender(), buffers={"evnts": "1MiB"})
    assert "events" in caught.value.hint


def test_what_lies_in_a_paused_buffer_arrives_when_the_session_is_closed(load):
    session = load(sender())
    session.events.pause()
    order(session, 7)
    session.close()
    stats = session.events.stats()
    assert (stats["received"], stats["lost"], stats["pending"]) == (7, 0, 0)
    assert session.events.df()["number"].tolist() == list(range(7))


def test_the_attrs_of_a_frame_are_of_its_own_rows(load):
    session = load(sender(), keep=10**6)
    stop = threading.Event()

    def pour():
        while not stop.is_set():
            order(session, 997)

    thread = threading.Thread(target=pour)
    thread.start()
    try:
        for _ in range(11):
            frame = session.events.df()
            assert frame.attrs["received"] - frame.attrs["evicted"] == len(frame)
    finally:
        stop.set()
        thread.join()


TAGGED = """
struct small { u32 kind : 4, flag : 1; s32 value; };
struct large { u32 kind : 4, flag : 1; s32 other; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16); } events SEC(".maps");
struct large *kept = 0;

SEC("syscall") int send(void *ctx)
{
	struct small s = { .kind = 9, .flag = 1, .value = -5 };
	struct large l = { .kind = 10, .flag = 1, .other = -6 };
	bpf_ringbuf_output(&events, &s, sizeof(s), 0);
	return bpf_ringbuf_output(&events, &l, sizeof(l), 0);
}
"""


def test_a_tag_may_be_a_bitfield(load):
    session = load(TAGGED, events={"events": "small:kind=9,large:kind=10"})
    session.test_run("send")
    frame = session.events.df()
    assert frame["record"].tolist() == ["small", "large"]
    assert (frame["value"][0], frame["other"][1]) == (-5, -6)
