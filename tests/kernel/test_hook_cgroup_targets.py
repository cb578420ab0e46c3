"""Which cgroup a target means, what stands in the way, and what is left afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import cells
import cgroups
import objects
import pytest
from cells_cgroup import CELLS

from ebpflab.errors import AttachError, EbpflabError, HookNotFoundError

pytestmark = pytest.mark.hook("cgroup_sock")

NO_CGROUP2 = """
from ebpflab.engines.attach import cgroup
from ebpflab.errors import KernelSupportError
try:
    cgroup.directory("self")
except KernelSupportError as error:
    print(error.what, error.hint, sep="|")
"""
# Attached until it is killed, with its session and everything else.
ATTACHED = """
import sys, ebpflab
from cells_cgroup import CELLS
session = ebpflab.load(CELLS["sock"], attach=False)
session.attach(target=sys.argv[1])
print("attached", flush=True)
sys.stdin.read()  # until it is killed, or the test ends
"""


def make_sockets(count):
    for _ in range(count):
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()


def listed(group):
    """How many programs the kernel lists for a cgroup at the two hooks of the cell."""
    return [group.programs(2), group.programs(34)]  # BPF_CGROUP_INET_SOCK_CREATE, BPF_CGROUP_INET_SOCK_RELEASE


@pytest.mark.parametrize("spelling", ["path", "name", "name without slash", "pid", "path with a slash at its end"])
def test_a_cgroup_is_named_by_path_from_its_root_or_by_a_process_in_it(load, group, spelling):
    with subprocess.Popen(["sleep", "600"]) as child:
        try:
            group.take(child.pid)
            target = {
                "path": str(group.path),
                "name": group.name,
                "name without slash": group.name.lstrip("/"),
                "pid": f"pid:{child.pid}",
                "path with a slash at its end": f"{group.path}/",
            }[spelling]
            session = load(CELLS["sock"], attach=False)
            session.attach(target=target)
            assert session.links["target"].tolist() == [str(group.path)] * 2
            with group.inside():
                make_sockets(7)
            assert session.vars["created"] == 7
        finally:
            child.kill()


def test_self_is_the_cgroup_that_this_process_is_in(load, group):
    session = load(CELLS["sock"], attach=False)
    with group.inside():
        session.attach(target="self")
        make_sockets(5)
    assert session.links["target"].tolist() == [str(group.path)] * 2
    assert session.vars["created"] == 5


def test_a_slash_is_the_root_which_holds_every_process(load):
    session = load(CELLS["bind"], attach=False)
    session.attach(target="/")
    assert set(session.links["target"]) == {str(cgroups.mount_point())}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
    assert session.vars["seen4"] >= 1


def test_a_cgroup_below_is_part_of_the_one_above(load, group):
    session = load(CELLS["sock"], attach=False)
    session.attach(target=str(group.path))
    with cgroups.private(group.path) as inner, inner.inside():
        make_sockets(11)
    assert session.vars["created"] == 11


def test_two_sessions_share_a_cgroup(load, group):
    sessions = [load(CELLS["sock"], attach=False) for _ in range(2)]
    for session in sessions:
        session.attach(target=str(group.path))
    with group.inside():
        make_sockets(3)
        sessions[0].close()
        make_sockets(4)
    assert sessions[1].vars["created"] == 7


def test_the_kernel_lists_the_programs_while_they_are_attached(load, group):
    session = load(CELLS["sock"], attach=False)
    assert listed(group) == [0, 0]
    session.attach(target=str(group.path))
    assert listed(group) == [1, 1]
    session.detach()
    assert listed(group) == [0, 0]
    session.attach(target=str(group.path))
    session.close()
    assert listed(group) == [0, 0]


def test_a_killed_process_leaves_nothing_in_the_cgroup(group):
    before = objects.live()
    command = [sys.executable, "-c", ATTACHED, group.path]
    environment = cells.environment(PYTHONPATH=os.pathsep.join(map(str, (cells.ROOT, cells.ROOT / "tests/kernel"))))
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout.readline() == "attached\n"
            assert listed(group) == [1, 1]
        finally:
            process.send_signal(signal.SIGKILL)
    assert objects.leaked_since(before) == set()
    assert listed(group) == [0, 0]


def test_a_cgroup_that_is_removed_takes_its_links_along(load):
    session = load(CELLS["sock"], attach=False)
    with cgroups.private() as short_lived:
        session.attach(target=str(short_lived.path))
    session.detach()
    assert session.state == "detached"


def test_a_missing_cgroup_is_an_error_that_offers_the_nearest(load, group):
    session = load(CELLS["sock"], attach=False)
    with pytest.raises(HookNotFoundError) as caught:
        session.attach(target=f"{group.name}x")
    assert any(group.path.name in name for name in caught.value.nearest)
    assert session.links.empty


def test_a_process_that_does_not_exist_is_an_error(load):
    session = load(CELLS["sock"], attach=False)
    with pytest.raises(HookNotFoundError, match="no process 4194304"):
        session.attach(target="pid:4194304")


def test_a_directory_that_is_no_cgroup_is_an_error(load, tmp_path):
    session = load(CELLS["sock"], attach=False)
    with pytest.raises(AttachError, match=f"{tmp_path} is a directory, but no cgroup") as caught:
        session.attach(target=str(tmp_path))
    assert str(cgroups.mount_point()) in caught.value.hint


def test_a_cgroup_of_version_1_is_an_error(load):
    mounted = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    first = next((point for _, point, kind, *_ in mounted if kind == "cgroup"), None)
    if first is None:
        pytest.skip("not in this kernel: a mount of cgroup version 1")
    session = load(CELLS["sock"], attach=False)
    with pytest.raises(AttachError, match="version 1"):
        session.attach(target=first)


def test_without_a_mounted_cgroup2_the_error_names_the_command_that_mounts_it():
    # In a mount namespace of its own, so that it is unmounted for that process only.
    script = f'umount -l {cgroups.mount_point()} && exec "$0" -c "$1"'
    command = ["unshare", "--mount", "sh", "-c", script, sys.executable, NO_CGROUP2]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=cells.environment())
    what, hint = done.stdout.strip().split("|")
    assert what == "no cgroup2 filesystem is mounted"
    assert "mount -t cgroup2 cgroup2 /sys/fs/cgroup" in hint


def test_a_program_attached_by_somebody_else_as_the_only_one_is_named_as_the_cause(load, group):
    bpftool = shutil.which("bpftool", path=f"{os.environ['PATH']}:/usr/sbin")
    if bpftool is None:
        pytest.skip("there is no bpftool to attach without BPF_F_ALLOW_MULTI")
    other = load(CELLS["skb_either"], attach=False)
    identifier = str(other._handle.programs()[0].id)
    subprocess.run([bpftool, "cgroup", "attach", group.path, "ingress", "id", identifier], check=True, timeout=60)
    session = load(CELLS["skb_either"], attach=False)
    with pytest.raises(AttachError, match=f"{group.path} has a program that was attached as its only one"):
        session.attach(target=str(group.path))
    with cgroups.private(group.path) as inner, pytest.raises(AttachError, match="only one") as caught:
        session.attach(target=str(inner.path))
    assert str(group.path) in caught.value.hint
    session.attach(target=str(group.path), direction="egress")  # which nobody has to himself


@pytest.mark.parametrize(
    ("cell", "options", "words"),
    [
        ("skb_either", {"direction": "sideways"}, "neither ingress nor egress"),
        ("skb_either", {"directoin": "egress"}, "has no option"),
        ("skb", {"direction": "egress"}, "says another direction"),
    ],
)
def test_a_wrong_option_is_an_error_and_attaches_nothing(load, group, cell, options, words):
    session = load(CELLS[cell], attach=False)
    with pytest.raises(EbpflabError, match=words):
        session.attach(target=str(group.path), **options)
    assert session.links.empty
