# Route netlink, rtnetlink(7): one request to the kernel and what it answers, in the network namespace of this thread.
#
# A message's body is a struct of its own and attributes behind it, each a length, a number and a value
# (include/uapi/linux/{netlink,rtnetlink}.h). pyroute2 does not serve here: it takes 0.4 s to import, and refuses to
# work in a thread whose event loop runs, as it does in every cell of a notebook.

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

DUMP, CREATE, EXCLUSIVE, REPLACE = 0x300, 0x400, 0x200, 0x100  # NLM_F_*

_SOL_NETLINK = 270
_OPTIONS = (10, 11, 12)  # NETLINK_CAP_ACK, _EXT_ACK, _GET_STRICT_CHK: short answers, the kernel's words, real filters
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_ERROR, _DONE = 2, 3  # NLMSG_*
_REQUEST, _ACK, _INTERRUPTED, _HAS_WORDS = 0x1, 0x4, 0x10, 0x200  # NLM_F_*, the last one of errors
_WORDS = 1  # NLMSGERR_ATTR_MSG
_NUMBER_OF = 0x3FFF  # NLA_TYPE_MASK
_TRIES = 10


def request(kind: int, body: bytes, flags: int = 0) -> list[bytes]:
    # The bodies of what the kernel answers; for DUMP, all there are. Raises OSError, with the kernel's own words if
    # it has any.
    for _ in range(_TRIES):
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
            for option in _OPTIONS:
                kernel.setsockopt(_SOL_NETLINK, option, 1)
            wants = _REQUEST | flags | (0 if flags & DUMP == DUMP else _ACK)
            kernel.send(_HEADER.pack(_HEADER.size + len(body), kind, wants, 0, 0) + body)
            bodies, whole = _answers(kernel)
        if whole:
            break
    return bodies


def attribute(number: int, value: bytes) -> bytes:
    # One attribute, padded for the next to follow; the value of a nested one is other attributes.
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, number) + value + bytes(-size % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    # The attributes that `data` consists of, by number.
    found, at = {}, 0
    while at + _ATTRIBUTE.size <= len(data):
        size, number = _ATTRIBUTE.unpack_from(data, at)
        found[number & _NUMBER_OF] = data[at + _ATTRIBUTE.size : at + size]
        at += max(size + -size % 4, _ATTRIBUTE.size)
    return found


def _answers(kernel: socket.socket) -> tuple[list[bytes], bool]:
    # And whether that is all: False if the list changed while the kernel went through it.
    bodies, whole = [], True
    while True:
        for kind, flags, body in _messages(kernel.recv(1 << 16)):
            whole = whole and not flags & _INTERRUPTED
            if kind not in (_ERROR, _DONE):
                bodies.append(body)
                continue
            error = -struct.unpack_from("=i", body)[0]
            if error > 0:
                raise OSError(error, _words(kind, flags, body) or os.strerror(error))
            return bodies, whole


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, flags, *_ = _HEADER.unpack_from(data, at)
        yield kind, flags, data[at + _HEADER.size : at + size]
        at += size + -size % 4


def _words(kind: int, flags: int, body: bytes) -> str:
    # Behind the number of an error is the header of our request, and attributes follow.
    start = 4 + (_HEADER.size if kind == _ERROR else 0)
    words = attributes(body[start:]).get(_WORDS, b"") if flags & _HAS_WORDS else b""
    return words.rstrip(b"\0").decode(errors="replace")
