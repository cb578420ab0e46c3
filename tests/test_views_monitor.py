"""The numbers of a view and its log, of recordings: no kernel is asked."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from plotted import RECORDINGS
from recorded import Stream, points

import ebpflab
from ebpflab.views import Look, log
from ebpflab.views.entries import entries
from ebpflab.views.monitor import Monitor, Numbers, Tile
from ebpflab.views.overhead import Cost
from ebpflab.views.rows import newest

PATH = next(path for path in RECORDINGS if path.stem == "opens")


@pytest.fixture
def session():
    with ebpflab.replay(PATH, speed=None) as made:
        yield made


def numbers(**changed):
    plain = {
        "name": "opens", "engine": "libbpf", "state": "attached", "tone": "ok", "age": 12.0, "rate": 1234567.0,
        "received": 1_000_003, "lost": 0, "evicted": 17, "discarded": 3, "pending": 5, "held": 999_983,
        "nbytes": 96_000_017, "runs_per_s": 1009.0, "ns_per_run": 547.4, "core_share": 0.0123, "per_program": (),
        "per_stream": (), "problem": "",
    }  # fmt: skip
    return Numbers(**{**plain, **changed})


def test_the_numbers_of_a_recording_are_those_of_its_stream(session):
    stats, seen = session.events.stats(), Monitor(session).look()
    assert (seen.name, seen.engine, seen.state, seen.tone) == (session.name, "replay", "replayed", "muted")
    assert (seen.received, seen.lost, seen.evicted, seen.held) == tuple(
        stats[name] for name in ("received", "lost", "evicted", "rows")
    )
    assert seen.received == len(session.events.df()) + seen.evicted > 0
    assert seen.rate == stats["rate"] > 0  # of the whole run
    assert seen.nbytes == session.events.nbytes > 0
    assert [(flow.name, flow.received) for flow in seen.per_stream] == [("events", stats["received"])]


def test_the_overhead_of_a_recording_is_not_measured_and_no_problem(session):
    monitor = Monitor(session)
    monitor.measure(True)
    seen = monitor.look()
    assert (seen.runs_per_s, seen.ns_per_run, seen.core_share, seen.per_program, seen.problem) == (
        None,
        None,
        None,
        (),
        "",
    )
    monitor.close()
    monitor.close()


def test_what_came_before_the_monitor_is_no_part_of_its_history(session):
    monitor = Monitor(session)
    time.sleep(0.45)
    monitor.look()
    history = monitor.history()
    assert len(history.rate) >= 2
    assert (history.rate.sum(), history.lost.sum()) == (0, 0)
    assert abs(history.end - time.time()) < 0.5


def test_what_is_played_while_somebody_looks_is_in_the_history_exactly_once():
    with ebpflab.replay(PATH, speed=10) as session:
        monitor = Monitor(session)
        before = monitor.look().received
        assert monitor.look().state == "replaying"
        deadline = time.monotonic() + 20
        while monitor.look().state == "replaying" and time.monotonic() < deadline:
            time.sleep(0.07)
        time.sleep(0.25)
        after = monitor.look()
        history = monitor.history(600)
        assert after.state == "replayed"
        assert history.rate.sum(dtype=np.float64) * history.step == pytest.approx(after.received - before, abs=0.5)
        assert after.received - before > 1000


def test_a_paused_session_says_so_until_it_goes_on():
    with ebpflab.replay(PATH, speed=0.01) as session:
        monitor = Monitor(session)
        session.events.pause()
        assert (monitor.look().state, monitor.look().tone) == ("paused", "warning")
        session.events.resume()
        assert monitor.look().state == "replaying"
        session.events.pause()
    assert monitor.look().state == "closed"
    texts = [line.text for line in log.lines(session)]
    paused = "events: paused: the recording waits"
    assert texts[-4:] == [paused, "events: resumed", paused, "the session is closed"]


def test_age_stands_still_when_the_session_is_closed(session):
    monitor = Monitor(session)
    session.close()
    first = monitor.look()
    time.sleep(0.05)
    assert (monitor.look().state, monitor.look().age) == ("closed", first.age)


def test_age_is_the_same_in_every_view_whenever_it_was_opened(session):
    early = Monitor(session)
    session.close()
    age = early.look().age
    time.sleep(0.05)
    assert Monitor(session).look().age == age


def test_the_history_of_a_session_stands_still_when_nothing_more_can_come():
    with ebpflab.replay(PATH, speed=20) as session:
        monitor = Monitor(session)
        before, deadline = monitor.look().received, time.monotonic() + 20
        while monitor.look().state == "replaying" and time.monotonic() < deadline:
            time.sleep(0.03)
        first = monitor.history(600)
        assert first.rate.sum(dtype=np.float64) * first.step == pytest.approx(monitor.look().received - before, abs=0.5)
        time.sleep(0.45)
        assert monitor.look().state == "replayed"
        again = monitor.history(600)
        assert (again.end, again.rate.tolist()) == (first.end, first.rate.tolist())
    assert monitor.look().state == "closed"
    assert monitor.history(600).end == first.end


def test_looking_leaves_the_rate_of_other_readers_alone():
    stream = Stream(structs=("point",))
    events = stream.events
    events.stats()
    time.sleep(0.3)
    stream.send(*points(*((n, n) for n in range(1009))))
    assert events.counts()["received"] == events.counts()["received"] == 1009
    assert "1,009 received" in repr(events)
    assert 1000 < events.stats()["rate"] < 1009 / 0.3
    stream.close()
    assert events.counts()["rate"] == events.stats()["rate"]  # of the whole run


def test_records_that_wait_in_the_buffer_are_counted_the_more_seldom_the_longer_that_takes():
    class Full:
        size, pending_bytes, counted = 1 << 26, 1 << 26, 0

        def pending_records(self):
            self.counted += 1
            time.sleep(0.01)
            return 4_000_037

        def pause(self):
            pass

    stream = Stream(structs=("point",))
    events, feed = stream.events, Full()
    events._feed = feed
    assert [events.counts()["pending"] for _ in range(7)] == [4_000_037] * 7
    assert feed.counted == 1
    events.pause()
    events.counts()
    assert feed.counted == 2  # things are different now
    events.stats()
    assert feed.counted == 3  # who asks for exact numbers gets them


def test_tiles_come_in_their_order_as_people_read_numbers():
    assert [tile[:4] for tile in numbers().tiles()] == [
        ("rate", "events/s", "1,234,567", ""),
        ("received", "received", "1,000,003", ""),
        ("lost", "lost", "0", ""),
        ("evicted", "evicted", "17", ""),
        ("runs", "runs/s", "1,009", ""),
        ("ns", "ns per run", "547", ""),
        ("core", "share of a core", "1.23 %", ""),
        ("memory", "memory", "96 MB", ""),
    ]
    assert all(isinstance(tile, Tile) and tile.title for tile in numbers().tiles())


@pytest.mark.parametrize(
    ("changed", "key", "value", "tone", "title"),
    [
        ({"lost": 13}, "lost", "13", "error", "refused"),
        ({"lost": None}, "lost", "-", "", "nobody counts"),
        ({"core_share": 0.00001}, "core", "<0.01 %", "", "time spent"),
        ({"core_share": 1.5}, "core", "150 %", "", "time spent"),
        ({"core_share": 0.0}, "core", "0 %", "", "time spent"),
        ({"core_share": None, "runs_per_s": None, "problem": "not permitted"}, "core", "-", "", "not permitted"),
        ({"ns_per_run": None}, "ns", "-", "", "mean run time"),
        ({"nbytes": 999}, "memory", "999 B", "", "5 still in the buffer"),
        ({"nbytes": 0, "pending": 0}, "memory", "0 B", "", "999,983 records held"),
        ({"state": "closed"}, "rate", "1,234,567", "", "whole run"),
        ({"rate": 0.0}, "rate", "0", "", "last second"),
    ],
)  # fmt: skip
def test_a_tile_says_what_its_number_means(changed, key, value, tone, title):
    tile = next(tile for tile in numbers(**changed).tiles() if tile.key == key)
    assert (tile.value, tile.tone) == (value, tone)
    assert title in tile.title


def test_costs_of_several_programs_are_added_up():
    from ebpflab.views.monitor import _together

    costs = (Cost("a", 30, 100.0, 1000.0, 1e-4), Cost("b", 10, 300.0, 2000.0, 6e-4))
    assert _together(costs) == pytest.approx((400.0, 1750.0, 7e-4))
    idle = (Cost("a", 30, 0.0, 1000.0, 0.0), Cost("b", 10, 0.0, 2000.0, 0.0), Cost("c", 0, 0.0, None, 0.0))
    assert _together(idle) == (0.0, 1250.0, 0.0)
    assert _together(()) == (None, None, None)


@pytest.mark.parametrize("round", range(31))
def test_looking_goes_on_while_another_thread_closes_the_session(round):
    session = ebpflab.replay(PATH, speed=50)
    monitor, look, started = Monitor(session), Look(filter="sleep", sort="path"), threading.Event()

    def draw():
        while session.state != "closed":
            monitor.look()
            started.set()
            newest(session, look)
            entries(session, look)
            monitor.history().spark()
            log.lines(session)
        return monitor.look().state

    with ThreadPoolExecutor(1) as pool:
        drawing = pool.submit(draw)
        started.wait(10)
        time.sleep(round / 1000)
        session.close()
        assert drawing.result(10) == "closed"


def test_the_log_begins_with_how_the_session_came_to_be(session):
    first = log.lines(session)[0]
    assert first.text.startswith("replay: ")
    assert "events of Linux" in first.text
    assert abs(first.time - time.time()) < 60


def test_lines_are_asked_for_by_the_number_of_the_last_one_seen(session):
    last = log.lines(session)[-1]
    assert log.lines(session, since=last.number) == ()
    added = log.note(session, "saved 1,009 rows to opens.parquet", "ok")
    assert log.lines(session, since=last.number) == (added,)
    assert (added.number, added.tone, added.text) == (last.number + 1, "ok", "saved 1,009 rows to opens.parquet")


def test_the_log_keeps_two_hundred_lines_from_any_number_of_threads(session):
    def add(first):
        for number in range(first, first + 101):
            log.note(session, f"line {number}")

    threads = [threading.Thread(target=add, args=(start * 101,)) for start in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = log.lines(session)
    assert len(found) == 200
    assert len({line.text for line in found}) == 200
    assert [line.number for line in found] == list(range(found[0].number, found[0].number + 200))


def test_the_log_goes_with_its_session():
    session = ebpflab.replay(PATH, speed=None)
    log.note(session, "x")
    kept = len(log._logs)
    session.close()
    del session
    gc.collect()
    assert len(log._logs) < kept


def test_lines_about_losses_get_rarer_while_they_go_on():
    losing, now, lines = log._Losing(), 1000.0, []
    for tick in range(5 * 600):  # ten minutes, five looks a second, each with losses
        now += 0.2
        if text := losing.text(now, 17 * (tick + 1)):
            lines.append((now, text))
    assert len(lines) < 20
    assert lines[0][1] == "17 records lost, 17 in all"
    told = sum(int(text.partition(" ")[0].replace(",", "")) for _, text in lines)
    assert lines[-1][1].endswith(f"{told:,} in all")
    # After a quiet time the next loss is told at once.
    assert losing.text(now + 500, 17 * 3000 + 1) != ""
    assert losing.text(now + 500.5, 17 * 3000 + 2) == ""
    assert losing.text(now + 501.5, 17 * 3000 + 2) == "1 record lost, 51,002 in all"
