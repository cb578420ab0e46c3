"""A replay has the face of a session, in the time of the recording or faster."""

from __future__ import annotations

import time

import pandas as pd
import pytest
from recorded import FACTS, Stream, event_bytes, points

import ebpflab
from ebpflab.errors import CellError, SessionError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "opens.parquet"


@pytest.fixture
def recording(path):
    stream = Stream()
    stream.events.record(path)
    stream.send(*event_bytes(43))
    stream.close()
    return path


def test_a_replay_has_the_face_of_a_session(recording):
    with ebpflab.replay(recording, speed=None) as session:
        assert isinstance(session, ebpflab.Session)
        assert (session.name, session.engine, session.state, session.source) == (
            "opens",
            "replay",
            "replayed",
            FACTS.source,
        )
        assert [s.name for s in ebpflab.sessions()] == ["opens"]
        assert session.programs[["name", "type", "insns"]].values.tolist() == [["on_open", "tracepoint", 23]]
        assert session.links.values.tolist() == [["on_open", "tracepoint", "syscalls/sys_enter_openat", "recorded"]]
        assert "43 events of Linux 6.1.0-test" in session.stages["detail"].iloc[-1]
        assert list(session.streams) == ["events"]
        assert session.events.wait(43, timeout=0)
        assert len(session.events.head(7)) == 7
        assert len(session.events.df(last=11)) == 11
        assert session.events.arrow().num_rows == 43
        assert "first 5 of 43 events" in repr(session)
        assert "<table" in session._repr_html_()
        session.events.clear()
        assert len(session.events.df()) == 0
    assert session.state == "closed"
    assert ebpflab.sessions() == []


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.attach(),
        lambda s: s.attach("on_open", target="x"),
        lambda s: s.detach(),
        lambda s: s.test_run(data=bytes(64)),
        lambda s: s.iterate(),
        lambda s: s.iterate_df(),
        lambda s: s.verifier_log,
        lambda s: s.vars["x"],
        lambda s: s.maps["starts"],
        lambda s: s.vars.update(x=1),
    ],
)
def test_what_needs_the_kernel_says_that_this_is_a_recording(recording, call):
    with ebpflab.replay(recording, speed=None) as session, pytest.raises(SessionError, match="a recording cannot "):
        call(session)


def test_two_replays_have_two_names_and_a_given_name_replaces(recording):
    with ebpflab.replay(recording) as one, ebpflab.replay(recording) as two:
        assert (one.name, two.name) == ("opens", "opens_2")
        with ebpflab.replay(recording, name="opens") as three:
            assert (one.state, three.name) == ("closed", "opens")


@pytest.mark.parametrize("speed", [0, -1, "fast", float("nan")])
def test_a_speed_that_is_none_is_refused(recording, speed):
    with pytest.raises(CellError, match="cannot replay at speed"):
        ebpflab.replay(recording, speed=speed)


@pytest.fixture
def slow(path):
    """Eleven batches of three, a tenth of a second apart."""
    stream = Stream(("point",))
    stream.events.record(path)
    for n in range(11):
        stream.send(*points((n, 0), (n, 1), (n, 2)))
        stream.lost[0] += 1
        time.sleep(0.1)
    stream.close()
    return path


def test_the_original_timing_and_ten_times_as_fast(slow):
    arrived = pd.read_parquet(slow)["_arrived"]
    took = (arrived.iloc[-1] - arrived.iloc[0]).total_seconds()
    for speed in (1.0, 10.0):
        start = time.monotonic()
        with ebpflab.replay(slow, speed=speed) as session:
            assert session.state == "replaying"
            seen = []
            while session.state == "replaying":
                session.events.wait(timeout=0.02)
                stats = session.events.stats()
                seen.append((stats["received"], stats["lost"]))
            gone = time.monotonic() - start
            assert session.state == "replayed"
            assert session.events.df()["x"].tolist() == [n for n in range(11) for _ in range(3)]
        assert took / speed * 0.9 < gone < took / speed + 1
        assert len({received for received, _ in seen}) > 3
        assert seen == sorted(seen)
        assert seen[-1] == (33, 11)


def test_a_paused_replay_stands_still_and_goes_on(slow):
    with ebpflab.replay(slow) as session:
        assert session.events.wait(6, timeout=5)
        session.events.pause()
        time.sleep(0.05)
        before = session.events.stats()["received"]
        time.sleep(0.4)
        assert session.events.stats()["received"] == before < 33
        session.events.resume()
        assert session.events.wait(33, timeout=5)


def test_batches_follow_a_replay(slow):
    with ebpflab.replay(slow, speed=5) as session:
        followed = [n for batch in session.events.batches(timeout=2) for n in batch["x"].tolist()]
    assert followed[-3:] == [10, 10, 10]
    assert session.events.stats()["received"] == 33


def test_a_replay_can_be_closed_in_the_middle(slow):
    session = ebpflab.replay(slow, speed=0.01)
    start = time.monotonic()
    session.close()
    assert time.monotonic() - start < 0.2
    assert session.events.stats()["received"] < 33
    assert len(session.events.df()) == session.events.stats()["received"]
