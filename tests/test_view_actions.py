"""What the buttons of a live view do to recordings, which need no kernel."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from plotted import RECORDINGS

import ebpflab
from ebpflab.errors import EbpflabError
from ebpflab.jupyter.actions import act
from ebpflab.views import Look, log

PATH = next(path for path in RECORDINGS if path.stem == "opens")


@pytest.fixture
def session():
    with ebpflab.replay(PATH, speed=None) as made:
        yield made


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_was_saved_in_the_same_second_stays(session, folder, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda *_: "20260131-123456")
    told = [act(session, Look(), {"do": "save"}) for _ in range(3)]
    stem, rows = f"{session.name}-20260131-123456", len(session.events)
    names = [f"{stem}.parquet", f"{stem}-2.parquet", f"{stem}-3.parquet"]
    assert told == [f"saved {rows:,} rows to {name}" for name in names]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)  # and nothing half written
    assert [len(pd.read_parquet(name)) for name in names] == [rows] * 3


def test_two_views_that_save_at_once_save_two_files(session, folder):
    told = []
    threads = [threading.Thread(target=lambda: told.append(act(session, Look(), {"do": "save"}))) for _ in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({text.rpartition(" ")[2] for text in told}) == 7
    assert all(len(pd.read_parquet(path)) == len(session.events) for path in folder.iterdir())


def test_what_cannot_be_saved_is_said_and_leaves_no_file(session, folder, monkeypatch):
    def full(path):
        Path(path).write_bytes(b"PAR1")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(session.events, "to_parquet", full)
    with pytest.raises(EbpflabError, match="cannot be written: No space left on device"):
        act(session, Look(), {"do": "save"})
    assert list(folder.iterdir()) == []


def test_a_recording_waits_while_it_is_paused():
    with ebpflab.replay(PATH, speed=0.01) as session:
        assert act(session, Look(), {"do": "pause"}) == "paused: the recording waits"
        assert log.lines(session)[-1].text == "events: paused: the recording waits"
        assert act(session, Look(), {"do": "resume"}) == "the recording goes on"
        assert not session.events.paused


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_where_nothing_flows_there_is_nothing_to_pause(session, action):
    deadline = time.monotonic() + 10
    while session.state != "replayed" and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(
        EbpflabError, match=f"all of the recording was played: there is nothing to be {action.rstrip('e')}ed"
    ):
        act(session, Look(), {"do": action})
    session.close()
    with pytest.raises(EbpflabError, match="is closed: there is nothing to be"):
        act(session, Look(), {"do": action})
    assert not session.events.paused
