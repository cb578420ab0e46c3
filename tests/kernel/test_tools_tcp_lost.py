"""What is sent again over TCP, held against the sockets' own numbers and the counters of the namespace.

Segments get lost on a veth pair: an address of Ethernet that nobody has, or a program that drops them.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from pathlib import Path

import cells
import pytest
import workloads_tcp as tcp
from netns import FAR_MAC, NEAR_MAC, ip, neighbours
from test_tools_tcp import FAMILIES, drawn, events

import ebpflab

NO_MAC = "02:00:00:00:77:ff"
DROP = 'SEC("tc") int drop(struct __sk_buff *skb) { return TC_ACT_SHOT; }'


@contextlib.contextmanager
def losing(wire, *, back=False):
    """What is sent from near to far, or back, goes to nobody."""
    addresses = (wire.near_address, wire.near_address6) if back else (wire.far_address, wire.far_address6)
    interface, mac = (wire.far_interface, NEAR_MAC) if back else (wire.near_interface, FAR_MAC)
    with wire.far.inside() if back else contextlib.nullcontext():
        ip(*neighbours(interface, NO_MAC, *addresses))
    yield
    with wire.far.inside() if back else contextlib.nullcontext():
        ip(*neighbours(interface, mac, *addresses))


def counter(name):
    """A counter of this thread's network namespace; see proc_net(5)."""
    lines = Path("/proc/thread-self/net/netstat").read_text().splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        if name in names.split():
            return int(values.split()[names.split().index(name)])
    raise AssertionError(f"no counter {name}")


def retransmitting(wire, client, accepted, times):
    """Send 1009 bytes that are lost until they have been sent again that often."""
    with losing(wire):
        client.sendall(bytes(1009))
        assert cells.wait_until(lambda: tcp.tcp_info(client, "total_retrans") >= times)
    assert len(tcp.read(accepted, 1009)) == 1009
    assert cells.wait_until(lambda: tcp.tcp_info(client, "unacked") == 0)


def test_tcplife_counts_what_is_sent_again_once(tool, wire):
    with wire.far.inside():
        server = tcp.listener(wire.far_address)
    with server:
        session = tool("tcplife", vars={"port": tcp.port_of(server)})
        client, accepted = tcp.connected(server)
        with client, accepted:
            retransmitting(wire, client, accepted, 2)
    frame = events(session, 2)
    assert sorted(zip(frame["sent"], frame["received"], strict=True)) == [(0, 1009), (1009, 0)]


def test_tcpretrans_sees_each_syn_that_is_sent_again(tool, netns):
    with tcp.full() as server:
        session = tool("tcpretrans", vars={"port": tcp.port_of(server)})
        with tcp.calling(server, 13):
            frame = events(session, 13)
            expected = counter("TCPSynRetrans")
    assert expected == 13
    assert set(frame["state"]) == {"SYN_SENT"}
    assert set(frame["pid"]) == {os.getpid()}
    assert set(frame["error"]) == {"OK"}
    assert frame["local_port"].nunique() == 13
    drawn(session)


@pytest.mark.parametrize("six", [False, True], ids=FAMILIES)
def test_tcpretrans_sees_each_segment_that_is_sent_again(tool, wire, six):
    far = wire.far_address6 if six else wire.far_address
    with wire.far.inside():
        server, other = tcp.listener(far), tcp.listener(far)
    with server, other:
        session = tool("tcpretrans", vars={"port": tcp.port_of(server)})
        client, accepted = tcp.connected(server)
        second = tcp.connected(other)
        with client, accepted, second[0], second[1]:
            retransmitting(wire, *second, 1)  # on another port
            retransmitting(wire, client, accepted, 2)
            frame = events(session, tcp.tcp_info(client, "total_retrans"))
            assert set(frame["local_port"]) == {tcp.port_of(client)}
            assert set(frame["remote_port"]) == {tcp.port_of(server)}
    assert set(frame["remote"]) == {far}
    assert set(frame["state"]) == {"ESTABLISHED"}
    assert set(frame["pid"]) == {os.getpid()}


def test_tcpretrans_knows_who_accepted(tool, wire):
    with wire.far.inside():
        server = tcp.listener(wire.far_address)
    with server:
        session = tool("tcpretrans", vars={"port": tcp.port_of(server)})
        client, accepted = tcp.connected(server)
        with client, accepted:
            with losing(wire, back=True):
                accepted.sendall(b"x")
                assert cells.wait_until(lambda: tcp.tcp_info(accepted, "total_retrans") >= 2)
            assert client.recv(1) == b"x"
            assert cells.wait_until(lambda: tcp.tcp_info(accepted, "unacked") == 0)
            frame = events(session, tcp.tcp_info(accepted, "total_retrans"))
            assert set(frame["local_port"]) == {tcp.port_of(server)}
    assert set(frame["pid"]) == {os.getpid()}
    assert set(frame["comm"]) == {Path("/proc/self/comm").read_text().strip()}


def test_tcpretrans_sees_answers_to_a_syn_that_are_sent_again(tool, wire):
    session = tool("tcpretrans")
    with wire.far.inside():
        server = tcp.listener(wire.far_address)
    with server, contextlib.ExitStack() as stack:
        with losing(wire, back=True):
            stack.enter_context(tcp.calling(server))
            with wire.far.inside():
                assert cells.wait_until(lambda: counter("TCPSynRetrans") >= 2)
        server.accept()[0].close()
        with wire.far.inside():
            expected, port = counter("TCPSynRetrans"), tcp.port_of(server)
        cells.wait_until(lambda: len(of_port(session, port)) >= expected)
    frame = of_port(session, port)
    assert len(frame) == expected
    assert set(frame["state"]) == {"NEW_SYN_RECV"}
    assert set(frame["pid"]) == {os.getpid()}
    assert set(frame["remote"]) == {wire.near_address}


def of_port(session, port):
    frame = session.rows()
    return frame[frame["local_port"] == port]


def test_tcpretrans_tells_segments_that_could_not_be_sent_again_where_the_kernel_does(tool, wire):
    with wire.far.inside():
        server = tcp.listener(wire.far_address)
    with server:
        session = tool("tcpretrans", vars={"port": tcp.port_of(server)})
        client, accepted = tcp.connected(server)
        with client, accepted:
            with losing(wire):
                client.sendall(b"x")
                assert cells.wait_until(lambda: tcp.tcp_info(client, "total_retrans") >= 1)
                with ebpflab.load(DROP, targets={"drop": f"{wire.near_interface},direction=egress"}):
                    assert cells.wait_until(lambda: counter("TCPRetransFail") >= 2)
            assert accepted.recv(1) == b"x"
            assert cells.wait_until(lambda: tcp.tcp_info(client, "unacked") == 0)
            failed, tried = counter("TCPRetransFail"), tcp.tcp_info(client, "total_retrans")
            told = failed if tells_errors() else 0
            frame = events(session, tried - failed + told)
    assert failed >= 2
    assert Counter(frame["error"].astype(str)) == Counter({"OK": tried - failed, "ENOBUFS": told})


def tells_errors():
    return "field:int err;" in Path("/sys/kernel/tracing/events/tcp/tcp_retransmit_skb/format").read_text()
