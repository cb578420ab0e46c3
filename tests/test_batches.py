"""Following a stream, with a store that the test itself writes."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time

import numpy as np
import pandas as pd
import pytest

from ebpflab.batches import Batches
from ebpflab.decode import Column, RecordType
from ebpflab.errors import DecodeError
from ebpflab.keep import Keep
from ebpflab.records import Candidate, RecordTypes
from ebpflab.rules import number
from ebpflab.store import RecordStore


def record(name, *fields):
    """A struct of u32 members."""
    columns = tuple(Column(f, "u32", 4 * i, 4, number(np.dtype("<u4"))) for i, f in enumerate(fields))
    dtype = np.dtype([(field, "<u4") for field in fields])
    return RecordType(f"struct {name}", 4 * len(fields), dtype, columns)


ONE = RecordTypes("events", (Candidate(record("event", "number", "twice")),), "definition")
TWO = RecordTypes(
    "events", (Candidate(record("small", "number")), Candidate(record("large", "number", "twice", "rest"))), "size"
)
TAGGED = RecordTypes(
    "events",
    (Candidate(record("opened", "kind", "fd"), "kind", 1), Candidate(record("closed", "kind", "result"), "kind", 2)),
    "option",
)


def send(store, *rows):
    """Write rows of numbers, each as long as it is, in one commit."""
    data = b"".join(np.array(row, "<u4").tobytes() for row in rows)
    out, lens = store.reserve(len(data))
    out[: len(data)] = np.frombuffer(data, np.uint8)
    lens[: len(rows)] = [4 * len(row) for row in rows]
    store.commit(len(rows), len(data), 0, time.monotonic(), mixed=True)


@pytest.fixture
def store():
    return RecordStore(Keep(rows=1009))


def following(store, types=ONE, timeout=0.05):
    return Batches(store.cursor(from_start=True), types, timeout)


def test_a_batch_is_columns_that_pandas_takes(store):
    send(store, *[(n, 2 * n) for n in range(7)])
    (batch,) = following(store)
    assert batch.record == "event"
    frame = pd.DataFrame(batch)
    assert frame["number"].tolist() == list(range(7))
    assert frame["twice"].tolist() == [2 * n for n in range(7)]


def test_each_record_type_has_batches_of_its_own(store):
    send(store, (1,), (2, 4, 6), (3,), (5, 10, 15), (7,))
    batches = {batch.record: batch for batch in following(store, TWO)}
    assert batches["small"]["number"].tolist() == [1, 3, 7]
    assert batches["large"]["rest"].tolist() == [6, 15]


def test_a_tag_tells_types_of_one_size_apart(store):
    send(store, (1, 11), (2, 22), (1, 33))
    batches = {batch.record: batch for batch in following(store, TAGGED)}
    assert batches["opened"]["fd"].tolist() == [11, 33]
    assert batches["closed"]["result"].tolist() == [22]


def test_a_record_of_no_type_ends_the_loop_with_an_error(store):
    send(store, (1, 2, 3, 4))
    with pytest.raises(DecodeError, match="16 bytes"):
        list(following(store))


def test_the_loop_ends_after_the_timeout_or_with_the_stream(store):
    start = time.monotonic()
    assert list(following(store, timeout=0.1)) == []
    assert time.monotonic() - start >= 0.1
    store.close()
    send_after_close = following(store, timeout=None)
    assert list(send_after_close) == []


def test_a_loop_that_is_too_slow_counts_what_left_unread(store):
    batches = following(store, timeout=0.0)
    for start in range(1511):
        send(store, (start, 0))
    seen = np.concatenate([batch["number"] for batch in batches])
    assert batches.missed == 1511 - 1009
    assert seen.tolist() == list(range(1511 - 1009, 1511))


def test_closing_ends_the_loop(store):
    send(store, (1, 2))
    with following(store, timeout=None) as batches:
        next(batches)
        batches.close()
        assert list(batches) == []


async def collect(batches, into):
    async for batch in batches:
        into.extend(batch["number"].tolist())


def writer(store, count, pause):
    def run():
        for n in range(count):
            send(store, (n, 0))
            time.sleep(pause)
        store.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_an_async_loop_gets_every_event_and_ends_with_the_stream(store):
    seen = []
    thread = writer(store, 211, 0.0005)
    asyncio.run(asyncio.wait_for(collect(following(store, timeout=None), seen), 20))
    thread.join()
    assert seen == list(range(211))


def test_others_in_the_event_loop_have_their_turn_while_events_arrive(store):
    async def both():
        turns = 0

        async def other():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(other())
        await collect(following(store, timeout=None), seen)
        task.cancel()
        return turns

    seen = []
    thread = writer(store, 101, 0.001)
    turns = asyncio.run(asyncio.wait_for(both(), 20))
    thread.join()
    assert len(seen) == 101
    assert turns > 101


def test_an_async_loop_ends_after_the_timeout(store):
    seen = []
    send(store, (1, 0))
    start = time.monotonic()
    asyncio.run(asyncio.wait_for(collect(following(store, timeout=0.1), seen), 20))
    assert seen == [1]
    assert 0.1 <= time.monotonic() - start < 5


def test_a_cancelled_async_loop_leaves_nothing_behind(store):
    async def cancelled():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(collect(following(store, timeout=None), []), 0.05)

    asyncio.run(cancelled())
    assert store._listeners == []
    send(store, (1, 0))  # nobody is told, and nothing is raised in the writer's thread


def test_a_stop_button_ends_an_async_loop_to_which_nothing_comes(store):
    # ipykernel's handler of SIGINT runs within the event loop's select(), and its call_soon() does not end that.
    async def stopped():
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(collect(following(store, timeout=None), []))
        fallback = loop.call_later(20, task.cancel)
        previous = signal.signal(signal.SIGUSR1, lambda *_: loop.call_soon(task.cancel))
        press = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
        press.start()
        try:
            await asyncio.wait([task])
        finally:
            press.join()
            signal.signal(signal.SIGUSR1, previous)
            fallback.cancel()
        return task.cancelled()

    start = time.monotonic()
    assert asyncio.run(stopped())
    assert time.monotonic() - start < 5


def test_an_event_loop_that_was_closed_does_not_stop_the_writer(store):
    loop = asyncio.new_event_loop()
    batches = following(store, timeout=None)
    task = loop.create_task(batches.__anext__())
    loop.run_until_complete(asyncio.sleep(0.01))
    assert len(store._listeners) == 1
    task.cancel()
    loop.close()
    send(store, (1, 0))
    assert store.received == 1
    del task


def test_a_loop_that_is_busy_is_told_once_not_for_every_drain(store):
    loop = asyncio.new_event_loop()
    task = loop.create_task(following(store, timeout=None).__anext__())
    loop.run_until_complete(asyncio.sleep(0.01))
    for n in range(211):
        send(store, (n, 0))
    assert len(loop._ready) <= 2  # the loop's own queue of what it has to call
    assert loop.run_until_complete(task).record == "event"
    loop.close()
