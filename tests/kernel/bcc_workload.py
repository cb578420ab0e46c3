"""What one process can do so that most of the functions that tools of BCC watch run in the kernel."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import pty
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path


def run(folder: Path) -> None:
    """Do all of it, some of it in the given folder."""
    for step in (_files, _processes, _tcp, _datagrams, _descriptors, _shared_memory, _memory, _terminal):
        step(folder)
    if os.environ.get("EBPFLAB_VM"):  # where nobody else is disturbed
        _disk(folder)
        _out_of_memory(folder)


def _files(folder: Path) -> None:
    place = folder / "directory"
    place.mkdir()
    one, two = place / "one", place / "two"
    one.write_bytes(b"x" * 10_007)
    with one.open("r+b") as file:
        file.read()
        file.write(b"more")
        os.fsync(file.fileno())
        file.truncate(11)
    with contextlib.suppress(FileNotFoundError):
        (place / "absent").stat()
    libc = ctypes.CDLL(None)
    libc.syscall(4, os.fsencode(one), ctypes.create_string_buffer(256))  # stat(2), which glibc no longer calls
    one.lstat()
    one.rename(two)
    two.unlink()
    place.rmdir()
    os.statvfs(folder)
    os.sync()


def _processes(folder: Path) -> None:
    subprocess.run(["/bin/true"], check=True)
    mount = "mkdir -p m && mount -t tmpfs none m && umount m && rmdir m"
    subprocess.run(["unshare", "-m", "sh", "-c", mount], check=True, cwd=folder)
    with subprocess.Popen(["/bin/sleep", "9"]) as child:
        child.send_signal(signal.SIGTERM)
    thread = threading.Thread(target=time.sleep, args=(0.01,))
    thread.start()
    thread.join()
    with contextlib.suppress(OSError):
        socket.getaddrinfo("localhost", 80)


def _tcp(_folder: Path) -> None:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as server, socket.socket(family) as client:
            server.bind((address, 0))
            server.listen(1)
            client.connect(server.getsockname()[:2])
            connection, _ = server.accept()
            with connection:
                client.sendall(b"x" * 1009)
                connection.recv(2000)
                connection.sendall(b"y" * 1009)
                client.recv(2000)
        with socket.socket(family) as refused, contextlib.suppress(ConnectionRefusedError):
            refused.connect((address, 1))


def _datagrams(_folder: Path) -> None:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as one, socket.socket(family, socket.SOCK_DGRAM) as two:
            two.bind((address, 0))
            one.sendto(b"datagram", two.getsockname()[:2])
            two.recv(100)


def _descriptors(_folder: Path) -> None:
    one, two = socket.socketpair()
    with one, two, Path("/dev/null").open() as file:
        socket.send_fds(one, [b"x"], [file.fileno()])
        _, received, *_ = socket.recv_fds(two, 1, 1)
        for descriptor in received:
            os.close(descriptor)


def _shared_memory(_folder: Path) -> None:
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    libc.shmdt.argtypes = [ctypes.c_void_p]
    number = libc.shmget(0, mmap.PAGESIZE, 0o1600)
    libc.shmdt(libc.shmat(number, None, 0))
    libc.shmctl(number, 0, None)  # IPC_RMID


def _memory(_folder: Path) -> None:
    with mmap.mmap(-1, 31 * mmap.PAGESIZE) as memory:
        for at in range(0, len(memory), mmap.PAGESIZE):
            memory[at] = 1
    Path("/proc/sys/vm/compact_memory").write_text("1")


def _terminal(_folder: Path) -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(["bash", "--norc", "-i"], stdin=slave, stdout=slave, stderr=slave, start_new_session=True):
        os.write(master, b"exit\n")
    os.close(master)
    os.close(slave)


def _disk(folder: Path) -> None:
    image, place = folder / "image", folder / "mounted"
    if not image.exists() and shutil.which("mkfs.ext4"):
        with image.open("wb") as file:
            file.truncate(8 << 20)
        place.mkdir()
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    if image.exists():
        steps = (
            "modprobe loop",
            "mount -o loop image mounted",
            "dd if=/dev/zero of=mounted/file bs=4096 count=31 conv=fsync status=none",
            "cat mounted/file > /dev/null",
            "umount mounted",
        )
        subprocess.run(["unshare", "-m", "sh", "-c", " && ".join(steps)], check=True, cwd=folder)


def _out_of_memory(_folder: Path) -> None:
    top = Path("/sys/fs/cgroup")
    if "memory" not in (top / "cgroup.controllers").read_text().split():
        return
    (top / "cgroup.subtree_control").write_text("+memory")
    group = top / "bcc_workload"
    group.mkdir()
    (group / "memory.max").write_text("8M")
    # tail keeps a line until it ends, and /dev/zero is one.
    script = f"echo $$ > {group}/cgroup.procs && exec tail /dev/zero"
    ended = subprocess.run(["sh", "-c", script], check=False).returncode
    group.rmdir()
    assert ended == -signal.SIGKILL
