"""Iterators: what they list is what /proc, the cgroup filesystem and the test itself know."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import cells
import pytest
from cells_tracing import CELLS

from ebpflab.errors import AttachError, CellError, DecodeError, HookNotFoundError, KernelSupportError, SessionError

CHILDREN, ELEMENTS = 5, 97
NOBODY = 0x3FFFFFFF  # above the highest pid_max

pytestmark = pytest.mark.hook("iter")


@pytest.fixture
def children():
    """Processes that do nothing; their parent is a shell, and has no other children."""
    script = "for i in 1 2 3 4 5; do sleep 600 & done; echo started; wait"
    shell = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
    assert shell.stdout.readline() == "started\n"
    cells.wait_until(lambda: {comm(pid) for pid in children_of(shell.pid)} == {"sleep"}, timeout=60)
    pids = children_of(shell.pid)
    assert len(pids) == CHILDREN
    yield shell.pid, pids
    for pid in [*pids, shell.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shell.communicate(timeout=60)


def children_of(pid):
    return [child for path in Path("/proc").glob("[0-9]*") if parent(child := int(path.name)) == pid]


def stat(pid):
    # proc(5): the name is in parentheses and may hold any character; the parent is field 4, the start field 22.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return ["", "0"]


def parent(pid):
    return int(stat(pid)[1])


def comm(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
    return ""


def test_text_is_a_line_for_each_process_that_proc_has(load, children):
    shell, pids = children
    session = load(CELLS["iterators"], vars={"parent": shell})
    lines = session.iterate("table").splitlines()
    assert lines[0] == "pid parent comm"
    assert sorted(lines[1:]) == sorted(f"{pid} {shell} sleep" for pid in pids)


def test_a_table_becomes_a_frame_with_numbers_where_all_are(load, children):
    shell, pids = children
    frame = load(CELLS["iterators"], vars={"parent": shell}).iterate_df("table")
    assert frame.columns.tolist() == ["pid", "parent", "comm"]
    assert sorted(frame["pid"]) == sorted(pids)
    assert frame["parent"].tolist() == [shell] * CHILDREN
    assert frame["comm"].tolist() == ["sleep"] * CHILDREN
    assert [frame[name].dtype.kind for name in frame] == ["i", "i", "O"]


@pytest.mark.parametrize("events", [{}, {"records": "row"}])
def test_records_become_a_frame_like_those_of_a_stream(load, children, events):
    shell, pids = children
    frame = load(CELLS["iterators"], vars={"parent": shell}, events=events).iterate_df("records")
    assert frame.columns.tolist() == ["pid", "parent", "comm", "started"]
    assert sorted(frame["pid"]) == sorted(pids)
    assert frame["parent"].tolist() == [shell] * CHILDREN
    assert frame["comm"].tolist() == ["sleep"] * CHILDREN
    # proc(5) counts from the start of the machine, in ticks, sleep included; the kernel's field does not count it.
    uptime = time.clock_gettime(time.CLOCK_MONOTONIC)
    for pid, started in zip(frame["pid"], frame["started"], strict=True):
        ago = uptime - int(stat(pid)[19]) / os.sysconf("SC_CLK_TCK")
        assert abs(time.time() - started.timestamp() - ago) < 1


def test_each_run_lists_what_is_there_then(load, children):
    shell, pids = children
    session = load(CELLS["iterators"], vars={"parent": shell})
    os.kill(pids[0], signal.SIGKILL)
    cells.wait_until(lambda: parent(pids[0]) != shell, timeout=60)
    assert sorted(session.iterate_df("records")["pid"]) == sorted(pids[1:])
    session.detach()
    with pytest.raises(SessionError, match="no attached iterator"):
        session.iterate("records")


def test_no_rows_are_an_empty_frame_with_the_same_columns(load):
    session = load(CELLS["iterators"], vars={"parent": NOBODY})
    assert session.iterate_df("records").columns.tolist() == ["pid", "parent", "comm", "started"]
    assert session.iterate_df("table").columns.tolist() == ["pid", "parent", "comm"]
    assert len(session.iterate_df("records")) == len(session.iterate_df("table")) == 0


def test_the_elements_of_a_map_are_all_visited(load):
    session = load(CELLS["iterator of a map"], attach=False)
    for _ in range(ELEMENTS):
        assert session.test_run("add", data=bytes(64)).retval == 0
    session.attach("elements", map="squares")
    assert session.links[["hook", "target"]].values.tolist() == [["iter", "bpf_map_elem,map=squares"]]
    frame = session.iterate_df(names=["key", "square"])
    assert sorted(frame["key"]) == [7 * i for i in range(ELEMENTS)]
    assert (frame["square"] == frame["key"] ** 2).all()


def test_an_iterator_of_one_process_lists_its_threads(load):
    session = load(CELLS["iterator of threads"], attach=False)
    if not knows("bpf_iter_attach_task"):
        with pytest.raises(KernelSupportError, match="to one process") as caught:
            session.attach(pid=os.getpid())
        assert "6.1" in caught.value.hint
        return
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        session.attach(pid=os.getpid())
        frame = session.iterate_df(names=["process", "thread"])
        assert set(frame["process"]) == {os.getpid()}
        assert sorted(frame["thread"]) == sorted(int(p.name) for p in Path("/proc/self/task").iterdir())
        assert {thread.native_id for thread in threads} < set(frame["thread"])
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_an_iterator_of_cgroups_starts_where_it_is_told(load):
    if not knows("bpf_iter_cgroup"):
        pytest.skip("not in this kernel: iter/cgroup came with Linux 6.1")
    top = cgroup2() / f"ebpflab-test-{os.getpid()}"
    made = [top, top / "a", top / "a" / "b", top / "c", top / "d"]
    session = load(CELLS["iterator of cgroups"], attach=False)
    try:
        for folder in made:
            folder.mkdir()
        session.attach(cgroup=str(top))
        assert sorted(map(int, session.iterate().split())) == sorted(folder.stat().st_ino for folder in made)
        session.detach()
        session.attach()
        everything = set(map(int, session.iterate().split()))
        assert everything >= {folder.stat().st_ino for folder in made} | {cgroup2().stat().st_ino}
    finally:
        session.close()
        for folder in reversed(made):
            with contextlib.suppress(FileNotFoundError):
                folder.rmdir()


@pytest.mark.parametrize(
    ("cell", "program", "target", "error", "what", "hint"),
    [
        ("iterator of a map", "elements", "bpf_map_elem", AttachError, "visits a map", "map=NAME"),
        ("iterator of a map", "elements", "bpf_map_elem,map=sqares", AttachError, "no map of that name", "same cell"),
        ("iterator of threads", "threads", f"task,pid={NOBODY}", AttachError, f"no process {NOBODY}", "pid="),
        ("iterator of threads", "threads", "task,map=squares", AttachError, "takes no map=", "iter/bpf_map_elem"),
        ("iterator of threads", "threads", "task,cgroup=/", AttachError, "takes no cgroup=", "iter/cgroup"),
        ("iterator of threads", "threads", "task,pdi=1", AttachError, "no option 'pdi'", "pid"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_there(load, cell, program, target, error, what, hint):
    session = load(CELLS[cell], attach=False)
    with pytest.raises(error, match=what) as caught:
        session.attach(program, target=target)
    assert hint in caught.value.hint
    assert session.links.empty


def test_a_cgroup_that_is_not_there_is_named(load):
    if not knows("bpf_iter_cgroup"):
        pytest.skip("not in this kernel: iter/cgroup came with Linux 6.1")
    session = load(CELLS["iterator of cgroups"], attach=False)
    with pytest.raises(HookNotFoundError, match="no cgroup is called '/nosuchgroup'"):
        session.attach(cgroup="/nosuchgroup")


def test_the_struct_of_rows_has_to_be_named_when_there_are_several(load):
    with pytest.raises(DecodeError, match="struct one, struct two: which one does rows write") as caught:
        load(CELLS["two structs"]).iterate_df()
    assert "--event rows=STRUCT" in caught.value.hint
    frame = load(CELLS["two structs"], events={"rows": "one"}).iterate_df()
    assert frame.columns.tolist() == ["x"]


def test_output_that_is_no_whole_number_of_rows_is_refused(load):
    session = load(CELLS["half a row"])
    assert len(session.iterate()) == 4
    with pytest.raises(DecodeError, match="wrote 4 bytes, which is no whole number of struct row") as caught:
        session.iterate_df()
    assert "sizeof(struct row)" in caught.value.hint


@pytest.mark.parametrize(
    ("events", "what", "hint"),
    [
        ({"records": "rwo"}, "no struct rwo", "row"),
        ({"recrods": "row"}, "no ring buffer of that name, and no iterator", "records"),
        ({"records": "row:pid=1"}, "one type, and no tag", "--event records=row"),
    ],
)
def test_a_wrong_struct_is_refused_when_the_cell_is_loaded(load, events, what, hint):
    with pytest.raises(CellError, match=what) as caught:
        load(CELLS["iterators"], events=events)
    assert hint in caught.value.hint


def test_which_of_several_iterators_has_to_be_said(load):
    session = load(CELLS["iterators"])
    with pytest.raises(SessionError, match="2 iterators") as caught:
        session.iterate()
    assert "records, table" in caught.value.hint
    session.close()
    with pytest.raises(SessionError, match="closed"):
        session.iterate("table")


def knows(function):
    return f" {function}\n" in Path("/proc/kallsyms").read_text()


def cgroup2():
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return next(Path(where) for _, where, kind, *_ in lines if kind == "cgroup2")
