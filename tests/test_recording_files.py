"""The files of recordings: always something that opens, whatever is killed, full or damaged."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from recorded import Stream, event_bytes, points, replayed

import ebpflab
from ebpflab.errors import EbpflabError
from ebpflab.recording.reader import Recording

ROOT = Path(__file__).parents[1]


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


def test_while_it_runs_the_path_opens_and_a_part_comes_every_second(path):
    stream = Stream(("point",))
    with stream.events.record(path) as recorder:
        assert len(pd.read_parquet(path)) == 0
        for n in range(23):
            stream.send(*points((n, n)))
            time.sleep(0.1)
        parts = sorted(p.name for p in path.iterdir() if not p.name.startswith("."))
        assert len(parts) in (2, 3, 4)
        held = pd.read_parquet(path)["x"].tolist()
        assert held == list(range(len(held)))
        assert 5 <= len(held) <= 23
        assert replayed(path)["x"].tolist() == held
        assert "recording: 2" in repr(recorder)
    assert path.is_file()
    assert list(path.parent.iterdir()) == [path]
    assert pd.read_parquet(path)["x"].tolist() == list(range(23))
    stream.send(*points((99, 99)))
    recorder.stop()
    assert recorder.rows == len(pd.read_parquet(path)) == 23
    stream.close()


def test_a_path_that_is_taken_is_refused_and_overwritten_when_asked(path):
    path.write_text("precious")
    stream = Stream(("point",))
    with pytest.raises(EbpflabError, match="exists already") as caught:
        stream.events.record(path)
    assert "overwrite=True" in caught.value.hint
    assert path.read_text() == "precious"
    running = stream.events.record(path, overwrite=True)
    with pytest.raises(EbpflabError, match="is being recorded"):
        stream.events.record(path)
    running.stop()
    stream.events.record(path, overwrite=True).stop()
    stream.close()
    assert Recording(path).rows == 0


def test_a_folder_that_no_recording_made_is_never_removed(path):
    path.mkdir()
    (path / "thesis.tex").write_text("years of work")
    (path / "part-00000.parquet").write_text("")
    with pytest.raises(EbpflabError, match=r"no recording made: thesis\.tex is in it"):
        Stream(("point",)).events.record(path, overwrite=True)
    assert (path / "thesis.tex").read_text() == "years of work"


def test_the_folder_of_a_killed_recording_is_replaced_when_asked(path):
    stream = Stream(("point",))
    recorder = stream.events.record(path)
    stream.send(*points((1, 2)))
    shutil.copytree(path, path.with_name("killed.parquet"))
    recorder.stop()
    stream.events.record(path.with_name("killed.parquet"), overwrite=True).stop()
    stream.close()
    assert replayed(path.with_name("killed.parquet"))["y"].tolist() == [2]


def test_a_folder_that_cannot_be_written_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EbpflabError, match="cannot be written"):
        Stream(("point",)).events.record(tmp_path / "file" / "opens.parquet")


def in_another_process(script, *arguments):
    code = f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]\n{textwrap.dedent(script)}"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_full_disk_ends_the_recording_with_one_error_and_keeps_the_parts(path):
    # A limit on the size of files is a full disk for this process alone.
    script = """
    import resource, signal, time
    from recorded import Stream, event_bytes
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    stream = Stream()
    recorder = stream.events.record(sys.argv[1])
    stream.send(*event_bytes(23))
    time.sleep(1.5)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    stream.send(*event_bytes(997))
    time.sleep(1.5)
    try:
        recorder.stop()
    except Exception as error:
        print(type(error).__name__, error)
    recorder.stop()
    print(recorder)
    """
    done = in_another_process(script, path)
    assert done.stdout.startswith(f"EbpflabError {path} cannot be written: "), done.stderr
    assert "<failed: " in done.stdout
    assert done.stdout.count("EbpflabError") == 1
    assert len(pd.read_parquet(path)) == len(replayed(path)) == 23


# The process is killed before one step of the many that touch the file system, and the path has to open after each.
KILLED = """
import os, pathlib, shutil, signal, time
import pandas  # here and not in every child
import pyarrow.parquet as pq
import ebpflab._syscalls as syscalls
from recorded import Stream, points
import ebpflab.recording.writer as writer
writer._PART_SECONDS = 0.02

def watched(function):
    def step(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return step

def run(path, slow):
    for owner, names in ((pathlib.Path, "rename mkdir unlink open"), (os, "rmdir fsync unlink"),
                         (syscalls, "exchange"), (pq.ParquetWriter, "__init__ write_table close")):
        for name in names.split():
            setattr(owner, name, watched(getattr(owner, name)))
    if slow:  # a filesystem that cannot exchange two names
        syscalls.exchange = watched(lambda one, other: (_ for _ in ()).throw(OSError(22, "no")))
    stream = Stream(("point",))
    recorder = stream.events.record(path)
    pathlib.Path(f"{path}.began").touch()
    for n in range(3):
        stream.send(*points((n, 0), (n, 1)))
        while recorder.rows < 2 * n + 2:
            time.sleep(0.001)
        time.sleep(0.02)
    stream.close()

for number in range(int(sys.argv[2]), 200):
    left = number
    child = os.fork()
    if not child:
        run(pathlib.Path(sys.argv[1]) / f"{number}.parquet", sys.argv[3] == "slow")
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        print(number)
        break
"""


@pytest.mark.parametrize("way", ["exchange", "slow"])
def test_a_kill_at_any_step_leaves_something_that_opens_and_has_no_gap(tmp_path, way):
    done = in_another_process(KILLED, tmp_path, 0, way)
    steps = int(done.stdout or -1)
    assert steps > 25, done.stderr
    rows = {}
    for step in range(steps + 1):
        path = tmp_path / f"{step}.parquet"
        if not path.exists() and not any(tmp_path.glob(f".{step}.parquet.parts")):
            rows[step] = -1
            continue
        frame = replayed(path)
        assert not len(frame) or frame["x"].tolist() == [n // 2 for n in range(len(frame))]
        assert len(frame) == Recording(path).rows
        if path.exists():
            assert len(pd.read_parquet(path)) == len(frame)
        rows[step] = len(frame)
    # Two rows are written at a time; how many steps that takes depends on how busy the machine is.
    assert set(rows.values()) <= {-1, 0, 2, 4, 6}
    assert rows[0] < rows[steps] == 6
    # Only before record() has returned may there be nothing at all.
    assert [step for step, count in rows.items() if count < 0 and (tmp_path / f"{step}.parquet.began").exists()] == []


def test_a_folder_of_more_parts_than_a_process_may_open_files_replays(path, monkeypatch):
    monkeypatch.setattr("ebpflab.recording.writer._PART_SECONDS", 0.002)
    stream = Stream(("point",))
    stream.events.record(path)
    for n in range(101):
        stream.send(*points((n, n)))
        while len(list(path.glob("part-*.parquet"))) < n + 2:  # the first is empty
            time.sleep(0.001)
    killed = path.with_name("killed.parquet")
    shutil.copytree(path, killed)
    stream.close()
    script = """
    import resource, ebpflab
    resource.setrlimit(resource.RLIMIT_NOFILE, (41, 41))
    with ebpflab.replay(sys.argv[1], speed=None) as session:
        print(session.events.df()["x"].tolist() == list(range(len(session.events))), len(session.events))
    """
    done = in_another_process(script, killed)
    assert done.stdout.split()[0] == "True", done.stderr
    assert done.stdout.split()[1] == "101"


def outcome(path):
    try:
        return replayed(path)
    except EbpflabError as error:
        return error


def test_a_file_cut_anywhere_is_refused(recording, tmp_path):
    whole = recording.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 101)):
        cut = tmp_path / "cut.parquet"
        cut.write_bytes(whole[:length])
        error = outcome(cut)
        assert isinstance(error, EbpflabError), length
        assert "cut.parquet is damaged" in str(error)


def test_a_file_with_a_wrong_byte_is_refused_or_read_as_it_was(recording, tmp_path):
    whole, expected = recording.read_bytes(), replayed(recording)
    rng = np.random.default_rng(7)
    refused = 0
    for place in rng.integers(0, len(whole), 211).tolist():
        spoilt = bytearray(whole)
        spoilt[place] ^= int(rng.integers(1, 256))
        path = tmp_path / "spoilt.parquet"
        path.write_bytes(bytes(spoilt))
        found = outcome(path)
        if isinstance(found, EbpflabError):
            refused += 1
        else:
            pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert refused > 23


def test_what_is_no_recording_is_named(tmp_path, recording):
    (tmp_path / "text.parquet").write_text("hello")
    (tmp_path / "empty").mkdir()
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    for name, words in {
        "none.parquet": "there is no recording",
        "text.parquet": "is damaged: it is no whole Parquet file",
        "empty": "without parts of a recording",
        "other.parquet": "is Parquet, but not a recording of ebpflab",
    }.items():
        with pytest.raises(EbpflabError, match=words) as caught:
            ebpflab.replay(tmp_path / name)
        assert caught.value.hint
        assert caught.value.stage == "replay"


def rewritten(path, to, change):
    table = pq.read_table(path)
    metadata = dict(table.schema.metadata)
    change(metadata)
    pq.write_table(table.replace_schema_metadata(metadata), to)
    return to


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update({b"ebpflab": m[b"ebpflab"].replace(b"libbpf", b"libbpg")}), "the checksum of ebpflab"),
        (lambda m: m.pop(b"ebpflab.btf"), "it has no ebpflab.btf"),
        (lambda m: m.pop(b"ebpflab.tally"), "it has no ebpflab.tally"),
        (lambda m: m.pop(b"ebpflab"), "not a recording of ebpflab"),
    ],
)
def test_metadata_that_were_tampered_with_are_refused(recording, tmp_path, change, words):
    with pytest.raises(EbpflabError, match=words):
        ebpflab.replay(rewritten(recording, tmp_path / "changed.parquet", change))


def test_a_recording_of_a_later_format_says_so(recording, tmp_path, monkeypatch):
    monkeypatch.setattr("ebpflab.recording.layout.FORMAT", 2)
    stream = Stream(("point",))
    stream.events.record(tmp_path / "later.parquet").stop()
    stream.close()
    monkeypatch.undo()
    with pytest.raises(EbpflabError, match=r"format 2, and this version of ebpflab reads format 1"):
        ebpflab.replay(tmp_path / "later.parquet")
