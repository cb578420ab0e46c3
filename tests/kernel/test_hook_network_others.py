"""Netkit devices, netfilter hooks and the flow dissector, with packets of the test's own."""

from __future__ import annotations

import errno
import re
import socket
import struct

import cells
import netns as net
import pytest
from cells_network import CELLS

from ebpflab.errors import AttachError, HookNotFoundError

PORT = 4242
NF_DROP, NF_ACCEPT = 0, 1
NETKIT_PASS, NETKIT_DROP = 0, 2


def attached(load, cell, target, **variables):
    session = load(CELLS[cell], attach=False, vars={"port": PORT, **variables})
    session.attach(target=target)
    return session


def to_self(count, address="127.0.0.1", expected=None):
    """Send datagrams over loopback; returns how many arrived."""
    with net.udp_receiver(address, PORT) as receiver:
        net.send_udp(count, address, PORT)
        return net.received(receiver, count if expected is None else expected)


@pytest.mark.hook("netfilter")
@pytest.mark.parametrize(("target", "number", "family", "address"), [
    ("ipv4:pre_routing", 0, socket.AF_INET, "127.0.0.1"),
    ("ipv4:local_in", 1, socket.AF_INET, "127.0.0.1"),
    ("ipv4:local_out", 3, socket.AF_INET, "127.0.0.1"),
    ("ipv4:post_routing,priority=-200", 4, socket.AF_INET, "127.0.0.1"),
    ("ipv4:input,defrag=1", 1, socket.AF_INET, "127.0.0.1"),
    ("ipv6:local_in", 1, socket.AF_INET6, "::1"),
])  # fmt: skip
def test_a_netfilter_program_sees_each_packet_and_accepts_it(netns, load, target, number, family, address):
    session = attached(load, "netfilter", target, verdict=NF_ACCEPT)
    assert session.links["hook"].tolist() == ["netfilter"]
    assert session.links["target"].tolist() == [target]
    assert to_self(23, address) == 23
    assert (session.vars["seen"], session.vars["hook"], session.vars["family"]) == (23, number, family)
    if number in (0, 1):  # the hooks that know where a packet came in
        assert session.vars["ifindex"] == socket.if_nametoindex("lo")
    session.detach()
    assert to_self(3, address) == 3
    assert session.vars["seen"] == 23


@pytest.mark.hook("netfilter")
def test_what_a_netfilter_program_drops_does_not_arrive(netns, load):
    session = attached(load, "netfilter", "ipv4:local_in", verdict=NF_DROP)
    assert to_self(13, expected=0) == 0
    assert cells.wait_until(lambda: session.vars["seen"] == 13, timeout=20)
    session.detach()
    assert to_self(5) == 5


@pytest.mark.hook("netfilter")
def test_netfilter_programs_run_in_the_order_of_their_priorities(netns, load):
    late = attached(load, "netfilter", "ipv4:local_in,priority=10", verdict=NF_ACCEPT)
    early = attached(load, "netfilter", "ipv4:local_in,priority=-10", verdict=NF_DROP)
    assert to_self(7, expected=0) == 0
    assert cells.wait_until(lambda: early.vars["seen"] == 7, timeout=20)
    assert late.vars["seen"] == 0


@pytest.mark.hook("netfilter")
def test_a_priority_that_is_taken_names_the_next(netns, load):
    attached(load, "netfilter", "ipv4:local_in", verdict=NF_ACCEPT)
    with pytest.raises(AttachError, match="priority 0 at ipv4:local_in") as caught:
        attached(load, "netfilter", "ipv4:local_in", verdict=NF_DROP)
    assert caught.value.errno == errno.EBUSY
    session = attached(load, "netfilter", caught.value.hint, verdict=NF_DROP)
    assert to_self(3, expected=0) == 0
    assert cells.wait_until(lambda: session.vars["seen"] == 3, timeout=20)


@pytest.mark.hook("netfilter")
@pytest.mark.parametrize(("target", "words"), [
    ("ipv4:localin", "local_in"),
    ("ipv5:local_in", "ipv4:HOOK"),
    ("ipv4:local_in,priority=first", "priority=first is not a number"),
    (f"ipv4:local_in,priority={-(2**31)}", "priority=-2147483648"),
    (f"ipv4:local_in,priority={2**40}", "2147483646"),
    ("ipv4:local_in,defrag=1,priority=-400", "from -399 to"),
])  # fmt: skip
def test_a_wrong_netfilter_target_is_explained(netns, load, target, words):
    with pytest.raises(AttachError) as caught:
        attached(load, "netfilter", target, verdict=NF_DROP)
    assert words in str(caught.value)
    assert to_self(3) == 3


@pytest.fixture
def netkit(netns):
    """A pair of netkit devices, which ask for no neighbours; kit0 is the primary one, and peer0 its peer far away."""
    with net.another() as far:
        wire = net.Wire(netns, far, near_interface="kit0", far_interface="peer0")
        # ip(8) as of 6.1 knows the kind but none of its options, so they get the names that the kernel chooses.
        net.ip(
            "link add type netkit",
            "link set nk1 name kit0",
            f"link set nk0 netns {far.path} name peer0",
            *net.up("kit0", wire.near_address),
        )
        with far.inside():
            net.ip(*net.up("peer0", wire.far_address))
            net.wait_running("peer0")
        net.wait_running("kit0")
        yield wire


@pytest.mark.hook("netkit")
@pytest.mark.parametrize("section", ["netkit/primary", "netkit/peer"])
def test_a_netkit_program_sees_what_its_end_sends(netkit, load, section):
    session = attached(load, section, "kit0", verdict=NETKIT_PASS)
    assert session.links.values.tolist() == [["on_packet", "netkit", "kit0", "attached"]]
    sends, receives = (netkit.send, netkit.far_receiver) if section.endswith("primary") else (
        netkit.send_back, netkit.near_receiver)  # fmt: skip
    with receives(PORT) as receiver:
        sends(23, PORT)
        assert net.received(receiver, 23) == 23
        assert session.vars["seen"] == 23
        session.detach()
        sends(3, PORT)
        assert net.received(receiver, 3) == 3
        assert session.vars["seen"] == 23
        session = attached(load, section, "kit0", verdict=NETKIT_DROP)
        sends(13, PORT)
        assert cells.wait_until(lambda: session.vars["seen"] == 13, timeout=20)
        assert net.received(receiver, 0) == 0


@pytest.mark.hook("netkit")
def test_a_device_that_is_no_primary_netkit_device_is_refused(netkit, load):
    with pytest.raises(AttachError, match="lo is no netkit device"):
        attached(load, "netkit/primary", "lo")
    with pytest.raises(HookNotFoundError, match="kit1"):
        attached(load, "netkit/primary", "kit1")
    with netkit.far.inside(), pytest.raises(AttachError, match="peer0 is the peer's end"):
        attached(load, "netkit/primary", "peer0")


def frames(count, interface="lo"):
    """Send frames of one UDP datagram each past the IP stack: packet(7) has each one dissected, once."""
    udp = struct.pack("!HHHH", 1111, PORT, 15, 0) + b"ebpflab"
    there = socket.inet_aton("127.0.0.1")
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, there, there)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((interface, 0x0800))
        for _ in range(count):
            sender.send(bytes(12) + b"\x08\x00" + ip + udp)


def dissectors():
    """The numbers of the flow dissectors of this namespace, as bpftool tells them."""
    # In text: the JSON of bpftool 7.1 is none here.
    listed = net.tool("bpftool", "net").partition("flow_dissector:")[2]
    return [int(number) for number in re.findall(r"^id (\d+)", listed, re.MULTILINE)]


@pytest.mark.hook("flow_dissector")
def test_the_flow_dissector_sees_each_packet_and_where_its_headers_are(netns, load):
    session = load(CELLS["flow_dissector"], vars={"port": PORT})
    assert session.links.values.tolist() == [["dissect", "flow_dissector", "self", "attached"]]
    assert len(dissectors()) == 1
    frames(23)
    assert cells.wait_until(lambda: session.vars["seen"] >= 23, timeout=20)
    assert (session.vars["seen"], session.vars["offset"]) == (23, 14 + 20)
    session.detach()
    assert dissectors() == []
    frames(3)
    assert session.vars["seen"] == 23


@pytest.mark.hook("flow_dissector")
def test_a_namespace_takes_one_flow_dissector(netns, load):
    first = load(CELLS["flow_dissector"], vars={"port": PORT})
    before = dissectors()
    with pytest.raises(AttachError, match="flow dissector is attached already") as caught:
        load(CELLS["flow_dissector"], vars={"port": PORT})
    assert "takes one" in caught.value.hint
    assert dissectors() == before
    frames(5)
    assert cells.wait_until(lambda: first.vars["seen"] >= 5, timeout=20)
    assert first.vars["seen"] == 5
