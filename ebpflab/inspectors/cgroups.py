"""The cgroups of the cgroup2 hierarchy, which programs can be attached to, by name."""

from __future__ import annotations

import itertools
import os
import re
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import HookNotFoundError, KernelSupportError
from .kernel import mount_points
from .missing import no_such

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST = 5000  # cgroups that are looked at: a host of containers may have more


def cgroup2_mount() -> Path:
    """Return where cgroup2 is mounted (``/sys/fs/cgroup`` as a rule, ``.../unified`` beside version 1).

    Raises
    ------
    KernelSupportError
        It is not mounted; the hint is the command that mounts it.
    """
    found = mount_points("cgroup2")
    if not found:
        point = "/sys/fs/cgroup/unified" if mount_points("cgroup") else "/sys/fs/cgroup"
        raise KernelSupportError(
            "no cgroup2 filesystem is mounted", hint=f"mkdir -p {point} && mount -t cgroup2 cgroup2 {point}"
        )
    return found[0]


def cgroups() -> tuple[str, ...]:
    """Return the cgroups as paths from the root of what is mounted, the root first and parents before children.

    After 5,000 it stops.

    Raises
    ------
    KernelSupportError
        No cgroup2 filesystem is mounted.

    Examples
    --------
    >>> cgroups()[:3]
    ('/', '/system.slice', '/user.slice')
    """
    root = str(cgroup2_mount())
    return tuple(path.removeprefix(root) or "/" for path in itertools.islice(_walk(root), _MOST))


def explain_cgroup(target: str) -> HookNotFoundError | None:
    """Tell why there is no such cgroup, or return None if there is.

    Parameters
    ----------
    target
        A directory of cgroup2, a cgroup's path from the root of what is mounted, "self", or "pid:PID".

    Raises
    ------
    KernelSupportError
        No cgroup2 filesystem is mounted.
    """
    mount = cgroup2_mount()
    process = re.fullmatch(r"pid:(\d+)", target)
    if process:
        there = Path(f"/proc/{process[1]}").exists()
        return None if there else HookNotFoundError(f"there is no process {process[1]}")
    relative = f"/{target.removeprefix(str(mount)).strip('/')}"
    if target == "self" or (mount / relative[1:]).is_dir() or (target.startswith("/") and Path(target).is_dir()):
        return None
    return no_such("cgroup", relative, cgroups(), f"`find {mount} -type d` lists them")


def _walk(root: str) -> Iterator[str]:
    # Level by level, so that what is cut off is what is deepest.
    waiting = deque([root])
    while waiting:
        folder = waiting.popleft()
        yield folder
        try:
            with os.scandir(folder) as entries:
                waiting.extend(sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False)))
        except OSError:
            continue  # removed meanwhile, or closed to this user
