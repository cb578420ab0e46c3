"""The journal of what a dead process would leave, in a folder of the test's own; its owners are real processes."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ebpflab import journal
from ebpflab.errors import EbpflabError

ROOT = Path(__file__).parents[1]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root writes to /run")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The journal is here, whoever runs the tests."""
    monkeypatch.setattr(journal, "_RUN", tmp_path / "run" / "journal")
    monkeypatch.setenv("EBPFLAB_CACHE", str(tmp_path / "cache"))
    return journal._folder()


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".json")


def python(script, before=(), **options):
    """Another process whose journal is in the same folder."""
    head = "import os, pathlib, sys, time\nfrom ebpflab import journal\njournal._RUN = pathlib.Path(sys.argv[1])\n"
    command = [*before, sys.executable, "-c", head + textwrap.dedent(script), str(journal._RUN)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, **options)


def dead(**facts):
    """An entry of a process that was killed."""
    entry = f"journal.record('thing', **{facts!r})"
    process = python(f"{entry}\nprint('noted', flush=True)\ntime.sleep(60)")
    assert process.stdout.readline() == "noted\n"
    process.kill()
    process.wait()
    process.stdout.close()


def forge(folder, name="forged.json", **changes):
    """An entry as this process would write it, with some of it changed."""
    owner = journal.record("thing", number=7)
    content = {**json.loads(owner.path.read_text()), **changes}
    owner.done()
    (folder / name).write_text(json.dumps(content))
    return folder / name


def test_an_entry_says_who_wrote_it_and_what_is_to_be_undone(folder):
    entry = journal.record("thing", number=7, name="näme", many=[1, {"a": None}])
    content = json.loads(entry.path.read_text())
    assert content["kind"] == "thing"
    assert content["facts"] == {"number": 7, "name": "näme", "many": [1, {"a": None}]}
    owner = content["owner"]
    assert owner["boot"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert owner["pid"] == os.getpid()
    assert f"pid:[{owner['namespace']}]" == str(Path("/proc/self/ns/pid").readlink())
    # ps(1) of the same field: seconds since the process started.
    elapsed = int(subprocess.run(["ps", "-o", "etimes=", "-p", str(os.getpid())], capture_output=True).stdout)
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert uptime - owner["started"] / os.sysconf("SC_CLK_TCK") == pytest.approx(elapsed, abs=2)
    assert time.time() - content["time"] < 60


def test_nobody_else_can_read_or_change_it(folder):
    entry = journal.record("thing")
    assert (entry.path.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)


def test_update_and_done_change_the_file_and_leave_no_other(folder):
    entry = journal.record("thing", number=7)
    entry.update(handle=11)
    assert json.loads(entry.path.read_text())["facts"] == entry.facts == {"number": 7, "handle": 11}
    assert len(list(folder.iterdir())) == 1
    entry.done()
    entry.done()
    assert list(folder.iterdir()) == []


def test_what_cannot_be_written_down_is_refused_before_it_is_made(folder, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal.cache, "write", full)
    with pytest.raises(EbpflabError, match="No space left on device") as caught:
        journal.record("thing")
    assert str(folder) in str(caught.value)
    assert caught.value.stage == "attach"
    with pytest.raises(TypeError):
        journal.record("thing", number=object())


@as_root
def test_where_run_is_not_private_the_cache_takes_its_place(folder, tmp_path):
    journal._RUN.chmod(0o777)
    entry = journal.record("thing", number=7)
    assert entry.path.parent == tmp_path / "cache" / "journal"
    assert [found.facts for found in journal.entries()] == [{"number": 7}]


def test_an_entry_of_a_living_process_is_left_alone(folder):
    entry = journal.record("thing", number=7)
    other = python("journal.record('thing', number=11)\nprint('noted', flush=True)\ntime.sleep(60)")
    assert other.stdout.readline() == "noted\n"
    assert list(journal.orphans()) == []
    assert journal.reap({"thing": pytest.fail}) == []
    assert [found.facts["number"] for found in journal.entries()] == [7, 11]
    assert all(found.owner.alive for found in journal.entries())
    other.kill()
    # A zombie is dead: nobody has waited for it yet.
    assert Path(f"/proc/{other.pid}/stat").exists()
    deadline = time.monotonic() + 20
    while not list(journal.orphans()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [orphan.facts for orphan in journal.orphans()] == [{"number": 11}]
    other.wait()
    other.stdout.close()
    assert entry.path.exists()


def test_what_a_killed_process_left_is_undone_once(folder):
    dead(number=7)
    undone = []
    assert journal.reap({"thing": undone.append}) == [journal.Reaped("thing", {"number": 7})]
    assert journal.reap({"thing": undone.append}) == []
    assert undone == [{"number": 7}]
    assert files(folder) == []


def test_a_process_number_that_serves_again_is_not_its_former_owner(folder):
    mine = json.loads(forge(folder).read_text())["owner"]
    forge(folder, owner={**mine, "started": mine["started"] - 1})
    assert [orphan.facts for orphan in journal.orphans()] == [{"number": 7}]


def test_an_entry_of_an_earlier_boot_goes_without_being_undone(folder):
    owner = json.loads(forge(folder).read_text())["owner"]
    forge(folder, owner={**owner, "boot": str(uuid.uuid4())})
    assert journal.reap({"thing": pytest.fail}) == []
    assert files(folder) == []


def unshared(script):
    """As `python`, as process 1 of a PID namespace below ours."""
    return python(script, before=["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"])


@as_root
def test_an_owner_in_a_pid_namespace_of_its_own_is_seen(folder):
    other = unshared("journal.record('thing', number=7)\nprint(os.getpid(), flush=True)\ntime.sleep(60)")
    assert other.stdout.readline() == "1\n"
    (entry,) = journal.entries()
    assert (entry.owner.pid, entry.owner.alive) == (1, True)
    assert list(journal.orphans()) == []
    other.kill()
    other.wait()
    other.stdout.close()
    deadline = time.monotonic() + 20
    while not list(journal.orphans()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [orphan.facts for orphan in journal.orphans()] == [{"number": 7}]


@as_root
def test_who_does_not_see_the_owners_namespace_leaves_its_entry_alone(folder):
    dead(number=7)
    other = unshared("print(len(journal.entries()), list(journal.orphans()))")
    assert other.communicate(timeout=60)[0] == "1 []\n"
    assert len(list(journal.orphans())) == 1


def test_a_forked_child_neither_undoes_nor_removes_what_its_parent_made(folder):
    entry = journal.record("thing", number=7)
    child = os.fork()
    if not child:
        status = 0 if not entry.ours else 1
        with contextlib.suppress(BaseException):
            entry.update(number=11)
            entry.done()
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert entry.ours
    assert json.loads(entry.path.read_text())["facts"] == {"number": 7}
    assert list(journal.orphans()) == []


def test_what_cannot_be_undone_stays_and_is_told(folder):
    dead(number=7)

    def fails(facts):
        raise OSError(16, "Device or resource busy")

    (reaped,) = journal.reap({"thing": fails})
    assert "Device or resource busy" in reaped.warning
    (reaped,) = journal.reap({})
    assert "cannot undo a 'thing'" in reaped.warning
    (reaped,) = journal.reap({"thing": lambda facts: None})
    assert (reaped.warning, files(folder)) == ("", [])


def test_one_that_cannot_be_undone_does_not_keep_the_others(folder):
    for number in range(3):
        dead(number=number)
    undone = []

    def sometimes(facts):
        if facts["number"] == 1:
            raise ZeroDivisionError
        undone.append(facts["number"])

    assert [bool(one.warning) for one in journal.reap({"thing": sometimes})] == [False, True, False]
    assert (undone, len(files(folder))) == ([0, 2], 1)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", "7", '"a"', "{}", "\udcff", "[" * 10**5),
        *('{"format": 2}', '{"format": 1, "kind": "thing"}', '{"format": 1, "kind": "thing", "facts": 7}'),
    ],
)
def test_a_file_that_is_no_entry_is_set_aside(text, folder):
    (folder / "broken.json").write_text(text, errors="surrogateescape")
    dead(number=7)
    first, second = journal.reap({"thing": lambda facts: None})
    assert "no entry of the journal" in first.warning
    assert second == journal.Reaped("thing", {"number": 7})
    assert (folder / "broken.broken").exists()
    assert journal.reap({}) == []


TEXT = st.text("a1.-\0\ud800\n", max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)
NAMES = ("format", "kind", "facts", "owner", "time", "boot", "namespace", "pid", "started")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(change=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=3))
def test_no_content_of_a_file_keeps_anybody_from_starting(change, folder):
    owner = {"boot": journal._boot(), "namespace": journal._namespace("self"), "pid": 1, "started": 1}
    content = {"format": 1, "kind": "thing", "facts": {}, "time": 1.0, "owner": owner} | change
    content["owner"] = owner | change if isinstance(content["owner"], dict) else content["owner"]
    path = folder / "odd.json"
    path.write_text(json.dumps(content))
    for one in journal.reap({"thing": lambda facts: None}):
        assert isinstance(one.warning, str)
    for left in folder.iterdir():
        left.unlink()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_set_aside_too(make, folder):
    make(folder / "odd.json")
    (reaped,) = journal.reap({})
    assert "no entry of the journal" in reaped.warning
    assert files(folder) == []


def test_a_write_that_was_cut_short_is_no_entry_and_goes_in_time(folder):
    cut, recent = folder / ".1-2.json.abc", folder / ".3-4.json.def"
    for path in (cut, recent):
        path.write_text("{")
    os.utime(cut, (time.time() - 3600,) * 2)
    dead(number=7)
    assert journal.reap({"thing": lambda facts: None}) == [journal.Reaped("thing", {"number": 7})]
    assert (cut.exists(), recent.exists()) == (False, True)


def test_two_that_start_at_once_undo_each_thing_once(folder):
    for number in range(5):
        dead(number=number)
    script = """
        def undo(facts):
            time.sleep(0.05)
            print(facts["number"], flush=True)
        sys.stdin.readline()
        assert not any(one.warning for one in journal.reap({"thing": undo}))
    """
    processes = [python(script, stdin=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(number for numbers in told for number in numbers) == ["0", "1", "2", "3", "4"]
    assert files(folder) == []


def test_a_start_does_not_wait_for_ever_for_another(folder, monkeypatch):
    dead(number=7)
    monkeypatch.setattr(journal, "_LOCK_WAIT", 0.1)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (reaped,) = journal.reap({"thing": pytest.fail})
    assert "another process" in reaped.warning
    assert len(files(folder)) == 1


def test_threads_write_entries_of_their_own(folder):
    threads = [threading.Thread(target=lambda: [journal.record("thing").done() for _ in range(23)]) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(folder.iterdir()) == []


def test_a_folder_that_vanishes_is_no_error(folder):
    folder.rmdir()
    assert journal.reap({}) == []
    assert journal.entries() == []


def test_looking_at_an_empty_journal_takes_no_time(folder):
    journal.reap({})
    begin = time.perf_counter()
    for _ in range(100):
        journal.reap({})
    assert (time.perf_counter() - begin) / 100 < 0.002  # seconds; 0.05 ms on a quiet machine


def test_a_process_that_is_killed_while_it_writes_leaves_whole_entries(folder):
    script = """
        entry = journal.record("thing", number=0, long="")
        print(flush=True)
        while True:
            entry.update(number=entry.facts["number"] + 1, long="x" * 10000)
    """
    process = python(script)
    process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (reaped,) = journal.reap({"thing": lambda facts: None})
    assert (reaped.kind, reaped.warning) == ("thing", "")
    assert len(reaped.facts["long"]) == 10000


def test_every_kind_that_is_written_down_can_be_undone():
    from ebpflab.engines.attach import reap

    sources = (ROOT / "ebpflab").rglob("*.py")
    kinds = {kind for source in sources for kind in re.findall(r'journal\.record\(\s*"(\w+)"', source.read_text())}
    assert "route" in kinds
    assert kinds == reap._UNDO.keys()
    for module, function in reap._UNDO.values():
        assert callable(getattr(importlib.import_module(f"ebpflab.engines.attach.{module}"), function))
