"""Sockets for maps of sockets, put there by libbpf itself rather than by the code under test."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from collections.abc import Iterator

_LOOPBACK = "127.0.0.1"


def put(session, name: str, key: int, value: socket.socket) -> None:
    """Put a socket into a map of a session, at a number."""
    update = ctypes.CDLL("libbpf.so.1", use_errno=True).bpf_map_update_elem
    update.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64)
    fd = next(info.fd for info in session._handle.maps() if info.name == name)
    status = update(fd, ctypes.byref(ctypes.c_uint32(key)), ctypes.byref(ctypes.c_uint64(value.fileno())), 0)
    if status:
        raise OSError(-status, os.strerror(-status))


def remote(session) -> tuple[int, int]:
    """The ports that a program saw last: the socket's own, and its peer's."""
    return session.vars["local_port"], session.vars["remote_port"]


@contextlib.contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a TCP connection over loopback, which send at once and wait long."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server((_LOOPBACK, 0)))
        client = stack.enter_context(socket.create_connection(server.getsockname()))
        accepted = stack.enter_context(server.accept()[0])
        for end in (client, accepted):
            end.settimeout(20)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.close()
        yield client, accepted


def exactly(end: socket.socket, count: int) -> bytes:
    """The next bytes that arrive, and no more of them."""
    data = b""
    while len(data) < count:
        piece = end.recv(count - len(data))
        assert piece, "the connection was closed"
        data += piece
    return data
