"""A process is killed while its program is in a route, which the kernel keeps: the next start removes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import cells
import netns as net
import pytest
from cells_routes import CELLS

import ebpflab
from ebpflab import journal
from ebpflab.engines.attach.reap import reap

TARGET = "10.99.0.0/24 dev lo"

pytestmark = pytest.mark.hook("lwt_out")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A journal of the test's own: other starts on this machine would do the test's work."""
    monkeypatch.setattr(journal, "_RUN", tmp_path / "run" / "journal")
    return journal._folder()


def started(script, *arguments):
    """Another process with the same journal, in this thread's network namespace."""
    head = "import pathlib, sys, time, ebpflab\nfrom ebpflab import journal\njournal._RUN = pathlib.Path(sys.argv[1])\n"
    command = [sys.executable, "-c", head + textwrap.dedent(script), str(journal._RUN), *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env=cells.environment(), **pipes)


def attached_and_killed(*targets):
    """What is left of a process that was killed with its program in these routes."""
    script = """
        session = ebpflab.load(sys.argv[2], attach=False)
        for target in sys.argv[3:]:
            session.attach("at_out", target=target)
        print("attached", flush=True)
        sys.stdin.read()  # until it is killed, or the test ends
    """
    with started(script, CELLS["three"], *targets) as process:
        assert process.stdout.readline() == "attached\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL


def next_start():
    """What a process that loads something tells of what it undid before."""
    script = """
        with ebpflab.load(sys.argv[2]):
            from ebpflab.engines.attach.reap import reap
            print([one.kind for one in reap()], [one.warning for one in reap() if one.warning])
    """
    return started(script, cells.COUNTER).communicate(timeout=300)[0].strip()


def killed_here(*targets):
    """The same as `attached_and_killed` by a forked child, which is quicker."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            session = ebpflab.load(CELLS["three"], attach=False)
            for target in targets:
                session.attach("at_out", target=target)
            os.write(write, b"attached")
            signal.pause()
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read, "rb") as told:
        assert told.read(8) == b"attached"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def reaped():
    """What a start in this process would do, if it were the first."""
    return [(one.kind, one.warning) for one in reap.__wrapped__()]


def routes():
    return net.tool("ip", "route", "show", "table", "all")


def test_the_route_of_a_killed_process_stays_and_the_next_start_removes_it(netns, folder):
    before = routes()
    attached_and_killed(TARGET, f"{TARGET} table 100 metric 5")
    left = routes()
    assert left.count("encap bpf out at_out:") == 2
    assert [entry.kind for entry in journal.entries()] == ["route", "route"]
    assert next_start() == "['route', 'route'] []"
    assert routes() == before
    assert journal.entries() == []


def test_several_that_start_at_once_remove_each_route_once(netns, folder):
    before = routes()
    killed_here(*(f"{TARGET} metric {number}" for number in range(7)))
    read, write = os.pipe()
    children = [os.fork() or _reap_and_tell(write) for _ in range(3)]
    os.close(write)
    with os.fdopen(read) as told:
        lines = told.read().splitlines()  # the first that is through has done everything
    assert sorted(lines, key=len) == ["[]", "[]", str([("route", "")] * 7)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert routes() == before


def _reap_and_tell(write):
    try:
        os.write(write, f"{reaped()}\n".encode())
    finally:
        os._exit(0)


def test_the_routes_of_living_processes_stay(netns, folder, load):
    session = load(CELLS["three"], attach=False, vars={"port": 4219})
    session.attach("at_out", target=TARGET)
    before = routes()
    assert reaped() == []
    assert routes() == before
    net.send_udp(5, "10.99.0.1", 4219)
    assert session.vars["out_seen"] == 5


@pytest.mark.parametrize("named", ["by the path that it was given", "by who is in it"])
def test_a_route_in_another_namespace_is_removed_there(named, netns, folder):
    with net.another() as other:
        with other.inside():
            before = routes()
            someone = subprocess.Popen(["sleep", "600"])
        try:
            killed_here(f"{TARGET},netns={other.path if 'path' in named else someone.pid}")
            with other.inside():
                assert "encap bpf out at_out:" in routes()
            assert reaped() == [("route", "")]
            with other.inside():
                assert routes() == before
        finally:
            someone.kill()
            someone.wait()


def test_a_route_whose_namespace_has_gone_is_forgotten(netns, folder):
    with net.another() as other:
        killed_here(f"{TARGET},netns={other.path}")
    assert len(journal.entries()) == 1
    assert reaped() == [("route", "")]
    assert journal.entries() == []


def test_somebody_elses_route_in_the_place_of_the_dead_ones_stays(netns, folder):
    killed_here(TARGET)
    net.ip(f"route replace {TARGET} proto 235")
    before = routes()
    assert reaped() == [("route", "")]
    assert routes() == before


def test_what_cannot_be_undone_is_told_and_keeps_nobody_from_starting(netns, folder, caplog):
    killed_here(TARGET)
    (entry,) = journal.entries()
    broken = entry.path.read_text().replace('"token"', '"tokne"')
    entry.path.write_text(broken)
    ((kind, warning),) = reaped()
    assert (kind, "token" in warning) == ("route", True)
    assert caplog.messages == [warning]
    entry.path.write_text(broken.replace('"tokne"', '"token"'))
    assert reaped() == [("route", "")]


def test_a_note_of_an_earlier_boot_goes_with_nothing_undone(netns, folder):
    killed_here(TARGET)
    (entry,) = journal.entries()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    entry.path.write_text(entry.path.read_text().replace(boot, "0" * len(boot)))
    assert reaped() == []
    assert journal.entries() == []
    assert "encap bpf out at_out:" in routes()  # in truth it is of this boot
