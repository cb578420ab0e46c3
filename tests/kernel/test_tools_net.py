"""The tools that look at packets, held against the interfaces' own counters and what was sent.

Packets are built byte by byte, or travel over a veth pair between fresh namespaces, where nobody else sends any.
"""

from __future__ import annotations

import json
import socket
import time

import cells
import matplotlib.pyplot as plt
import pytest
import workloads_net as net
from netns import NEAR_MAC, received, send_udp, udp_receiver
from netns import tool as command
from workloads_net import drawn, events

from ebpflab.errors import MapError

PORT = 4242
FRAGMENT, HOP_BY_HOP, ROUTING, DESTINATION = 44, 0, 43, 60  # IANA's numbers of IPv6's extension headers


# xdpcount


def counted(session):
    """What xdpcount has counted: {(network, protocol): (packets, bytes)}."""
    frame = session.rows()
    return {(str(row.network), str(row.protocol)): (row.packets, row.bytes) for row in frame.itertuples()}


def sent(wire):
    """The packets and bytes that the far interface has sent, as ip(8) tells."""
    with wire.far.inside():
        counters = json.loads(command("ip", "-s", "-j", "link", "show", wire.far_interface))[0]["stats64"]["tx"]
    return counters["packets"], counters["bytes"]


def both(session, wire):
    """What the tool and the interface have counted; no report of a multicast group came in between."""
    while True:
        before = counted(session)
        there = sent(wire)
        if counted(session) == before:
            return [sum(column) for column in zip((0, 0), *before.values(), strict=True)], there


def send_frames(interface, frame, count):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((interface, 0))
        for _ in range(count):
            raw.send(frame)


def test_xdpcount_counts_what_the_interface_counts(tool, wire):
    session = tool("xdpcount", targets={"on_packet": wire.near_interface})
    arp = bytes.fromhex(NEAR_MAC.replace(":", "")) + net.ethernet(0x0806, bytes(28))[6:]
    first = both(session, wire)
    with wire.far.inside():
        send_udp(23, wire.near_address, PORT, bytes(100))
        send_udp(13, wire.near_address6, PORT, bytes(1000))
        for _ in range(7):
            with socket.socket() as client:
                assert client.connect_ex((wire.near_address, 1)) == 111  # a SYN; what is refused leaves
        send_frames(wire.far_interface, arp, 5)
    assert cells.wait_until(lambda: counted(session).get(("ARP", "ARP")) == (5, 5 * (14 + 28)))
    found = counted(session)
    assert found["IPv4", "UDP"] == (23, 23 * (14 + 20 + 8 + 100))
    assert found["IPv6", "UDP"] == (13, 13 * (14 + 40 + 8 + 1000))
    assert found["IPv4", "TCP"][0] == 7
    (packets, size), (sent_packets, sent_size) = (
        [now - then for now, then in zip(*each, strict=True)] for each in zip(both(session, wire), first, strict=True)
    )
    assert packets == sent_packets >= 48
    assert sent_size in (size, size - 14 * packets)  # a veth with XDP of its own counts behind the Ethernet header
    drawn(session)


def extension(following, body=b"", length=0):
    """A header that IPv6 has between its own and the next layer's."""
    return bytes([following, length]) + body.ljust(6 + 8 * length, b"\0")


V6 = net.ethernet(0x86DD, b"")
FRAMES = [
    (net.ethernet(0x0800, net.ipv4(6, net.udp(80))), "IPv4", "TCP"),
    (net.ethernet(0x0800, net.ipv4(1)), "IPv4", "ICMP"),
    (net.ethernet(0x0800, net.ipv4(253)), "IPv4", "253"),
    (net.ethernet(0x0800, net.ipv4(17, b"later", offset=3)), "IPv4", "UDP"),
    (net.ethernet(0x0800, net.ipv4(132), ((0x8100, 5),)), "IPv4", "SCTP"),
    (net.ethernet(0x86DD, net.ipv6(17, net.udp(1)), ((0x88A8, 5), (0x8100, 7))), "IPv6", "UDP"),
    (net.ethernet(0x0800, net.ipv4(6), ((0x8100, 1),) * 3), "33024", "33024"),
    (net.ethernet(0x0806, bytes(28)), "ARP", "ARP"),
    (net.ethernet(0x88CC, bytes(28)), "LLDP", "LLDP"),
    (net.ethernet(0x22F0, bytes(28)), "8944", "8944"),
    (net.ethernet(38, bytes(38)), "LLC", "LLC"),
    (net.ethernet(0x0800, net.ipv4(6)[:19]), "IPv4", "IPv4"),
    (net.ethernet(0x86DD, net.ipv6(58)), "IPv6", "ICMPv6"),
    (net.ethernet(0x86DD, net.ipv6(HOP_BY_HOP, extension(58))), "IPv6", "ICMPv6"),
    (net.ethernet(0x86DD, net.ipv6(HOP_BY_HOP, extension(ROUTING, length=2) + extension(6))), "IPv6", "TCP"),
    (net.ethernet(0x86DD, net.ipv6(FRAGMENT, extension(17, b"\0\0") + net.udp(1))), "IPv6", "UDP"),
    (net.ethernet(0x86DD, net.ipv6(FRAGMENT, extension(DESTINATION, b"\0\x08") + bytes(8))), "IPv6", "60"),
    (net.ethernet(0x86DD, net.ipv6(DESTINATION, extension(DESTINATION) * 5 + extension(6))), "IPv6", "TCP"),
    (net.ethernet(0x86DD, net.ipv6(DESTINATION, extension(DESTINATION) * 6 + extension(6))), "IPv6", "60"),
    (net.ethernet(0x86DD, net.ipv6(ROUTING, extension(6)[:1])), "IPv6", "43"),
]


def test_xdpcount_finds_the_protocol_behind_tags_and_extensions(tool):
    session = tool("xdpcount", attach=False)
    expected = {}
    for turn, (frame, network, protocol) in enumerate(FRAMES, start=1):
        result = session.test_run("on_packet", data=frame, repeat=turn)
        assert result.verdict == "XDP_PASS"
        assert result.data_out == frame
        packets, size = expected.get((network, protocol), (0, 0))
        expected[network, protocol] = packets + turn, size + turn * len(frame)
    assert counted(session) == expected


# xdpdrop


@pytest.fixture
def drop(tool, wire):
    """A session of xdpdrop at near0, and a function: how many of some datagrams from the far side arrive."""
    session = tool("xdpdrop", targets={"on_packet": wire.near_interface})

    def arriving(count, port=PORT, six=False):
        address = wire.near_address6 if six else wire.near_address
        before, arrived = dropped(session), []
        with udp_receiver(address, port) as receiver:
            with wire.far.inside():
                send_udp(count, address, port)

            def all_seen():
                arrived.append(received(receiver, 0))
                return sum(arrived) + dropped(session) - before >= count

            assert cells.wait_until(all_seen)
            return sum(arrived) + received(receiver, 0)

    return session, arriving


def rules(session, name):
    """The entries of a map of xdpdrop: {key: (packets, bytes)}."""
    frame = session.maps[name].df()
    return {str(row[1]): tuple(row[2:]) for row in frame.itertuples()}


def dropped(session):
    return rules(session, "verdicts").get("XDP_DROP", (0, 0))[0]


SIZES = {False: 14 + 20 + 8 + 7, True: 14 + 40 + 8 + 7}  # of the datagrams that netns.py sends
FAMILIES = pytest.mark.parametrize(
    ("six", "network", "wider", "address"),
    [(False, "10.77.0.0/24", "10.0.0.0/8", "10.77.0.2"), (True, "fd77::/64", "fd00::/8", "fd77::2")],
    ids=["IPv4", "IPv6"],
)


@FAMILIES
def test_xdpdrop_drops_sources_from_when_they_are_listed(drop, six, network, wider, address):
    session, arriving = drop
    blocked, size = session.maps["blocked"], SIZES[six]
    assert arriving(23, six=six) == 23
    blocked[wider] = {}
    assert arriving(13, six=six) == 0
    blocked[network] = {}  # the longest prefix that a source has is its rule
    assert arriving(11, six=six) == 0
    blocked[address] = {}
    assert arriving(7, six=six) == 0
    assert {tuple(blocked[key]) for key in (wider, network, address)} == {
        (13, 13 * size), (11, 11 * size), (7, 7 * size)
    }  # fmt: skip
    assert arriving(5, six=not six) == 5  # the other family is not meant
    del blocked[wider], blocked[network], blocked[address]
    assert arriving(3, six=six) == 3
    found = rules(session, "verdicts")
    assert found["XDP_DROP"] == (31, 31 * size)
    assert found["XDP_PASS"][0] >= 31  # and what the far side reports of multicast groups


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
def test_xdpdrop_drops_what_goes_to_a_listed_port(drop, six):
    session, arriving = drop
    session.maps["ports"][PORT] = {}
    assert arriving(17, six=six) == 0
    assert arriving(13, port=PORT + 1, six=six) == 13
    assert rules(session, "ports") == {str(PORT): (17, 17 * SIZES[six])}
    session.maps["blocked"]["fd77::2" if six else "10.77.0.2"] = {}
    assert arriving(7, six=six) == 0
    assert rules(session, "ports") == {str(PORT): (17, 17 * SIZES[six])}  # the source came first
    assert session.rows()["packets"].tolist() == [7]
    drawn(session)


def test_xdpdrop_decides_about_built_packets(tool):
    session = tool("xdpdrop", attach=False)
    session.maps["blocked"].update({"192.0.2.0/25": {}, "2001:db8:1::/48": {}})
    session.maps["ports"][53] = {}
    packets = {
        net.ethernet(0x0800, net.ipv4(17, net.udp(80), source="192.0.2.127")): "DROP",
        net.ethernet(0x0800, net.ipv4(17, net.udp(80), source="192.0.2.128")): "PASS",
        net.ethernet(0x0800, net.ipv4(6, net.udp(53), source="192.0.2.128"), ((0x8100, 7),)): "DROP",
        net.ethernet(0x0800, net.ipv4(17, net.udp(53), source="192.0.2.129", options=bytes(8))): "DROP",
        net.ethernet(0x0800, net.ipv4(17, net.udp(53), source="192.0.2.129", offset=1)): "PASS",
        net.ethernet(0x0800, net.ipv4(17, net.udp(80, source=53), source="192.0.2.129")): "PASS",
        net.ethernet(0x0800, net.ipv4(47, net.udp(53), source="192.0.2.129")): "PASS",
        net.ethernet(0x86DD, net.ipv6(17, net.udp(80), source="2001:db8:1::9")): "DROP",
        net.ethernet(0x86DD, net.ipv6(17, net.udp(80), source="2001:db8:2::9")): "PASS",
        net.ethernet(0x86DD, net.ipv6(6, net.udp(53), source="2001:db8:2::9")): "DROP",
        net.ethernet(0x0806, bytes(28)): "PASS",
        net.ethernet(0x0800, net.ipv4(17, source="192.0.2.1"))[:33]: "PASS",  # cut off
    }
    found = session.test_run("on_packet", data=list(packets))
    assert found["verdict"].tolist() == [f"XDP_{verdict}" for verdict in packets.values()]
    axes = session.maps["verdicts"].plot.verdicts(packets="packets", size="bytes")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["XDP_PASS", "XDP_DROP"]
    plt.close("all")


def test_xdpdrop_refuses_what_is_no_network(tool):
    session = tool("xdpdrop", attach=False)
    with pytest.raises(MapError):
        session.maps["blocked"]["10.0.0.0/33"] = {}
    with pytest.raises(MapError):
        session.maps["ports"][65536] = {}


# xdpdns


@pytest.fixture
def dns(tool, wire):
    """xdpdns at an end of the cable; a function that asks from near, and answers from far, as it is told."""
    server = wire.far_receiver(53)
    server.settimeout(10)
    client = udp_receiver(wire.near_address, 0)
    client.settimeout(10)
    client.connect((wire.far_address, 53))

    def ask(*messages, code="NOERROR", answers=0, pause=0.0):
        for message in messages:
            client.send(message)
            asked, address = server.recvfrom(512)
            time.sleep(pause)
            server.sendto(net.answer(asked, code, answers), address)
            assert client.recv(512)[:2] == message[:2]

    def look(end="near", **vars):
        interface = f"{end}0" if end == "near" else f"far0,netns={wire.far.path}"
        return tool("xdpdns", targets=dict.fromkeys(("on_arrival", "on_departure"), interface), vars=vars)

    with server, client:
        yield look, ask, client


@pytest.mark.parametrize("end", ["near", "far"])
def test_xdpdns_sees_questions_and_answers_at_the_client_and_at_the_server(dns, end):
    look, ask, _ = dns
    session = look(end)
    names = [f"host{number}.example.org" for number in range(11)]
    ask(*(net.question(name, "AAAA", number) for number, name in enumerate(names)), answers=3)
    ask(net.question("nowhere.example.org", "MX"), code="NXDOMAIN", pause=0.05)
    ask(net.question(".", "NS"), code="REFUSED")
    frame = events(session, 26)
    names += ["nowhere.example.org", "."]
    assert list(frame["name"]) == [name for name in names for _ in "qa"]
    assert list(frame["message"]) == ["QUESTION", "NOERROR"] * 11 + ["QUESTION", "NXDOMAIN", "QUESTION", "REFUSED"]
    assert list(frame["type"]) == ["AAAA"] * 22 + ["MX"] * 2 + ["NS"] * 2
    assert list(frame["answers"]) == [0, 3] * 11 + [0] * 4
    assert set(frame["client"]) == {"10.77.0.1"}
    assert set(frame["server"]) == {"10.77.0.2"}
    took = frame["took"].dt.total_seconds()
    assert (took[::2] == 0).all()
    assert (took[1::2] > 0).all()
    assert took[23] >= 0.05 > took[25]
    drawn(session)


def test_xdpdns_may_look_at_another_port_and_only_for_failures(dns, wire):
    look, ask, _ = dns
    session = look(only_failed=True)
    other = look("far", port=5353)
    ask(*(net.question("good.example.org", number=number) for number in range(7)))
    ask(*(net.question("bad.example.org", number=number) for number in range(5)), code="SERVFAIL")
    send_udp(3, wire.far_address, 5353, net.question("printer.local", "ANY"))
    frame = events(session, 5)
    assert set(frame["name"]) == {"bad.example.org"}
    assert set(frame["message"]) == {"SERVFAIL"}
    assert (frame["took"].dt.total_seconds() > 0).all()
    assert set(events(other, 3)["name"]) == {"printer.local"}


def test_xdpdns_sees_what_is_sent_over_loopback_once(tool, netns):
    session = tool("xdpdns", targets={"on_arrival": "lo", "on_departure": "lo"})
    with udp_receiver("127.0.0.1", 53) as v4, udp_receiver("::1", 53) as v6:
        send_udp(13, "127.0.0.1", 53, net.question("a.example.org"))
        send_udp(11, "::1", 53, net.question("b.example.org"))
        send_udp(7, "::1", 53, b"too short")
        assert [received(v4, 13), received(v6, 18)] == [13, 18]
    frame = events(session, 24)
    assert frame.groupby("client", observed=True)["name"].agg(set).to_dict() == {
        "127.0.0.1": {"a.example.org"},
        "::1": {"b.example.org"},
    }


def test_xdpdns_reads_a_question_that_leaves_in_pieces(dns, wire):
    look, _, client = dns
    session = look()
    name = "x" * 63 + ".example.org"
    for cut in (13, 31, 83):
        message = net.question(name)
        client.send(message[:cut], socket.MSG_MORE)
        client.send(message[cut:])
    assert list(events(session, 3)["name"]) == [name] * 3


LONGEST = ".".join(["x" * 63, "y" * 63, "z" * 63, "w" * 61])  # 255 bytes as DNS counts them
GOOD = {
    "a label": net.question("localhost"),
    "the root": net.question("."),
    "the longest name": net.question(LONGEST, "TXT"),
    "an answer": net.question("www.example.org", flags=0x8183),
}
BAD = {
    "no question": net.question("www.example.org")[:12],
    "cut off in a label": net.question("www.example.org")[:20],
    "cut off behind a label": net.question("www.example.org")[:16],
    "cut off behind the name": net.question("www.example.org")[:30],
    "a name too long": net.question(LONGEST + "w"),
    "a pointer": net.question("")[:12] + b"\xc0\x0c\0\x01\0\x01",
    "no whole header": net.question("")[:11],
    "nothing but lengths": net.question("")[:12] + b"\x01" * 512,
}


def run(session, message, port=53):
    payload = net.udp(4000, message, source=port) if message[2:] and message[2] & 0x80 else net.udp(port, message)
    for packet in (net.ethernet(0x0800, net.ipv4(17, payload)), net.ethernet(0x86DD, net.ipv6(17, payload))):
        assert session.test_run("on_arrival", data=packet).verdict == "XDP_PASS"


def test_xdpdns_reads_whole_names_and_nothing_else(tool):
    session = tool("xdpdns", attach=False)
    for message in (*GOOD.values(), *BAD.values()):
        run(session, message)
        run(session, message, port=54)
    frame = events(session, 2 * len(GOOD))
    names = ["localhost", ".", LONGEST, "www.example.org"]
    assert list(frame["name"]) == [name for name in names for _ in "46"]
    assert list(frame["client"][:2]) == ["192.0.2.1", "2001:db8::1"]
    assert list(frame["client"][6:]) == ["192.0.2.2", "2001:db8::2"]
    assert list(frame["message"][6:]) == ["NXDOMAIN"] * 2
    assert session.events.stats()["lost"] == 0
