"""Workloads of the tools that look at packets and devices, and what these and their tests are made of."""

from __future__ import annotations

import contextlib
import os
import socket
import struct

import cgroups
from netns import fresh, udp_receiver

QUESTIONS, OPENS = 503, 503
TYPES = {"A": 1, "NS": 2, "MX": 15, "TXT": 16, "AAAA": 28, "HTTPS": 65, "ANY": 255}
CODES = {"NOERROR": 0, "SERVFAIL": 2, "NXDOMAIN": 3, "REFUSED": 5}
ETHERNET = bytes(6) + b"\x02" * 6


def ethernet(ethertype: int, payload: bytes, vlans: tuple[tuple[int, int], ...] = ()) -> bytes:
    """A frame; `vlans` are pairs of a tag's own EtherType and its VLAN, the outer one first."""
    types = [*(kind for kind, _ in vlans), ethertype]
    tags = b"".join(struct.pack("!HH", vlan, after) for (_, vlan), after in zip(vlans, types[1:], strict=True))
    return ETHERNET + struct.pack("!H", types[0]) + tags + payload


def ipv4(
    protocol: int, payload: bytes = b"", source: str = "192.0.2.1", options: bytes = b"", offset: int = 0
) -> bytes:
    """An IPv4 packet to 192.0.2.2; `offset` is that of a fragment, in 8 bytes."""
    words = 5 + len(options) // 4
    fields = 0x40 | words, 0, 4 * words + len(payload), 1, offset, 64, protocol, 0
    addresses = socket.inet_aton(source) + socket.inet_aton("192.0.2.2")
    return struct.pack("!BBHHHBBH", *fields) + addresses + options + payload


def ipv6(protocol: int, payload: bytes = b"", source: str = "2001:db8::1") -> bytes:
    """An IPv6 packet to 2001:db8::2."""
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + addresses + payload


def udp(port: int, payload: bytes = b"", source: int = 4000) -> bytes:
    """A UDP header and its payload; TCP's begins with the same two ports."""
    return struct.pack("!HHHH", source, port, 8 + len(payload), 0) + payload


def question(name: str, kind: str = "A", number: int = 1, flags: int = 0x0100, answers: int = 0) -> bytes:
    """A DNS message with one question (RFC 1035, 4.1); `flags` begin with the bit that says that it answers."""
    labels = [label.encode() for label in name.split(".") if label]
    encoded = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return struct.pack("!6H", number, flags, 1, answers, 0, 0) + encoded + struct.pack("!HH", TYPES[kind], 1)


def answer(asked: bytes, code: str = "NOERROR", answers: int = 0) -> bytes:
    """The answer to a question, without the records that it would hold."""
    return asked[:2] + struct.pack("!HHH", 0x8180 | CODES[code], 1, answers) + asked[8:]


def drawn(session):
    """The tool's picture shows something."""
    import matplotlib.pyplot as plt

    axes = session.plot()
    assert axes.patches or axes.lines or axes.collections
    plt.close("all")


def events(session, count):
    """The frame of exactly that many events: it waits for them, and a little longer for one too many."""
    session.events.wait(count, timeout=10)
    assert not session.events.wait(count + 1, timeout=0.1)
    assert session.events.stats()["received"] == count
    return session.rows()


def _on_loopback(*programs: str):
    # Questions over loopback, and their answers; with the programs attached there.
    @contextlib.contextmanager
    def workload():
        with fresh(), udp_receiver("127.0.0.1", 53) as server:

            def make():
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    for number in range(QUESTIONS):
                        client.sendto(question("www.example.org", number=number), server.getsockname())
                        asked, address = server.recvfrom(512)
                        server.sendto(answer(asked), address)
                        client.recv(512)

            yield {"targets": dict.fromkeys(programs, "lo")}, make

    return workload


@contextlib.contextmanager
def devices():
    """Open a device again and again, in a cgroup."""
    with cgroups.private() as group, group.inside():

        def make():
            for _ in range(OPENS):
                os.close(os.open("/dev/null", os.O_RDONLY))

        yield {"targets": {"on_device": group.name}}, make


@contextlib.contextmanager
def opens():
    """Open a file again and again."""

    def make():
        for _ in range(OPENS):
            os.close(os.open("/proc/self/stat", os.O_RDONLY))

    yield {"vars": {"pid": os.getpid(), "name": "stat"}}, make


WORKLOADS = {
    "xdpcount": _on_loopback("on_packet"),
    "xdpdrop": _on_loopback("on_packet"),
    "xdpdns": _on_loopback("on_arrival", "on_departure"),
    "devpolicy": devices,
    "lsmfile": opens,
}
