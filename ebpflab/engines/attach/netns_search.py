# A network namespace that is known by its inode only, as the journal has it: the process that was in it is dead.

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ...errors import HookNotFoundError
from .cgroup import mounts
from .netns import entered, open_netns


@contextlib.contextmanager
def in_namespace(inode: int, path: str = "") -> Iterator[bool]:
    # This thread's calls in the namespace with that inode; False, and nothing is entered, if there is none any more.
    # `path` is where it was once. A number may serve again for a later namespace: whoever is sent there has to see
    # for himself that it is the right one. Raises OSError.
    if _is(Path("/proc/thread-self/ns/net"), inode):
        yield True
        return
    fd = _open(inode, path)
    if fd is None:
        yield False
        return
    try:
        with entered(fd):
            yield True
    finally:
        os.close(fd)


def _open(inode: int, path: str) -> int | None:
    for place in _places(inode, path):
        with contextlib.suppress(OSError, HookNotFoundError):  # it ends while we look
            fd = open_netns(str(place))
            if os.fstat(fd).st_ino == inode:
                return fd
            os.close(fd)
    return None


def _places(inode: int, path: str) -> Iterator[Path]:
    # Where it was, where it is mounted (by ip-netns(8), containers), the threads that are in it, and who else holds it.
    if path:
        yield Path(path)
    for mount in mounts(Path("/proc/self/mountinfo").read_text()):
        if mount.root == f"net:[{inode}]":
            yield Path(mount.point)
    for held in ("task/*/ns/net", "fd/*"):
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it ends while its folders are listed
                yield from [place for place in process.glob(held) if _is(place, inode)]


def _is(place: Path, inode: int) -> bool:
    try:
        return place.stat().st_ino == inode
    except OSError:
        return False
