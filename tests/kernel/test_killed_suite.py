"""The suite itself, killed in the middle: what it had made is gone, or goes at the next start."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import cells
import cgroups
import netns as net
import objects
import pytest

from ebpflab import journal

# Tests with links, sockets, cgroups and namespaces, and with what the journal is for.
FILES = ("test_hook_network_tc.py", "test_hook_cgroup.py", "test_hook_routes.py", "test_hook_sockmaps.py")


def namespaces(processes="[0-9]*"):
    """Every network namespace that these processes are in, or have a descriptor of."""
    found = set()
    for pattern in (f"{processes}/ns/net", f"{processes}/fd/*"):
        for place in Path("/proc").glob(pattern):
            with contextlib.suppress(OSError):  # it ended meanwhile
                found.add(str(place.readlink()))
    return {name for name in found if name.startswith("net:[")}


def made_of_tests():
    top = cgroups.mount_point()
    return {path.name for path in top.glob("ebpflab-test-*")} if top else set()


def network():
    """What the network of this namespace is made of, but for counters."""
    return (
        net.tool("ip", "route", "show", "table", "all"),
        net.tool("tc", "qdisc", "show"),
        net.tool("ip", "-o", "link"),
    )


def is_in_the_middle(pid):
    """Whether a process has programs, and what keeps them attached: a link, or an entry of the journal."""
    kinds = {kind for kind, _ in objects.held_by(pid)}
    return "prog" in kinds and ("link" in kinds or any(entry.owner.pid == pid for entry in journal.entries()))


@pytest.mark.parametrize("name", FILES)
def test_a_suite_that_is_killed_leaves_nothing_behind(name):
    before, groups, links, own = objects.live(), made_of_tests(), network(), namespaces(os.getpid())
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/kernel/{name}"]
    suite = subprocess.Popen(command, cwd=cells.ROOT, env=cells.environment(), stdout=subprocess.DEVNULL)
    try:
        assert cells.wait_until(lambda: is_in_the_middle(suite.pid), timeout=120)
        made = namespaces(suite.pid) - own
    finally:
        os.kill(suite.pid, signal.SIGKILL)
        suite.wait()
    # The next start, of anybody.
    done = cells.python(
        "import ebpflab; ebpflab.load('SEC(\"raw_tp/sys_enter\") int h(void *ctx) { return 0; }').close()"
    )
    assert done.returncode == 0, done.stderr
    assert cells.wait_until(lambda: made_of_tests() <= groups, timeout=30)
    assert objects.leaked_since(before) == set()
    assert cells.wait_until(lambda: not made & namespaces(), timeout=30)
    assert [entry for entry in journal.entries() if entry.owner.pid == suite.pid] == []
    assert network() == links
