"""Where cgroups are mounted, from mountinfo as proc(5) describes it."""

from __future__ import annotations

import os

import pytest

from ebpflab.engines.attach import cgroup

MOUNTINFO = """\
24 1 0:22 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
25 24 0:23 / /sys/fs/cgroup/cpu rw,relatime shared:7 - cgroup cgroup rw,cpu
26 24 0:24 /box /mnt/a\\040space rw,relatime shared:8 master:1 - cgroup2 cgroup2 rw,nsdelegate
"""


def test_mounts_are_read_with_their_device_root_and_place():
    tmpfs, old, new = cgroup.mounts(MOUNTINFO)
    assert (tmpfs.type, old.type, new.type) == ("tmpfs", "cgroup", "cgroup2")
    assert new == cgroup.Mount(os.makedev(0, 24), "/box", "/mnt/a space", "cgroup2")


@pytest.mark.parametrize(
    ("name", "path"),
    [("/box", "/mnt/a space"), ("/box/in/it", "/mnt/a space/in/it"), ("/boxes", None), ("/", None)],
)
def test_a_cgroup_outside_of_what_is_mounted_has_no_directory(name, path):
    found = cgroup.below(cgroup.mounts(MOUNTINFO), name)
    assert (str(found) if found else None) == path
