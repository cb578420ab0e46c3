"""Maps that are no tables: tries, queues, filters, maps of maps, programs, sockets, storages, stacks."""

from __future__ import annotations

import itertools
import os
import socket
import struct
from pathlib import Path

import bpftool
import kernel_has
import numpy as np
import pandas as pd
import pytest
from cells_maps import OTHERS, connection

from ebpflab.errors import MapError

needs_bpftool = pytest.mark.skipif(bpftool.BPFTOOL is None, reason="bpftool is not installed")
SO_REUSEPORT, SO_COOKIE = 15, 57  # include/uapi/asm-generic/socket.h


@pytest.fixture
def session(load):
    if reason := kernel_has.absent("syscall"):
        pytest.skip(f"not in this kernel: {reason}")
    return load(OTHERS, attach=False)


@pytest.fixture
def connected():
    with connection() as both_ends:
        yield both_ends


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def cookie(of):
    return struct.unpack("=Q", of.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0]


# --- Tries ---------------------------------------------------------------------------------------------------


@needs_bpftool
def test_a_trie_of_addresses_has_prefixes_as_text_and_finds_the_longest(session):
    prefixes = session.maps["prefixes"]
    prefixes.update(
        {"10.0.0.0/8": 8, "10.1.0.0/16": 16, (24, bytes([10, 1, 2, 0])): 24, "192.168.0.7": 32, "0.0.0.0/0": 0}
    )
    dumped = {struct.unpack("<I4s", k): struct.unpack("<I", v)[0] for k, v in bpftool.dump(prefixes)}
    assert dumped == {
        (8, bytes([10, 0, 0, 0])): 8,
        (16, bytes([10, 1, 0, 0])): 16,
        (24, bytes([10, 1, 2, 0])): 24,
        (32, bytes([192, 168, 0, 7])): 32,
        (0, bytes(4)): 0,
    }
    expected = {"10.0.0.0/8": 8, "10.1.0.0/16": 16, "10.1.2.0/24": 24, "192.168.0.7/32": 32, "0.0.0.0/0": 0}
    assert dict(prefixes.items()) == expected
    assert dict(prefixes.df().itertuples(index=False, name=None)) == expected
    assert [prefixes[a] for a in ("10.1.2.3", "10.1.3.1", "10.9.9.9", "11.0.0.1")] == [24, 16, 8, 0]
    del prefixes["0.0.0.0/0"]
    assert "11.0.0.1" not in prefixes
    session.maps["prefixes6"]["fe80::/10"] = 10
    assert session.maps["prefixes6"]["fe80::17"] == 10
    with pytest.raises(MapError, match=r"'10\.0\.0\.0/33' is no struct prefix"):
        prefixes["10.0.0.0/33"]
    with pytest.raises(MapError, match="prefixes is full: it takes 16 entries"):
        prefixes.update({f"10.9.{i}.0/24": i for i in range(17)})
    prefixes.clear()
    assert len(prefixes) == 0


def test_a_trie_of_other_things_has_records(session):
    routes = session.maps["routes"]
    routes[{"prefixlen": 40, "table": 7, "address": 10}] = 3
    assert dict(routes.items()) == {(40, 7, 10): 3}
    assert routes.df().to_dict("records") == [{"prefixlen": 40, "table": 7, "address": 10, "value": 3}]


# --- Without keys ----------------------------------------------------------------------------------------------


def test_a_queue_gives_the_oldest_first_and_a_stack_the_newest(session):
    assert session.test_run("enqueue", data=bytes(64)).retval == 0
    waiting, undone = session.maps["waiting"], session.maps["undone"]
    waiting.push({"count": 19, "low": -2})
    assert waiting.peek() == (17, -1)
    assert [waiting.pop(), waiting.pop()] == [{"count": 17, "low": -1}, {"count": 19, "low": -2}]
    for empty in (waiting.pop, waiting.peek):
        with pytest.raises(IndexError, match="waiting is empty"):
            empty()
    for number in (2, 3, 5, 7):
        undone.push(number)
    with pytest.raises(MapError, match="undone is full: it takes 5") as caught:
        undone.push(11)
    assert "force=True" in caught.value.hint
    undone.push(11, force=True)  # the oldest, which a program put there, goes
    assert [undone.pop() for _ in range(5)] == [11, 7, 5, 3, 2]
    undone.push(13)
    undone.clear()
    with pytest.raises(IndexError):
        undone.peek()
    assert waiting
    for refused in (lambda: len(waiting), lambda: waiting[0], waiting.df, lambda: waiting.__setitem__(0, 1)):
        with pytest.raises(MapError, match="the queue map waiting cannot"):
            refused()


def test_a_bloom_filter_never_misses_what_was_added(session):
    session.test_run("enqueue", data=bytes(64))
    seen = session.maps["seen"]
    for number in range(0, 700, 7):
        seen.add(number)
    assert 23 in seen  # by the program
    assert all(number in seen for number in range(0, 700, 7))
    assert sum(number in seen for number in range(10_000, 11_009)) < 300
    for refused in (lambda: list(seen), lambda: seen[7], seen.df, seen.clear):
        with pytest.raises(MapError, match="bloom_filter map seen cannot"):
            refused()


# --- Maps and programs -------------------------------------------------------------------------------------------


@needs_bpftool
def test_a_map_of_maps_gives_the_inner_maps_with_their_types(session):
    outer, by_id, left = session.maps["maps"], session.maps["maps_by_id"], session.maps["left"]
    left[4] = {"count": 5, "low": -6}
    number = bpftool.map_id(left.fd)
    assert (outer[0].name, outer[0][4]) == ("left", {"count": 5, "low": -6})
    assert dict(bpftool.dump(outer)) == {struct.pack("<I", 0): struct.pack("<I", number)}
    with pytest.raises(KeyError, match="maps has no entry 1"):
        outer[1]
    outer[2] = left
    by_id[2**40] = left.fd
    assert outer.df()[["key", "map_id", "name"]].to_numpy().tolist() == [[0, number, "left"], [2, number, "left"]]
    assert by_id.df()["map_id"].tolist() == [number]
    by_id[2**40][7] = (7, 7)
    assert left[7].count == 7
    del by_id[2**40]
    assert len(by_id) == 0
    with pytest.raises(MapError, match="the kernel refuses what it was given to write") as caught:
        outer[1] = session.maps["prefixes"]
    assert "__array" in caught.value.hint


def test_inner_maps_are_closed_with_the_session_and_when_nobody_looks(session):
    before = open_descriptors()
    for _ in range(17):
        session.maps["maps"].df()
    assert open_descriptors() == before
    inner = session.maps["maps"][0]
    assert len(inner) == 0
    session.close()
    assert "closed" in repr(inner)


def test_a_prog_array_takes_names_of_programs_and_shows_them(session):
    jumps = session.maps["jumps"]
    jumps[1] = "second_program_with_a_long_name"
    ids = {p.name: p.id for p in session._handle.programs()}
    assert jumps[1] == (ids["second_program_with_a_long_name"], "second_program_with_a_long_name")
    assert jumps.df().to_dict("records") == [{"key": 1, "id": jumps[1].id, "name": jumps[1].name}]
    assert (list(jumps), dict(jumps)) == ([1], {1: jumps[1]})  # empty slots are not there
    assert len(list(jumps.items())) == 1
    with pytest.raises(MapError, match="no program frist_program") as caught:
        jumps[0] = "frist_program"
    assert "first_program" in caught.value.hint
    del jumps[1]
    assert len(list(jumps.items())) == 0


# --- Sockets, cgroups, devices -----------------------------------------------------------------------------------


def test_sockets_are_assigned_and_shown_by_their_cookies(session, connected):
    client, accepted = connected
    peers, by_port = session.maps["peers"], session.maps["by_port"]
    peers[1] = client
    by_port[80] = accepted.fileno()
    assert (peers[1], by_port[80]) == (cookie(client), cookie(accepted))
    assert peers.df().to_dict("records") == [{"key": 1, "value": cookie(client)}]
    assert dict(by_port.items()) == {80: cookie(accepted)}
    del peers[1]
    assert (1 in peers, peers.df().empty) == (False, True)
    session.maps["blind"][0] = client
    with pytest.raises(MapError, match="shows no sockets in values of 4 bytes") as caught:
        session.maps["blind"][0]
    assert "__u64" in caught.value.hint
    with pytest.raises(MapError, match="'eth0' is no socket"):
        peers[2] = "eth0"


def test_a_reuseport_array_takes_bound_sockets(session):
    listeners = session.maps["listeners"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bare, socket.socket(type=socket.SOCK_DGRAM) as shared:
        bare.bind(("127.0.0.1", 0))
        with pytest.raises(MapError, match="refuses what it was given to write") as caught:
            listeners[0] = bare
        assert "SO_REUSEPORT" in caught.value.hint
        shared.setsockopt(socket.SOL_SOCKET, SO_REUSEPORT, 1)
        shared.bind(("127.0.0.1", 0))
        listeners[0] = shared
        assert listeners.df()["value"].tolist() == [cookie(shared)]


def test_a_cgroup_array_takes_paths_and_does_not_tell_what_is_in_it(session, group):
    groups = session.maps["groups"]
    groups[0] = group.path
    groups[1] = str(group.path)
    with pytest.raises(MapError, match="the kernel does not tell what is in it"):
        groups[0]
    del groups[0]
    with pytest.raises(KeyError):
        del groups[0]
    with pytest.raises(MapError, match="cannot be opened"):
        groups[0] = "/sys/fs/cgroup/none such"
    with pytest.raises(MapError) as caught:
        groups[0] = "/tmp"
    assert "version 2" in caught.value.hint


def test_device_maps_take_names_of_devices(session):
    loopback = socket.if_nametoindex("lo")
    devices, by_id, cpus = session.maps["devices"], session.maps["devices_by_id"], session.maps["cpus"]
    devices[0] = "lo"
    devices[2] = {"ifindex": loopback}
    by_id[7] = "lo"
    cpus[0] = 128
    assert devices[0].ifindex == by_id[7] == loopback
    assert devices.df()[["key", "ifindex"]].to_numpy().tolist() == [[0, loopback], [2, loopback]]
    assert dict(cpus.items()) == {0: 128}
    with pytest.raises(MapError, match="no network device 'lol'") as caught:
        devices[1] = "lol"
    assert "did you mean lo?" in caught.value.hint


# --- Others --------------------------------------------------------------------------------------------------------


def test_typedefs_mean_in_maps_what_they_mean_in_streams(session):
    begin = pd.Timestamp.now("UTC")
    session.test_run("enqueue", data=bytes(64))
    flows = session.maps["flows"]
    (row,) = flows.df().to_dict("records")
    assert (row["from"], row["port"], row["mac"]) == ("10.0.0.1", 443, "02:00:00:00:00:11")
    assert begin - pd.Timedelta("1s") < row["at"] < pd.Timestamp.now("UTC") + pd.Timedelta("1s")
    assert row["took"] == pd.Timedelta("1500ns")
    value = flows[{"from": "10.0.0.1", "port": 443}]
    assert (value.took, value.mac) == (1500, "02:00:00:00:00:11")
    assert next(iter(flows)) == ("10.0.0.1", 443, 0)
    flows["10.0.0.2", 80, 0] = {"mac": "02:00:00:00:00:13"}
    assert sorted(flows.df()["from"].tolist()) == ["10.0.0.1", "10.0.0.2"]
    assert flows["10.0.0.2", 80, 0] == (0, 0, "02:00:00:00:00:13", 0)


def test_a_value_with_a_spin_lock_is_read_and_written_under_it(session):
    session.test_run("enqueue", data=bytes(64))
    guarded = session.maps["guarded"]
    assert guarded.df().to_dict("records") == [{"key": 0, "first": 31, "second": 31}]
    guarded[0] = {"first": 37, "second": 41}
    assert (guarded[0].first, guarded[0].second) == (37, 41)


@needs_bpftool
def test_stack_traces_are_the_addresses_that_bpftool_dumps(session):
    session.attach("keep_stack")
    stacks = session.maps["stacks"]
    for _ in itertools.takewhile(lambda _: session.vars["stack_id"] <= 0, range(10_000)):
        os.getppid()
    session.detach()
    number = session.vars["stack_id"]
    dumped = {struct.unpack("<I", k)[0]: np.frombuffer(v, "<u8") for k, v in bpftool.dump(stacks)}
    assert stacks.depth == 16
    assert list(stacks[number]) == [int(a) for a in dumped[number] if a]
    table = stacks.addresses([number, -14, number, 10**6])
    assert (table.shape, table.dtype) == ((4, 16), np.uint64)
    assert (table[0] == dumped[number]).all()
    assert (table[2] == table[0]).all()
    assert not table[[1, 3]].any()
    frame = stacks.df()
    assert frame[frame["key"] == number]["address"].tolist() == list(stacks[number])
    with pytest.raises(MapError, match="only bpf_get_stackid"):
        stacks[0] = 1
    stacks.clear()
    assert len(stacks) == 0


def test_stack_ids_in_keys_become_symbols_in_frames(session):
    session.attach("keep_stack")
    for _ in itertools.takewhile(lambda _: session.vars["stack_id"] <= 0, range(10_000)):
        os.getppid()
    session.detach()
    profile = session.maps["profile"]
    named = profile.df()
    assert list(profile) == [session.vars["stack_id"]]
    assert named["value"].sum() == sum(profile.values())
    assert any("bpf_trace_run" in text or "syscall" in text for text in named["key"].astype(str))


def test_buffers_of_events_point_to_the_streams(session):
    events = session.maps["events"]
    for refused in (lambda: events[0], events.df, lambda: list(events), lambda: events.watch(1)):
        with pytest.raises(MapError, match="the ringbuf map events cannot") as caught:
            refused()
        assert caught.value.hint == 'its events are in s.streams["events"]'
    assert 's.streams["events"]' in repr(events)


def test_every_map_shows_itself(session):
    for bpf_map in session.maps.values():
        assert repr(bpf_map).startswith(f"{bpf_map.name} [{bpf_map.type}]")
        assert bpf_map.name in bpf_map._repr_html_()
