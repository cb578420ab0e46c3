"""The tools that decide who may open files and devices, held against what was opened, and what came of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from forked import Child
from workloads_net import drawn, events

from ebpflab.toolbox import shelf

# devpolicy

NULL, FULL = ("CHAR", 1, 3), ("CHAR", 1, 7)


def opened(path, flags=os.O_RDONLY):
    os.close(os.open(path, flags))


def attempts(frame):
    return list(zip(frame["verdict"], frame["access"], frame["type"], frame["major"], frame["minor"], strict=True))


def test_devpolicy_reports_what_a_cgroup_opens_and_nobody_else(tool, group):
    session = tool("devpolicy", targets={"on_device": group.name})
    opened("/dev/null")
    with group.inside():
        for _ in range(11):
            opened("/dev/null")
        opened("/dev/full", os.O_WRONLY)
        opened("/dev/zero", os.O_RDWR)
        opened("/proc/self/stat")  # no device
    opened("/dev/null")
    frame = events(session, 13)
    expected = [("READ", "/dev/null")] * 11 + [("WRITE", "/dev/full"), ("READ_WRITE", "/dev/zero")]
    numbers = [(how, Path(path).stat().st_rdev) for how, path in expected]
    assert attempts(frame) == [("ALLOWED", how, "CHAR", os.major(dev), os.minor(dev)) for how, dev in numbers]
    assert set(frame["pid"]) == {os.getpid()}
    assert set(frame["comm"]) == {Path("/proc/self/comm").read_text().strip()}
    drawn(session)


def test_devpolicy_denies_what_is_listed_as_long_as_it_is(tool, group, tmp_path):
    session = tool("devpolicy", targets={"on_device": group.name}, vars={"only_denied": True})
    denied = session.maps["denied"]
    denied[FULL] = 0
    with group.inside():
        opened("/dev/null")
        for _ in range(7):
            with pytest.raises(PermissionError) as caught:
                opened("/dev/full")
            assert caught.value.errno == 1  # EPERM
        denied["BLOCK", 1, 3] = 0  # not the character device of these numbers
        opened("/dev/null")
        denied[NULL] = 0
        with pytest.raises(PermissionError):
            opened("/dev/null", os.O_RDWR)
        with pytest.raises(PermissionError):
            os.mknod(tmp_path / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        assert not os.access("/dev/null", os.W_OK)
        del denied[FULL]
        opened("/dev/full")
    opened("/dev/null")
    assert attempts(events(session, 10)) == [("DENIED", "READ", *FULL)] * 7 + [
        ("DENIED", "READ_WRITE", *NULL),
        ("DENIED", "MKNOD", *NULL),
        ("DENIED", "WRITE", *NULL),
    ]
    assert (denied[NULL], denied["BLOCK", 1, 3]) == (3, 0)


# lsmfile


@pytest.fixture
def files(tmp_path):
    """Two files of the same name in two directories, and one of another name."""
    found = [tmp_path / name for name in ("secret", "one/secret", "secrets")]
    for path in found:
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    return found


def test_lsmfile_reports_who_opens_a_file_of_that_name(tool, files):
    session = tool("lsmfile", may_lack=True, vars={"name": "secret", "pid": os.getpid()})
    child = Child(lambda _: opened(files[0]))  # another process, which the filter leaves out
    assert child.end() == 0
    for path in files:
        opened(path)
    for _ in range(11):
        opened(files[1], os.O_WRONLY | os.O_APPEND)
    frame = events(session, 13)
    assert list(frame["inode"]) == [files[0].stat().st_ino] + [files[1].stat().st_ino] * 12
    assert set(frame["name"]) == {"secret"}
    assert not frame["refused"].any()
    assert set(frame["pid"]) == {os.getpid()}
    assert set(frame["uid"]) == {os.getuid()}
    assert set(frame["comm"]) == {Path("/proc/self/comm").read_text().strip()}
    assert list(frame["flags"] & (os.O_ACCMODE | os.O_APPEND)) == [0] * 2 + [os.O_WRONLY | os.O_APPEND] * 11
    drawn(session)


def test_lsmfile_refuses_a_name_when_it_is_told_to_enforce(tool, files):
    session = tool("lsmfile", may_lack=True, vars={"name": "secret", "enforce": True, "pid": os.getpid()})
    for _ in range(7):
        with pytest.raises(PermissionError) as caught:
            opened(files[0])
        assert caught.value.errno == 1  # EPERM
    opened(files[2])
    assert Child(lambda _: opened(files[0])).end() == 0
    frame = events(session, 7)
    assert frame["refused"].all()
    session.close()
    opened(files[0])


def test_lsmfile_refuses_without_the_security_module(tool, files):
    source, lsm, rest = shelf.find("lsmfile").path.read_text().partition('SEC("?lsm')
    source += 'SEC("?fmod_ret' + rest.partition('SEC("?fmod_ret')[2]
    assert lsm
    session = tool(source, may_lack=True, vars={"name": "secret", "enforce": True, "pid": os.getpid()})
    assert list(session.programs["name"]) == ["on_open__fmod_ret"]
    for path in files[:2]:
        with pytest.raises(PermissionError):
            opened(path)
    opened(files[2])
    assert events(session, 2)["refused"].all()


def test_lsmfile_knows_a_file_by_its_inode_whatever_it_is_called(tool, files, tmp_path):
    inode = files[1].stat().st_ino
    session = tool("lsmfile", may_lack=True, vars={"inode": inode, "enforce": True, "pid": os.getpid()})
    (tmp_path / "hard").hardlink_to(files[1])
    (tmp_path / "soft").symlink_to(files[1])
    for path in (files[1], tmp_path / "hard", tmp_path / "soft"):
        with pytest.raises(PermissionError):
            opened(path)
    opened(files[0])
    frame = events(session, 3)
    assert set(frame["inode"]) == {inode}
    assert list(frame["name"]) == ["secret", "hard", "secret"]


def test_lsmfile_refuses_nothing_without_a_name_or_an_inode(tool, files):
    session = tool("lsmfile", may_lack=True, vars={"enforce": True, "pid": os.getpid()})
    for path in files:
        opened(path)
    assert session.events.wait(3, timeout=5)
    frame = session.rows()
    assert set(map(str, frame["name"])) >= {"secret", "secrets"}
    assert not frame["refused"].any()


def test_a_name_of_255_bytes_is_no_shorter_one(tool, tmp_path):
    name = "n" * 255
    session = tool("lsmfile", may_lack=True, vars={"name": name, "enforce": True, "pid": os.getpid()})
    (tmp_path / name[:-1]).touch()
    opened(tmp_path / name[:-1])
    with pytest.raises(PermissionError):
        (tmp_path / name).touch()  # it is made, and then not opened
    assert list(events(session, 1)["name"]) == [name]
