"""Workloads of the tools for files and disks, and what their tests share: a disk of one's own, made of memory."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

PAGE = mmap.PAGESIZE
EVENTS = 503
# linux/loop.h
_SET_FD, _CLEAR_FD, _GET_FREE = 0x4C00, 0x4C01, 0x4C82
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)


class Disk(NamedTuple):
    """A loop device: its name, its path, the memory behind it, and itself opened without the page cache."""

    name: str
    path: str
    memory: int
    fd: int

    def read(self, size, offset):
        with mmap.mmap(-1, size) as buffer:
            return os.preadv(self.fd, [buffer], offset)

    def write(self, size, offset):
        with mmap.mmap(-1, size) as buffer:
            return os.pwritev(self.fd, [buffer], offset)


def _free_device(control, memory):
    # Between being told of a free one and taking it, somebody else may have it.
    for _ in range(20):
        path = f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}"
        device = os.open(path, os.O_RDWR)
        try:
            fcntl.ioctl(device, _SET_FD, memory)
        except OSError as error:
            os.close(device)
            if error.errno != errno.EBUSY:
                raise
        else:
            return path, device
    raise OSError(errno.EBUSY, "no loop device stays free")


@contextlib.contextmanager
def disk(size=16 << 20):
    """A disk in memory: what is read from it takes one request each, and nobody else knows of it."""
    if os.environ.get("EBPFLAB_VM") and not Path("/dev/loop-control").exists():
        subprocess.run(["modprobe", "loop"], check=True, timeout=60)
    memory = os.memfd_create("disk", os.MFD_ALLOW_SEALING)
    os.truncate(memory, size)
    control = os.open("/dev/loop-control", os.O_RDWR)
    path, device = _free_device(control, memory)
    try:
        fd = os.open(path, os.O_RDWR | os.O_DIRECT)
        try:
            yield Disk(Path(path).name, path, memory, fd)
        finally:
            os.close(fd)
    finally:
        fcntl.ioctl(device, _CLEAR_FD)
        for each in (device, control, memory):
            os.close(each)


def mount(source, target, kind, flags=0):
    """Call mount(2); returns the error number, 0 if it worked."""
    failed = _LIBC.mount(source.encode(), str(target).encode(), kind.encode(), flags, None)
    return ctypes.get_errno() if failed else 0


def unmount(target):
    """Call umount2(2); returns the error number, 0 if it worked."""
    return ctypes.get_errno() if _LIBC.umount2(str(target).encode(), 0) else 0


def enter_mount_namespace():
    """Give this process mounts of its own, of which no other hears; returns the error number, 0 if it worked."""
    if _LIBC.unshare(0x20000):  # CLONE_NEWNS
        return ctypes.get_errno()
    return mount("none", "/", "", 0x44000)  # MS_PRIVATE | MS_REC


@contextlib.contextmanager
def cached_folder(folder):
    """The folder itself if its files are read by way of the page cache; else a disk is mounted there."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", folder], check=True, capture_output=True, text=True).stdout.strip()
    if kind in ("ext2/ext3", "xfs", "btrfs"):
        yield Path(folder)
        return
    with disk(32 << 20) as made:
        subprocess.run(["mkfs.ext4", "-q", "-F", made.path], check=True, timeout=60)
        subprocess.run(["mount", "-t", "ext4", made.path, folder], check=True, timeout=60)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True, timeout=60)


def cold_file(path, pages):
    """Write a file of so many pages, to the disk, and forget it: the page cache holds none of it."""
    path.write_bytes(bytes(PAGE) * pages)
    fd = os.open(path, os.O_RDWR)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # nothing is read ahead
    return fd


@contextlib.contextmanager
def _requests():
    with disk() as made:

        def read():
            for i in range(EVENTS):
                made.read(PAGE, i % 100 * PAGE)

        yield {"vars": {"disk": made.name}}, read


@contextlib.contextmanager
def _reads_and_writes(**options):
    with tempfile.TemporaryFile() as file:

        def work():
            for _ in range(EVENTS):
                os.pwrite(file.fileno(), b"x" * 100, 0)
                os.pread(file.fileno(), 100, 0)

        yield {"vars": {"pid": os.getpid(), **options}}, work


@contextlib.contextmanager
def _pages():
    with tempfile.TemporaryDirectory() as folder, cached_folder(folder) as place:
        fd = cold_file(place / "pages", EVENTS)

        def work():
            for i in range(EVENTS):
                os.pread(fd, PAGE, i * PAGE)
                os.pwrite(fd, b"x", i * PAGE)

        try:
            yield {"vars": {"pid": os.getpid()}}, work
        finally:
            os.close(fd)


@contextlib.contextmanager
def _failing_unmounts():
    with tempfile.TemporaryDirectory() as folder:
        yield {"vars": {"pid": os.getpid()}}, lambda: [unmount(folder) for _ in range(EVENTS)]


WORKLOADS = {
    "biolatency": _requests,
    "biosnoop": _requests,
    "fileslower": lambda: _reads_and_writes(min_us=0),
    "filetop": _reads_and_writes,
    "vfsstat": _reads_and_writes,
    "cachestat": _pages,
    "mountsnoop": _failing_unmounts,
}
