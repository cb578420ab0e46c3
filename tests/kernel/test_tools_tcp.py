"""The tools that look at TCP connections, held against the sockets' own numbers.

Connections are of the test's own making, on the loopback of a fresh namespace, so that ports belong to nobody else.
Sizes and counts are exact; times are held against what the workload waits at least.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import time
from collections import Counter
from pathlib import Path

import cells
import matplotlib.pyplot as plt
import pytest
import workloads_tcp as tcp
from forked import Child

FAMILIES = {"IPv4": ("127.0.0.1", "127.0.0.1"), "IPv6": ("::1", "::1")}
RESET = struct.pack("ii", 1, 0)  # SO_LINGER, socket(7): closed at once, and not by a FIN
ends = pytest.mark.parametrize(("address", "shown"), FAMILIES.values(), ids=FAMILIES)


def events(session, count):
    """The frame of exactly that many events: it waits for them, and a little longer for one too many."""
    session.events.wait(count, timeout=10)
    assert not session.events.wait(count + 1, timeout=0.1)
    assert session.events.stats()["received"] == count
    return session.rows()


def drawn(session):
    """The tool's picture shows something."""
    axes = session.plot()
    assert axes.patches or axes.lines or axes.collections
    plt.close("all")


def seconds(column):
    return column.dt.total_seconds()


@ends
def test_tcpconnect_tells_who_connects_to_whom(tool, netns, address, shown):
    with tcp.listener(address) as server, tcp.listener(address) as other:
        session = tool("tcpconnect", vars={"pid": os.getpid()})
        ports = [tcp.converse(server, 1, 1)[0] for _ in range(11)]
        child = Child(lambda _: tcp.converse(other, 1, 1))  # another process, which the filter leaves out
        assert child.end() == 0
        frame = events(session, 11)
        assert list(frame["local_port"]) == ports
        assert set(frame["remote_port"]) == {tcp.port_of(server)}
    assert set(frame["local"]) == set(frame["remote"]) == {shown}
    assert set(frame["pid"]) == {os.getpid()}
    assert set(frame["comm"]) == {Path("/proc/self/comm").read_text().strip()}
    assert set(frame["error"]) == {"OK"}
    assert (seconds(frame["took"]) > 0).all()
    drawn(session)


def test_tcpconnect_tells_why_a_connection_failed(tool, netns):
    session = tool("tcpconnect", vars={"pid": os.getpid(), "only_failed": True})
    with tcp.full() as server, tcp.listener() as good:
        tcp.converse(good, 1, 1)
        with tcp.calling(server, 3):
            pass  # they are closed before an answer comes
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("50021 50021")
        client, accepted = tcp.connected(good)
        with client, accepted, socket.socket() as second:
            assert second.connect_ex(good.getsockname()) == errno.EADDRNOTAVAIL
        refused = good.getsockname()
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 50000")
    for _ in range(7):
        with socket.socket() as client:
            assert client.connect_ex(refused) == errno.ECONNREFUSED
    frame = events(session, 11)
    assert list(frame["error"]) == ["ECANCELED"] * 3 + ["EADDRNOTAVAIL"] + ["ECONNREFUSED"] * 7
    assert set(frame["remote"]) == {"127.0.0.1"}


def test_tcpconnect_measures_until_the_answer(tool, netns):
    with tcp.full() as server:
        session = tool("tcpconnect", vars={"pid": os.getpid()})
        with tcp.calling(server):
            server.accept()[0].close()  # now there is room, when the SYN comes again after a second
            frame = events(session, 1)
    assert 0.9 < seconds(frame["took"])[0] < 10


@ends
def test_tcpaccept_tells_who_accepts_from_whom(tool, netns, address, shown):
    with tcp.listener(address) as server, tcp.listener(address) as other:
        session = tool("tcpaccept", vars={"port": tcp.port_of(server)})
        ports = [tcp.converse(server, 1, 1)[0] for _ in range(7)]
        tcp.converse(other, 1, 1)  # on another port
        ports += [by_accept(server) for _ in range(5)]
        child = Child(lambda tell: tell(f"{os.getpid()} {tcp.converse(server, 1, 1)[0]}"))
        pid, port = map(int, child.line().split())
        assert child.end() == 0
        frame = events(session, 13)
        assert set(frame["local_port"]) == {tcp.port_of(server)}
    assert list(frame["remote_port"]) == [*ports, port]
    assert list(frame["pid"]) == [os.getpid()] * 12 + [pid]
    assert set(frame["local"]) == set(frame["remote"]) == {shown}
    assert set(frame["comm"]) == {Path("/proc/self/comm").read_text().strip()}
    drawn(session)


def by_accept(server):
    # Python calls accept4(2); this is accept(2).
    libc = ctypes.CDLL(None, use_errno=True)
    with socket.create_connection(server.getsockname()[:2]) as client:
        fd = libc.accept(blocking(server).fileno(), None, None)
        assert fd >= 0
        os.close(fd)
        return tcp.port_of(client)


def test_tcpaccept_leaves_out_other_processes_and_what_is_not_tcp(tool, netns):
    session = tool("tcpaccept", vars={"pid": os.getpid()})
    with tcp.listener() as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(f"\0ebpflab-{os.getpid()}")
        local.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(local.getsockname())
            local.accept()[0].close()
        local.setblocking(False)
        server.setblocking(False)
        for one in (local, server):
            with pytest.raises(BlockingIOError):
                one.accept()
        assert Child(lambda _: tcp.converse(blocking(server), 1, 1)).end() == 0
        tcp.converse(blocking(server), 1, 1)
    assert list(events(session, 1)["pid"]) == [os.getpid()]


def blocking(one):
    one.setblocking(True)
    return one


@ends
def test_tcplife_counts_the_bytes_of_each_end_and_the_time(tool, netns, address, shown):
    sizes = [(0, 0), (1, 0), (0, 1), (50_021, 13), (13, 50_021)]
    with tcp.listener(address) as server:
        session = tool("tcplife", vars={"port": tcp.port_of(server)})
        ports = [tcp.converse(server, *size, pause=0.05)[0] for size in sizes]
        frame = events(session, 10)
        active = frame[frame["remote_port"] == tcp.port_of(server)].set_index("local_port").loc[ports]
        passive = frame[frame["local_port"] == tcp.port_of(server)].set_index("remote_port").loc[ports]
    assert list(zip(active["sent"], active["received"], strict=True)) == sizes
    assert list(zip(passive["received"], passive["sent"], strict=True)) == sizes
    assert (seconds(frame["took"]) >= 0.05).all()
    assert set(frame["pid"]) == {os.getpid()}
    assert set(frame["local"]) == set(frame["remote"]) == {shown}
    drawn(session)


def test_tcplife_knows_the_process_of_a_connection_that_ends_in_an_interrupt(tool, netns):
    with tcp.listener() as server:
        session = tool("tcplife", vars={"port": tcp.port_of(server)})
        child = Child(lambda tell: reset(server.getsockname(), tell))
        accepted = server.accept()[0]
        with accepted:
            pid = int(child.line())
            assert child.end() == 0
            frame = events(session, 2).set_index("remote_port")
            assert frame["pid"].to_dict()[tcp.port_of(server)] == pid
            assert set(frame["pid"]) == {pid, os.getpid()}
            assert set(frame["sent"]) == {0}


def reset(address, tell):
    # Close a connection without a goodbye: the other end is closed by the packet that says so.
    with socket.create_connection(address) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        tell(str(os.getpid()))
        time.sleep(0.2)


def test_tcplife_leaves_out_other_processes_and_connections_that_never_were(tool, netns):
    session = tool("tcplife", vars={"pid": os.getpid()})
    with tcp.listener() as server, socket.socket() as client:
        assert Child(lambda _: tcp.converse(server, 3, 5)).end() == 0
        assert client.connect_ex(("127.0.0.1", 1)) == errno.ECONNREFUSED
        tcp.converse(server, 7, 11)
    frame = events(session, 2)
    assert sorted(zip(frame["sent"], frame["received"], strict=True)) == [(7, 11), (11, 7)]


@ends
def test_tcpstates_shows_every_state_of_both_ends(tool, netns, address, shown):
    with tcp.listener(address) as server:
        session = tool("tcpstates", vars={"port": tcp.port_of(server)})
        client, accepted = tcp.connected(server)
        with client, accepted:
            time.sleep(0.05)
            client.shutdown(socket.SHUT_WR)
            assert accepted.recv(1) == b""
            time.sleep(0.1)
            port = tcp.port_of(client)
            accepted.close()
            frame = events(session, 10)
        active = frame[frame["remote_port"] == tcp.port_of(server)]
        passive = frame[frame["local_port"] == tcp.port_of(server)]
    steps = ["CLOSE", "SYN_SENT", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "CLOSE"]
    assert [*active["before"], active["after"].iloc[-1]] == steps
    assert list(active["after"]) == steps[1:]
    steps = ["LISTEN", "SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK", "CLOSE"]
    assert [*passive["before"], passive["after"].iloc[-1]] == steps
    assert list(passive["after"]) == steps[1:]
    assert list(active["pid"]) == [os.getpid()] * 5
    assert list(passive["pid"]) == [0, 0] + [os.getpid()] * 3  # nobody's, until it is accepted
    took = dict(zip(frame["before"], seconds(frame["took"]), strict=True))
    assert took["CLOSE"] == took["LISTEN"] == 0
    assert (seconds(frame["took"])[frame["before"] == "ESTABLISHED"] >= 0.05).all()
    assert took["FIN_WAIT2"] >= 0.05  # from the acknowledgement on, which may be delayed by 40 ms
    assert took["CLOSE_WAIT"] >= 0.1
    assert set(active["local"]) == set(passive["local"]) == set(active["remote"]) == {shown}
    later = passive.iloc[1:]  # the first row is of a copy of the listener, to which Linux 5.10 knows no remote end yet
    assert set(later["remote"]) == {shown}
    assert set(later["remote_port"]) == {port}
    drawn(session)


def test_tcpstates_shows_listeners_and_only_those_of_one_process(tool, netns):
    session = tool("tcpstates", vars={"pid": os.getpid()})
    assert Child(lambda _: tcp.listener().close()).end() == 0
    with tcp.listener() as server:
        port = tcp.port_of(server)
        time.sleep(0.05)
    frame = events(session, 2)
    assert list(zip(frame["before"], frame["after"], strict=True)) == [("CLOSE", "LISTEN"), ("LISTEN", "CLOSE")]
    assert set(frame["local_port"]) == {port}
    assert seconds(frame["took"])[1] >= 0.05


def test_tcprtt_counts_the_times_that_the_sockets_tell(tool, netns):
    with tcp.listener() as server, tcp.listener("::1") as six:
        session = tool("tcprtt", vars={"port": tcp.port_of(server)})
        expected = acknowledged(server, 7)
        acknowledged(six, 3)  # another port
        hist = session.rows()
    assert dict(Counter(expected)) == slots(hist)
    assert sum(hist["count"]) == 15
    assert set(hist["remote"]) == {"::"}
    drawn(session)


def test_tcprtt_tells_addresses_apart(tool, netns):
    session = tool("tcprtt", vars={"by_address": True, "port": 50_021})
    expected = {}
    for family, shown in FAMILIES.values():
        kind = socket.AF_INET6 if ":" in family else socket.AF_INET
        with socket.create_server((family, 50_021), family=kind) as server:
            expected[shown] = dict(Counter(acknowledged(server, 5)))
    hist = session.rows()
    assert {shown: slots(hist[hist["remote"] == shown]) for shown in expected} == expected
    assert set(hist["remote"]) == set(expected)


def slots(hist):
    """The slots that are not empty, by their low end, where the first one begins with 0."""
    return {int(row.low): int(row.count) for row in hist[["low", "count"]].itertuples() if row[2]}


def acknowledged(server, count):
    """Send bytes, each when the one before is acknowledged; returns the slot of each segment that comes in.

    A segment is counted with the time of its end before it comes: of the client, which gets an acknowledgement of each,
    and of the server, which gets the bytes, sends none and so learns nothing new. Reading could send one more.
    """
    found = []
    client, accepted = tcp.connected(server)
    with client, accepted:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)  # answers come late: other slots
        for _ in range(count):
            found += [slot(tcp.tcp_info(client, "rtt")), slot(tcp.tcp_info(accepted, "rtt"))]
            client.sendall(b"x")
            cells.wait_until(lambda: tcp.tcp_info(client, "unacked") == 0)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        found.append(slot(tcp.tcp_info(client, "rtt")))
        accepted.close()  # and one more segment for the client
    return found


def slot(microseconds):
    return 1 << microseconds.bit_length() - 1 if microseconds > 1 else 0


def test_bindsnoop_tells_who_binds_what_and_with_which_result(tool, netns):
    session = tool("bindsnoop", vars={"pid": os.getpid()})
    assert Child(lambda _: tcp.listener().close()).end() == 0
    libc = ctypes.CDLL(None, use_errno=True)
    with (
        socket.socket() as first,
        socket.socket() as second,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as third,
        socket.socket(socket.AF_UNIX) as unix,
        Path("/proc/self/stat").open() as file,
    ):
        first.bind(("127.0.0.1", 0))
        port = tcp.port_of(first)
        for address in (("127.0.0.1", port), ("192.0.2.1", 81)):
            with pytest.raises(OSError):
                second.bind(address)
        third.bind(("::1", 0))
        unix.bind(f"\0ebpflab-{os.getpid()}")
        for fd in (file.fileno(), 2**31 - 1):  # far behind the end of the process's table of files
            assert libc.bind(fd, bytes.fromhex("02000052") + bytes(12), 16) == -1
        frame = events(session, 6)
        expected = [
            ("TCP", "127.0.0.1", port, "OK"),
            ("TCP", "127.0.0.1", port, "EADDRINUSE"),
            ("TCP", "192.0.2.1", 81, "EADDRNOTAVAIL"),
            ("UDP", "::1", tcp.port_of(third), "OK"),
            ("0", "0.0.0.0", 82, "ENOTSOCK"),
            ("0", "0.0.0.0", 82, "EBADF"),
        ]
    columns = ["protocol", "local", "local_port", "error"]
    assert [tuple(map(str, row)) for row in frame[columns].to_numpy()] == [tuple(map(str, row)) for row in expected]
    assert set(frame["pid"]) == {os.getpid()}
    drawn(session)


def test_bindsnoop_shows_only_failed_ones_if_asked(tool, netns):
    session = tool("bindsnoop", vars={"pid": os.getpid(), "only_failed": True})
    with tcp.listener() as server:
        for _ in range(7):
            with socket.socket() as one, pytest.raises(OSError):
                one.bind(server.getsockname())
    assert set(events(session, 7)["error"]) == {"EADDRINUSE"}
