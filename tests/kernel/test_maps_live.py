"""Hash tables and arrays on the running kernel, against bpftool's dump of the same maps."""

from __future__ import annotations

import errno
import struct
import threading
import time

import bpftool
import kernel_has
import numpy as np
import pandas as pd
import pytest
from cells_maps import TABLES

import ebpflab
from ebpflab.errors import EbpflabError, MapError, SessionError
from ebpflab.maps import BpfMap, _entries

needs_bpftool = pytest.mark.skipif(bpftool.BPFTOOL is None, reason="bpftool is not installed")
STATS = struct.Struct("<Qi16sI3H2x")  # struct stats of the cell, with its padding


@pytest.fixture
def session(load):
    if reason := kernel_has.absent("syscall"):
        pytest.skip(f"not in this kernel: {reason}")
    return load(TABLES, attach=False)


def fill(session, wanted, program="fill"):
    session.vars["wanted"] = wanted
    assert session.test_run(program).retval == 0


# --- Against bpftool -------------------------------------------------------------------------------------


@needs_bpftool
def test_a_hash_table_is_what_bpftool_dumps(session):
    fill(session, 1009)
    counts = session.maps["counts"]
    dumped = {struct.unpack("<I", k)[0]: struct.unpack("<Q", v)[0] for k, v in bpftool.dump(counts)}
    assert dict(counts.items()) == dumped == {7 * i: i * i for i in range(1009)}
    frame = counts.df()
    assert dict(zip(frame["key"].tolist(), frame["value"].tolist(), strict=True)) == dumped
    assert (frame["key"].dtype, frame["value"].dtype, len(counts)) == (np.uint32, np.uint64, 1009)
    assert set(counts) == set(dumped)
    assert sorted(counts.values()) == sorted(dumped.values())
    assert frame.attrs == {"map": "counts", "key": ["key"], "complete": True}


@needs_bpftool
@pytest.mark.parametrize("name", ["tasks", "by_cpu", "recent", "recent_by_cpu"])
def test_structs_and_values_of_each_cpu_are_what_bpftool_dumps(session, name):
    fill(session, 23, "fill_others")
    found = session.maps[name]
    key = struct.Struct("<IBxxx" if name == "tasks" else "<I")
    value = STATS if name in ("tasks", "by_cpu") else struct.Struct("<Q")

    def plain(raw):
        parts = [p.rstrip(b"\0").decode() if isinstance(p, bytes) else p for p in value.unpack(raw)]
        return (*parts[:4], tuple(parts[4:])) if value is STATS else parts[0]

    def plain_key(raw):
        return key.unpack(raw) if name == "tasks" else key.unpack(raw)[0]

    dumped = {
        plain_key(k): [plain(cpu) for cpu in v] if isinstance(v, list) else plain(v) for k, v in bpftool.dump(found)
    }
    assert len(dumped) == 23
    assert dict(found.items()) == dumped
    assert {k: found[k] for k in dumped} == dumped


@needs_bpftool
def test_fields_are_called_as_bpftool_calls_them(session):
    fill(session, 5, "fill_others")
    for key, value in bpftool.formatted(session.maps["tasks"]):
        found = session.maps["tasks"][key]
        assert (found.count, found.low, list(found.ports)) == (value["count"], value["low"], value["ports"])
        assert found.mode.name == value["mode"]


@needs_bpftool
def test_what_python_writes_is_what_bpftool_dumps(session):
    tasks, table, hits = session.maps["tasks"], session.maps["slots10"], session.maps["hits"]
    tasks[{"pid": 17, "cpu": 3}] = {"count": 5, "low": -1, "comm": "bash", "mode": "ON", "ports": [1, 2, 3]}
    tasks[np.uint32(19), np.uint8(3)] = (7, -2, b"zsh", 0, np.array([4, 5, 6]))
    expected = [STATS.pack(5, -1, b"bash", 3, 1, 2, 3), STATS.pack(7, -2, b"zsh", 0, 4, 5, 6)]
    assert dict(bpftool.dump(tasks)) == {
        struct.pack("<IBxxx", 17, 3): expected[0],
        struct.pack("<IBxxx", 19, 3): expected[1],
    }
    table[3] = tasks[17, 3]
    assert bpftool.dump(table)[3][1] == expected[0]
    hits[2] = [11 + cpu for cpu in range(hits._facts.cpus)]
    assert bpftool.dump(hits)[2][1] == [struct.pack("<I", 11 + cpu) for cpu in range(hits._facts.cpus)]


@needs_bpftool
def test_untyped_maps_have_bytes(session):
    untyped = session.maps["untyped"]
    untyped[b"abcdef"] = b"xy"
    assert bpftool.dump(untyped) == [(b"abcdef", b"xy")] == list(untyped.items())
    assert (untyped.key_type, untyped.value_type) == ("6 bytes", "2 bytes")
    with pytest.raises(MapError, match="b'abc' is not 6 bytes"):
        untyped[b"abc"]


# --- A mapping ---------------------------------------------------------------------------------------------


def test_entries_are_added_changed_deleted_and_taken(session):
    small = session.maps["small"]
    small.update({"a": 1, "b": 2}, c=3)
    assert dict(small) == {"a": 1, "b": 2, "c": 3}
    small["a"] = 5
    del small["b"]
    assert small.pop("c") == 3
    assert small.pop("c", None) is None
    assert ("a" in small, "b" in small, small.get("b"), len(small)) == (True, False, None, 1)
    for refused in (lambda: small["b"], lambda: small.__delitem__("b"), lambda: small.pop("b")):
        with pytest.raises(KeyError, match="small has no entry 'b'"):
            refused()
    assert small.setdefault("a", 9) == 5
    small.clear()
    assert (len(small), list(small), small.df().empty) == (0, [], True)
    assert list(small.df().columns) == ["key", "value"]


def test_a_frame_is_written_back_as_it_was(session):
    fill(session, 23, "fill_others")
    tasks = session.maps["tasks"]
    frame = tasks.df().sort_values("pid", ignore_index=True)
    assert frame["comm"].tolist() == [chr(ord("a") + i) for i in range(23)]
    assert frame["mode"].tolist() == ["ON" if i % 2 else "OFF" for i in range(23)]
    tasks.clear()
    tasks.update(frame[frame["pid"] > 3])
    again = tasks.df().sort_values("pid", ignore_index=True)
    pd.testing.assert_frame_equal(
        again, frame[frame["pid"] > 3].reset_index(drop=True), check_categorical=False, check_flags=False
    )
    with pytest.raises(MapError, match="are no entries of this map") as caught:
        tasks.update(pd.DataFrame({"pid": [1], "cout": [2]}))
    assert "pid, cpu, count" in caught.value.hint


def test_values_of_cpus_are_summed_or_spread(session):
    fill(session, 23, "fill_others")
    by_cpu = session.maps["by_cpu"]
    with pytest.raises(MapError, match="is not a value for each of") as caught:
        by_cpu[0] = {"count": 1}
    assert "[v] *" in caught.value.hint
    cpus = len(by_cpu[0])
    by_cpu[1] = [{"count": cpu + 1, "low": -cpu, "comm": "x" * cpu, "mode": "ON"} for cpu in range(cpus)]
    summed = by_cpu.sum(1)
    assert (summed.count, summed.low, summed.mode) == (cpus * (cpus + 1) // 2, -(cpus * (cpus - 1) // 2), 3)
    frame = by_cpu.df().set_index("key")
    assert (frame.loc[1, "count"], frame.loc[1, "low"]) == (summed.count, summed.low)
    assert frame["count"].sum() == summed.count + 3 * sum(i for i in range(23) if i != 1)
    spread = by_cpu.df(per_cpu=True)
    assert len(spread) == 23 * cpus
    one = spread[spread["key"] == 1]
    assert (one["cpu"].tolist(), one["count"].tolist()) == (list(range(cpus)), [c + 1 for c in range(cpus)])


def test_a_counter_on_each_cpu_adds_up_to_the_runs(session):
    for _ in range(13):
        session.test_run("hit")
    hits = session.maps["hits"]
    assert (sum(hits[0]), hits.sum(0), hits.df()["value"].tolist()) == (13, 13, [13, 0, 0])
    hits.clear()
    assert hits.df()["value"].tolist() == [0, 0, 0]


def test_full_missing_sealed_and_foreign_are_refused_with_a_reason(session):
    small, table, sealed = session.maps["small"], session.maps["slots10"], session.maps["sealed"]
    small.update({"a": 1, "b": 2, "c": 3})
    with pytest.raises(MapError, match="small is full: it takes 3 entries") as caught:
        small["d"] = 4
    assert caught.value.errno == errno.E2BIG
    assert "max_entries" in caught.value.hint
    with pytest.raises(MapError, match="300 does not fit into __u8"):
        small["a"] = 300
    with pytest.raises(KeyError, match="slots10 has entries 0 to 9, and no 10"):
        table[10]
    with pytest.raises(MapError, match="slots10 has 10 entries"):
        table[10] = {}
    with pytest.raises(MapError, match="array map slots10 cannot delete entries: its entries are always there"):
        del table[1]
    with pytest.raises(MapError, match="made with BPF_F_RDONLY: only programs write it"):
        sealed[0] = 1
    with pytest.raises(KeyError, match="no map 'cuonts'; did you mean counts"):
        session.maps["cuonts"]
    assert small["a"] == 1


@needs_bpftool
def test_a_frozen_map_says_that_it_is_frozen(session):
    table = session.maps["slots10"]
    bpftool.run("map", "freeze", "id", bpftool.map_id(table.fd))
    with pytest.raises(MapError, match="slots10 is frozen") as caught:
        table[0] = {"count": 1}
    assert caught.value.errno == errno.EPERM
    assert table[0].count == 0


def test_a_key_with_padding_that_a_program_left_as_it_was_is_explained(session):
    tasks = session.maps["tasks"]
    tasks[struct.pack("<IB3s", 17, 3, b"xyz")] = {"count": 5}
    with pytest.raises(KeyError, match="struct pair has 3 bytes of padding"):
        tasks[17, 3]
    assert dict(tasks.items()) == {(17, 3): (5, 0, "", 0, (0, 0, 0))}
    tasks.clear()
    assert len(tasks) == 0


# --- While programs run --------------------------------------------------------------------------------------


def test_100003_entries_come_in_batches_faster_than_key_by_key(session):
    fill(session, 100_003)
    counts = session.maps["counts"]

    def seconds(batched):
        begin = time.perf_counter()
        entries = _entries.read(counts._facts, counts._fd, batched=batched)
        assert len(entries.keys) == 100_003
        return time.perf_counter() - begin

    ratio = seconds(batched=False) / min(seconds(batched=True) for _ in range(3))
    print(f"batches are {ratio:.0f} times as fast as a walk from key to key")
    assert ratio > 3
    frame = counts.df()
    keys = np.sort(frame["key"].to_numpy())
    assert (keys == 7 * np.arange(100_003, dtype=np.uint32)).all()
    assert (frame["value"].to_numpy() == (frame["key"].to_numpy().astype(np.uint64) // 7) ** 2).all()


@pytest.mark.parametrize("batched", [True, False])
def test_entries_that_stay_are_all_there_while_others_come_and_go(session, batched):
    fill(session, 503)
    counts = session.maps["counts"]
    session.vars["wanted"] = 5003
    done = threading.Event()
    churning = threading.Thread(target=lambda: [session.test_run("churn") for _ in range(37)] and done.set())
    churning.start()
    reads = 0
    while not done.is_set():
        keys = _entries.read(counts._facts, counts._fd, batched=batched).keys.view("<u4")[:, 0]
        assert len(set(keys.tolist())) == len(keys)
        assert set(range(0, 7 * 503, 7)) <= set(keys.tolist())
        reads += 1
    churning.join()
    assert reads > 0
    assert len(counts) == 503


def test_many_threads_read_while_the_session_closes(session):
    fill(session, 10_007)
    counts, ends = session.maps["counts"], []

    def read():
        try:
            while True:
                assert len(counts.df()) == 10_007
                assert counts[7] == 1
        except EbpflabError as error:
            ends.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    frame = counts.df()
    session.close()
    for thread in threads:
        thread.join(timeout=10)
    assert [type(end) for end in ends] == [SessionError] * 3
    assert len(frame) == 10_007
    for use in (counts.df, lambda: counts[7], lambda: counts.__setitem__(7, 1), lambda: len(counts), lambda: counts.fd):
        with pytest.raises(SessionError, match="counts: the session is closed"):
            use()
    assert "the session is closed" in repr(counts)


# --- How they look ---------------------------------------------------------------------------------------------


def test_maps_and_their_entries_are_shown_in_text_and_html(session):
    fill(session, 3, "fill_others")
    listed = repr(session.maps)
    assert "tasks" in listed
    assert "struct pair" in listed
    assert "RDONLY" in listed
    shown = repr(session.maps["tasks"])
    assert shown.startswith("tasks [hash] struct pair -> struct stats, up to 1,024 entries")
    assert "pair(pid=2, cpu=1)" in shown
    html = session.maps["tasks"]._repr_html_()
    assert "pair(pid=2, cpu=1)" in html
    assert "<table>" in session.maps._repr_html_()
    session.maps["small"]["<b>"] = 1
    assert "<b>'" not in session.maps["small"]._repr_html_()


def test_sections_of_variables_are_not_among_the_maps(session):
    assert set(session.maps) == {
        *("counts", "tasks", "recent", "slots10", "hits", "by_cpu", "recent_by_cpu", "small", "untyped", "sealed"),
    }
    assert all(isinstance(found, BpfMap) for found in session.maps.values())
    assert ebpflab.sessions()
