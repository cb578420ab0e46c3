"""Workloads of the tools that look at TCP connections, and what these and their tests are made of."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator

from netns import fresh

CONNECTIONS, SEGMENTS, BINDS, LOST = 211, 1009, 503, 211
PATIENCE = 20.0  # seconds; a connection that hangs is an error and not the end of all tests
_TCP_INFO = {"unacked": 24, "rtt": 68, "total_retrans": 100}  # offsets in struct tcp_info: linux/tcp.h


def listener(address: str = "127.0.0.1", backlog: int = 128) -> socket.socket:
    """A socket that listens on a free port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = socket.create_server((address, 0), family=family, backlog=backlog)
    server.settimeout(PATIENCE)
    return server


def port_of(one: socket.socket) -> int:
    """The local port of a socket."""
    return int(one.getsockname()[1])


def connected(server: socket.socket) -> tuple[socket.socket, socket.socket]:
    """A connection to a listener of this process: the end that connects, and the one that accepts."""
    client = socket.create_connection(server.getsockname()[:2], PATIENCE)
    accepted = server.accept()[0]
    accepted.settimeout(PATIENCE)
    return client, accepted


def read(one: socket.socket, size: int) -> bytes:
    """Read that many bytes, or fewer if the other end is closed."""
    found = b""
    while len(found) < size and (piece := one.recv(size - len(found))):
        found += piece
    return found


def flow(source: socket.socket, target: socket.socket, size: int) -> None:
    """Send that many bytes from one end to the other, and read them there."""
    for start in range(0, size, 4096):
        piece = min(4096, size - start)
        source.sendall(bytes(piece))
        assert len(read(target, piece)) == piece


def converse(server: socket.socket, there: int, back: int, pause: float = 0.0) -> tuple[int, int]:
    """Connect, send that many bytes each way, close the end that connected first; returns the ports of both ends."""
    client, accepted = connected(server)
    with client, accepted:
        ports = port_of(client), port_of(accepted)
        flow(client, accepted, there)
        flow(accepted, client, back)
        time.sleep(pause)
        client.close()
        assert accepted.recv(1) == b""  # closed by a FIN, not by a reset
    return ports


def tcp_info(one: socket.socket, member: str) -> int:
    """A number of what the kernel tells about a connection: tcp(7), TCP_INFO."""
    raw = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int(struct.unpack_from("=I", raw, _TCP_INFO[member])[0])


@contextlib.contextmanager
def full() -> Iterator[socket.socket]:
    """A listener of loopback that has no room: a SYN to it is dropped, and is sent again a second later."""
    with listener(backlog=0) as server, socket.create_connection(server.getsockname()):
        yield server


def calling(server: socket.socket, count: int = 1) -> contextlib.ExitStack:
    """Sockets that try to connect to a listener and do not wait; they are closed with the stack."""
    stack = contextlib.ExitStack()
    for _ in range(count):
        client = stack.enter_context(socket.socket())
        client.setblocking(False)
        assert client.connect_ex(server.getsockname()) == 115  # EINPROGRESS
    return stack


@contextlib.contextmanager
def connections():
    """Short connections over loopback."""
    with fresh(), listener() as server:

        def make():
            for _ in range(CONNECTIONS):
                converse(server, 100, 1000)

        yield {}, make


@contextlib.contextmanager
def segments():
    """One connection, and many small segments."""
    with fresh(), listener() as server:
        client, accepted = connected(server)

        def make():
            for _ in range(SEGMENTS):
                flow(client, accepted, 1)
                flow(accepted, client, 1)

        with client, accepted:
            yield {"vars": {"port": port_of(server)}}, make


@contextlib.contextmanager
def lost_segments():
    """Connections whose first segment nobody takes."""
    with fresh(), full() as server:

        def make():
            with calling(server, LOST):
                time.sleep(1.1)

        yield {}, make


@contextlib.contextmanager
def binds():
    """Sockets that are bound to any port."""

    def make():
        for _ in range(BINDS):
            with socket.socket() as one:
                one.bind(("127.0.0.1", 0))

    yield {"vars": {"pid": os.getpid()}}, make


WORKLOADS = {
    "tcpconnect": connections,
    "tcpaccept": connections,
    "tcplife": connections,
    "tcpstates": connections,
    "tcprtt": segments,
    "tcpretrans": lost_segments,
    "bindsnoop": binds,
}
