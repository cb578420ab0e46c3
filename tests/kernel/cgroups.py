"""Private cgroups for tests: this process in and out of one, and nothing left of it however the test ends.

A small shell makes sure of that: it waits for its input to end, which it also does when this process is killed,
and then removes the directory.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_REAPER = 'read -r _; n=0; until rmdir "$0" || [ $n -ge 200 ]; do n=$((n + 1)); sleep 0.05; done 2>/dev/null'
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Cgroup:
    """A cgroup of cgroup2; `name` is its path from the hierarchy's root, as /proc/PID/cgroup shows it."""

    path: Path
    name: str

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Have this process in the cgroup, with all its threads. A socket made here stays one of the cgroup."""
        before = Path(f"{mount_point()}{current()}")
        self.take(os.getpid())
        try:
            yield
        finally:
            (before / "cgroup.procs").write_text(str(os.getpid()))

    def take(self, pid: int) -> None:
        """Move a process into the cgroup."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def programs(self, attach_type: int) -> int:
        """How many programs of a type (enum bpf_attach_type) the kernel lists for this cgroup itself."""
        # Not by bpftool, which fails on kernels that do not know all of its types.
        query = ctypes.CDLL("libbpf.so.1").bpf_prog_query
        query.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_uint32, *[ctypes.c_void_p] * 3)
        count = ctypes.c_uint32()
        fd = os.open(self.path, os.O_RDONLY)
        try:
            status = query(fd, attach_type, 0, None, None, ctypes.byref(count))
        finally:
            os.close(fd)
        assert status == 0, os.strerror(-status)
        return count.value


def mount_point() -> Path | None:
    """Where cgroup2 is mounted, or None."""
    fields = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return next((Path(point) for _, point, kind, *_ in fields if kind == "cgroup2"), None)


def current(pid: int | str = "self") -> str:
    """The cgroup of a process, from the hierarchy's root."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(line[3:] for line in lines if line.startswith("0::"))


@contextlib.contextmanager
def private(parent: Path | None = None) -> Iterator[Cgroup]:
    """A new and empty cgroup, at the top or below another one."""
    top = mount_point()
    if top is None:
        pytest.skip("cgroup2 is mounted nowhere on this machine")
    with _directory(parent or top) as path:
        yield Cgroup(path, f"/{path.relative_to(top)}")


@contextlib.contextmanager
def memory_limited(limit: int) -> Iterator[Path]:
    """The directory of a new cgroup whose processes may have so many bytes, and no swap; of either version."""
    first = Path("/sys/fs/cgroup/memory")
    top = first if (first / "memory.limit_in_bytes").exists() else mount_point()
    if top is None:
        pytest.skip("no cgroups are mounted on this machine")
    if top != first and os.environ.get("EBPFLAB_VM"):  # as systemd does elsewhere
        (top / "cgroup.subtree_control").write_text("+memory")
    values = {"limit_in_bytes": limit, "memsw.limit_in_bytes": limit} if top == first else {"max": limit, "swap.max": 0}
    with _directory(top) as path:
        for name, value in values.items():
            if (path / f"memory.{name}").exists():  # swap may be left uncounted
                (path / f"memory.{name}").write_text(str(value))
        yield path


@contextlib.contextmanager
def _directory(parent: Path) -> Iterator[Path]:
    path = parent / f"ebpflab-test-{os.getpid()}-{next(_numbers)}"
    reaper = subprocess.Popen(["/bin/sh", "-c", _REAPER, path], stdin=subprocess.PIPE, start_new_session=True)
    try:
        path.mkdir()
        try:
            yield path
        finally:
            _empty(path)
    finally:
        reaper.communicate(b"\n", timeout=60)
    assert not path.exists(), f"{path} is still in use"


def _empty(path: Path) -> None:
    # What was started inside may go on, as a compiler that waits for its next cell does.
    for pid in (path / "cgroup.procs").read_text().split():
        with contextlib.suppress(ProcessLookupError):  # it has ended
            (path.parent / "cgroup.procs").write_text(pid)


@pytest.fixture
def group():
    """A new cgroup with nobody in it."""
    with private() as made:
        yield made
