"""Storages: values that belong to a task, a file, a socket or a cgroup."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import kernel_has
import pytest
from cells_maps import BELONGING, OF_CGROUP, OTHERS, connection

import ebpflab
from ebpflab.errors import MapError


@pytest.fixture
def session(load):
    if reason := kernel_has.absent("syscall"):
        pytest.skip(f"not in this kernel: {reason}")
    return load(OTHERS, attach=False)


@pytest.fixture
def connected():
    with connection() as both_ends:
        yield both_ends


def test_a_task_storage_takes_pids_and_pidfds(session):
    storage = session.maps["of_task"]
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        storage[child.pid] = {"count": 17, "low": -3}
        storage[os.getpid()] = (19, -5)
        with os.fdopen(os.pidfd_open(child.pid)) as pidfd:
            assert storage[pidfd] == storage[child.pid] == (17, -3)
        del storage[os.getpid()]
        assert os.getpid() not in storage
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    with pytest.raises(MapError, match="no process"):
        storage[child.pid]
    with pytest.raises(MapError, match="cannot list entries: the kernel lists no keys") as caught:
        storage.df()
    assert "m[pid]" in caught.value.hint


def test_a_socket_storage_takes_sockets(session, connected):
    storage = session.maps["of_socket"]
    client, accepted = connected
    storage[client] = 77
    assert (storage[client], accepted in storage) == (77, False)
    with pytest.raises(MapError, match=r"'10\.0\.0\.1' is no socket"):
        storage["10.0.0.1"]


@pytest.fixture
def belonging(load):
    def loading(kind):
        types = ebpflab.features().query("kind == 'map type'").set_index("name")
        if types["available"].get(kind) != "yes":
            pytest.skip(f"not in this kernel: maps of type {kind}")
        return load(BELONGING.replace("KIND", f"BPF_MAP_TYPE_{kind.upper()}"), attach=False).maps["values"]

    return loading


def test_an_inode_storage_takes_paths_and_open_files(belonging, tmp_path):
    values = belonging("inode_storage")
    path = tmp_path / "file"
    path.write_text("")
    values[path] = 17
    with path.open() as file:
        assert (values[file], values[str(path)], tmp_path in values) == (17, 17, False)
    del values[path]
    assert path not in values


def test_a_cgroup_storage_takes_paths_of_cgroups(belonging, group, tmp_path):
    values = belonging("cgrp_storage")
    values[group.path] = 19
    assert (values[str(group.path)], group.path.parent in values) == (19, False)
    with pytest.raises(MapError, match="refuses what it was given to read") as caught:
        values[tmp_path]
    assert caught.value.hint == "it takes cgroups of version 2"


def test_a_storage_of_attached_programs_lists_its_cgroups(load, group):
    session = load(OF_CGROUP, attach=False)
    session.attach("count", target=str(group.path))
    with group.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(13):
            sender.sendto(b"x", ("127.0.0.1", 9))
        sent = session.maps["sent"]
        assert dict(sent.items()) == {(group.path.stat().st_ino, 1): 13}
    (key,) = sent
    sent[key] = 0
    assert sent.df()["value"].tolist() == [0]
    with pytest.raises(MapError, match="an entry goes with its cgroup"):
        del sent[key]
