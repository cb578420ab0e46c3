"""Network namespaces for tests: the test's thread in a fresh one, and a cable to a second one.

Packets that travel from one namespace to the other take a real path: out of one device and into another.
Neighbours are set by hand and no address is probed for, so that no ARP or neighbour discovery is on the cable.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

_CLONE_NEWNET = 0x40000000
_GET_FLAGS, _SET_FLAGS, _UP, _RUNNING = 0x8913, 0x8914, 0x1, 0x40  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_*
_libc = ctypes.CDLL(None, use_errno=True)
_PACKAGES = {"ip": "iproute2", "tc": "iproute2"}

NEAR_MAC, FAR_MAC = "02:00:00:00:77:01", "02:00:00:00:77:02"


@dataclass(frozen=True)
class Namespace:
    """A network namespace, held by a file descriptor of this process."""

    fd: int

    @property
    def path(self) -> str:
        """A path that any program may open while this one lives, as a netns= option or for nsenter(1)."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @property
    def inode(self) -> int:
        """The number that tells namespaces apart."""
        return os.fstat(self.fd).st_ino

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Have this thread, and processes that it starts, in the namespace. A socket made here stays here."""
        before = _current()
        try:
            _setns(self.fd)
            try:
                yield
            finally:
                _setns(before)
        finally:
            os.close(before)


@dataclass(frozen=True)
class Wire:
    """Two namespaces and a veth pair between them; the test's thread is in `near`."""

    near: Namespace
    far: Namespace
    near_interface: str = "near0"
    far_interface: str = "far0"
    near_address: str = "10.77.0.1"
    far_address: str = "10.77.0.2"
    near_address6: str = "fd77::1"
    far_address6: str = "fd77::2"

    def far_receiver(self, port: int) -> socket.socket:
        """A UDP socket of the far side, for IPv4."""
        with self.far.inside():
            return udp_receiver(self.far_address, port)

    def near_receiver(self, port: int) -> socket.socket:
        """The same of the near side."""
        return udp_receiver(self.near_address, port)

    def send(self, count: int, port: int, payload: bytes = b"ebpflab") -> None:
        """Send UDP datagrams from near to far, over IPv4."""
        send_udp(count, self.far_address, port, payload)

    def send_back(self, count: int, port: int, payload: bytes = b"ebpflab") -> None:
        """Send UDP datagrams from far to near, over IPv4."""
        with self.far.inside():
            send_udp(count, self.near_address, port, payload)


@contextlib.contextmanager
def fresh() -> Iterator[Namespace]:
    """This thread in a new namespace whose loopback is up, and back in its own at the end."""
    before = _current()
    try:
        _check(_libc.unshare(_CLONE_NEWNET), "unshare(CLONE_NEWNET)")
        try:
            fd = _current()
            try:
                _flags("lo", _flags("lo") | _UP)
                yield Namespace(fd)
            finally:
                os.close(fd)
        finally:
            _setns(before)
    finally:
        os.close(before)


@contextlib.contextmanager
def another() -> Iterator[Namespace]:
    """A new namespace whose loopback is up; this thread stays where it is."""
    with fresh() as made:
        fd = os.dup(made.fd)
    try:
        yield Namespace(fd)
    finally:
        os.close(fd)


@pytest.fixture
def netns():
    """The test runs in a fresh network namespace; only loopback is in it, and it is up."""
    with fresh() as namespace:
        yield namespace


@pytest.fixture
def wire(netns):
    """As `netns`, with a veth pair to a second namespace: near0 here, far0 there, IPv4 and IPv6 on both."""
    with another() as far:
        made = Wire(netns, far)
        # With equal indexes at both ends the kernel takes the carrier for a cable's and looks at it once a second.
        ip(
            f"link add {made.near_interface} address {NEAR_MAC} index 7 type veth "
            f"peer name {made.far_interface} address {FAR_MAC} index 11 netns {far.path}",
            *up(made.near_interface, made.near_address, made.near_address6),
            *neighbours(made.near_interface, FAR_MAC, made.far_address, made.far_address6),
        )
        with far.inside():
            ip(
                *up(made.far_interface, made.far_address, made.far_address6),
                *neighbours(made.far_interface, NEAR_MAC, made.near_address, made.near_address6),
            )
            wait_running(made.far_interface)
        wait_running(made.near_interface)
        yield made


def ip(*commands: str) -> None:
    """Run ip(8) commands in one process, in this thread's namespace."""
    text = "".join(f"{command}\n" for command in commands)
    done = subprocess.run(
        [_path("ip"), "-batch", "-"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{text}{done.stderr}"


def tool(*command: str) -> str:
    """What a command prints, in this thread's namespace: `tool("tc", "filter", "show", ...)`."""
    done = subprocess.run([_path(command[0]), *command[1:]], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def _path(name: str) -> str:
    # Whoever must not skip says so by EBPFLAB_REQUIRE_KERNEL.
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    return found or pytest.skip(f"{name} is not installed: apt-get install {_PACKAGES.get(name, name)}")


def udp_receiver(address: str, port: int) -> socket.socket:
    """A bound UDP socket of this thread's namespace; close it, or use it in a with statement."""
    receiver = socket.socket(_family(address), socket.SOCK_DGRAM)
    receiver.bind((address, port))
    return receiver


def send_udp(count: int, address: str, port: int, payload: bytes = b"ebpflab") -> None:
    """Send that many datagrams from this thread's namespace."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as sender:
        for _ in range(count):
            sender.sendto(payload, (address, port))


def received(receiver: socket.socket, expected: int, timeout: float = 20.0) -> int:
    """How many datagrams there are to read: waits for the expected number, and takes all that are there by then."""
    receiver.setblocking(False)
    count, deadline = 0, time.monotonic() + timeout
    while True:
        try:
            receiver.recv(65536)
            count += 1
        except BlockingIOError:
            if count >= expected or time.monotonic() > deadline:
                return count
            time.sleep(0.005)


def up(interface: str, *addresses: str) -> list[str]:
    """Commands for `ip`: an interface with these addresses and no others, which sends nothing by itself."""
    return [
        f"link set {interface} addrgenmode none",
        *(f"address add {one}/{'64 nodad' if ':' in one else '24'} dev {interface}" for one in addresses),
        f"link set {interface} up",
    ]


def neighbours(interface: str, mac: str, *addresses: str) -> list[str]:
    """Commands for `ip`: tell an interface who its neighbours are, so that it need not ask."""
    return [f"neighbour replace {address} lladdr {mac} dev {interface} nud permanent" for address in addresses]


def wait_running(interface: str) -> None:
    """Wait until an interface is up and has a carrier; before, packets may be dropped."""
    deadline = time.monotonic() + 20
    while not _flags(interface) & _RUNNING:
        assert time.monotonic() < deadline, f"{interface} has no carrier"
        time.sleep(0.002)


def _flags(interface: str, changed: int | None = None) -> int:
    # netdevice(7): read the flags of an interface, or set them.
    request = struct.pack("16sH22x", interface.encode(), changed or 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, _GET_FLAGS if changed is None else _SET_FLAGS, request)
    return int(struct.unpack("16sH22x", answer)[1])


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _current() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _setns(fd: int) -> None:
    _check(_libc.setns(fd, _CLONE_NEWNET), "setns")


def _check(status: int, what: str) -> None:
    if status:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
