"""Programs of a cgroup: a test is in a cgroup and a network namespace of its own, so that nobody else is counted."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

import netns as net
import pytest
from cells import wait_until
from cells_cgroup import CELLS

PORT, REAL = 4211, 4217
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
# RFC 5737 and RFC 3849: addresses of the documentation, which no route of a fresh namespace leads to.
NOWHERE = {4: "192.0.2.1", 6: "2001:db8::1"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
both = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture
def attached(netns, group, load):
    """Load a cell and attach all of it to the test's cgroup."""

    def attach(name, **constants):
        session = load(CELLS[name], attach=False, vars=constants)
        session.attach(target=str(group.path))
        return session

    return attach


def udp(version=4):
    return socket.socket(FAMILY[version], socket.SOCK_DGRAM)


def listener(version=4, port=0):
    made = socket.socket(FAMILY[version], socket.SOCK_STREAM)
    made.bind((LOOPBACK[version], port))
    made.listen(64)
    return made


def connect(address, port, version=4):
    with socket.socket(FAMILY[version], socket.SOCK_STREAM) as client:
        client.settimeout(20)
        client.connect((address, port))


def write_once(path, data):
    with path.open("wb", buffering=0) as file:  # a buffer would be written again when it is refused
        file.write(data)


def refused():
    return pytest.raises(PermissionError)


@pytest.mark.hook("cgroup_skb")
def test_packets_are_counted_as_they_leave_and_enter_the_sockets_of_a_cgroup(attached, group):
    session = attached("skb", port=PORT)
    with group.inside():
        inside = net.udp_receiver(LOOPBACK[4], PORT)
    with inside:
        net.send_udp(23, LOOPBACK[4], PORT, b"seven b")
        assert net.received(inside, 23) == 23
        assert (session.vars["came"], session.vars["went"]) == (23, 0)
        with group.inside():
            net.send_udp(13, LOOPBACK[4], PORT, b"seven b")
        assert (session.vars["came"], session.vars["went"]) == (36, 13)
        assert session.vars["length"] == 20 + 8 + len(b"seven b")
        session.detach()
        with group.inside():
            net.send_udp(7, LOOPBACK[4], PORT)
        assert (session.vars["came"], session.vars["went"]) == (36, 13)


@pytest.mark.hook("cgroup_skb")
def test_a_packet_that_is_refused_on_its_way_out_is_an_error_and_on_its_way_in_is_lost(attached, group):
    session = attached("skb", port=PORT)
    session.vars["deny"] = 1
    with group.inside():
        inside, sender = net.udp_receiver(LOOPBACK[4], PORT), udp()
    with inside, sender:
        net.send_udp(11, LOOPBACK[4], PORT)
        assert session.vars["came"] == 11
        for _ in range(5):
            with refused():
                sender.sendto(b"", (LOOPBACK[4], PORT))
        assert (session.vars["came"], session.vars["went"]) == (11, 5)
        session.detach()
        sender.sendto(b"", (LOOPBACK[4], PORT))
        assert net.received(inside, 1) == 1


@pytest.mark.hook("cgroup_skb")
@pytest.mark.parametrize(("direction", "seen"), [("", 0), ("ingress", 0), ("egress", 17)])
def test_the_direction_of_cgroup_skb_is_chosen_when_attaching(load, netns, group, direction, seen):
    session = load(CELLS["skb_either"], attach=False, vars={"port": PORT})
    session.attach(target=str(group.path), **({"direction": direction} if direction else {}))
    with net.udp_receiver(LOOPBACK[4], PORT) as receiver, group.inside():
        net.send_udp(17, LOOPBACK[4], PORT)
        assert net.received(receiver, 17) == 17
    assert session.vars["came"] == seen


@pytest.mark.hook("cgroup_sock")
def test_sockets_are_counted_as_they_are_made_and_closed(attached, group):
    session = attached("sock")
    with group.inside():
        with contextlib.ExitStack() as open_sockets:
            for _ in range(13):
                open_sockets.enter_context(udp())
            assert (session.vars["created"], session.vars["released"]) == (13, 0)
        assert (session.vars["created"], session.vars["released"]) == (13, 13)
        made = {name: session.vars[name] for name in ("family", "type", "protocol")}
        assert made == {"family": socket.AF_INET, "type": socket.SOCK_DGRAM, "protocol": socket.IPPROTO_UDP}
        session.vars["deny"] = 1
        for _ in range(3):
            with refused():
                udp()
    udp().close()
    assert session.vars["created"] == 16, "a socket outside of the cgroup is not seen"
    session.detach()
    with group.inside():
        udp().close()
    assert session.vars["created"] == 16


@pytest.mark.hook("cgroup_sock")
@both
def test_post_bind_sees_the_address_and_port_that_a_socket_got(attached, group, version):
    session = attached("post_bind")
    with group.inside():
        for _ in range(7):
            with udp(version) as bound:
                bound.bind((LOOPBACK[version], 0))
                assert session.vars[f"port{version}"] == bound.getsockname()[1]
        assert session.vars[f"address{version}"] == (0x7F000001 if version == 4 else 1)
        session.vars["deny"] = 1
        with udp(version) as bound, refused():
            bound.bind((LOOPBACK[version], 0))
        session.detach()
        with udp(version) as bound:
            bound.bind((LOOPBACK[version], 0))
    assert (session.vars["bound4"], session.vars["bound6"]) == ((8, 0) if version == 4 else (0, 8))


@pytest.mark.hook("cgroup_sock_addr")
@both
def test_bind_is_counted_and_refused_by_port(attached, group, version):
    session = attached("bind", port=PORT)
    session.vars["deny"] = 1
    with group.inside():
        for _ in range(11):
            with udp(version) as free:
                free.bind((LOOPBACK[version], 0))
        with udp(version) as taken, refused():
            taken.bind((LOOPBACK[version], PORT))
        assert session.vars[f"seen{version}"] == 12
        assert session.vars["address"] == (0x7F000001 if version == 4 else 1)
        assert session.vars["kind"] == socket.SOCK_DGRAM
        session.detach()
        with udp(version) as taken:
            taken.bind((LOOPBACK[version], PORT))
        assert session.vars[f"seen{version}"] == 12


@pytest.mark.hook("cgroup_sock_addr")
@both
def test_connections_are_sent_elsewhere_and_still_show_the_peer_that_was_asked_for(attached, group, version):
    with listener(version, REAL):
        session = attached("connect", port=PORT, real=REAL)
        with group.inside():
            for _ in range(13):
                connect(NOWHERE[version], PORT, version)
            assert session.vars[f"seen{version}"] == 13
            with socket.socket(FAMILY[version], socket.SOCK_STREAM) as client:
                client.connect((NOWHERE[version], PORT))
                assert client.getpeername()[1] == PORT
                assert session.vars[f"peers{version}"] == 1
                session.detach()
                assert client.getpeername()[:2] == (LOOPBACK[version], REAL)
            with pytest.raises(OSError, match="unreachable"):
                connect(NOWHERE[version], PORT, version)
        assert (session.vars[f"seen{version}"], session.vars[f"peers{version}"]) == (14, 1)


@pytest.mark.hook("cgroup_sock_addr")
@both
def test_connect_is_refused_with_EPERM(attached, group, version):
    with listener(version, PORT):
        session = attached("connect", port=PORT)
        session.vars["deny"] = 1
        with group.inside():
            for _ in range(5):
                with refused():
                    connect(LOOPBACK[version], PORT, version)
            session.detach()
            connect(LOOPBACK[version], PORT, version)
        assert session.vars[f"seen{version}"] == 5


@pytest.mark.hook("cgroup_sock_addr")
@both
def test_datagrams_are_sent_elsewhere_and_come_from_another_port(attached, group, version):
    session = attached("datagrams", port=PORT, real=REAL)
    with group.inside(), net.udp_receiver(LOOPBACK[version], REAL) as receiver, udp(version) as sender:
        for _ in range(11):
            sender.sendto(b"there", (NOWHERE[version], PORT))
        receiver.settimeout(20)
        came_from = [receiver.recvfrom(16)[1][:2] for _ in range(11)]
        assert came_from == [(LOOPBACK[version], PORT)] * 11
        assert (session.vars[f"sent{version}"], session.vars[f"got{version}"]) == (11, 11)
        session.vars["deny"] = 1
        with refused():
            sender.sendto(b"there", (NOWHERE[version], PORT))
        session.detach()
        with pytest.raises(OSError, match="unreachable"):
            sender.sendto(b"there", (NOWHERE[version], PORT))
        assert (session.vars[f"sent{version}"], session.vars[f"got{version}"]) == (12, 11)


@pytest.mark.hook("cgroup_sock_addr")
@both
def test_getsockname_is_counted_and_answers_what_the_program_says(attached, group, version):
    session = attached("getsockname", port=PORT, real=REAL)
    with group.inside(), net.udp_receiver(LOOPBACK[version], REAL) as bound:
        assert [bound.getsockname()[1] for _ in range(7)] == [PORT] * 7
        session.detach()
        assert bound.getsockname()[1] == REAL
    assert session.vars[f"seen{version}"] == 7


@pytest.mark.hook("cgroup_sock_addr")
def test_unix_sockets_are_counted_and_sent_elsewhere(load, netns, group):
    if b"BPF_CGROUP_UNIX_CONNECT" not in Path("/sys/kernel/btf/vmlinux").read_bytes():
        pytest.skip("not in this kernel: BPF_CGROUP_UNIX_CONNECT is unknown to it")
    session = load(CELLS["unix"], attach=False)
    session.attach(target=str(group.path))
    with group.inside(), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(b"\0other")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            for _ in range(5):
                client.connect(b"\0nobody")
            assert client.getpeername() == b"\0other"
            for _ in range(7):
                client.sendto(b"", b"\0other")
            assert [other.recvfrom(8)[0] for _ in range(7)] == [b""] * 7
            assert other.getsockname() == b"\0other"
        counts = [session.vars[name] for name in ("connected", "sent", "received", "peers", "names")]
        assert counts == [5, 7, 7, 1, 1]
        assert session.vars["family"] == socket.AF_UNIX
        session.vars["deny"] = 1
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            with refused():
                client.connect(b"\0other")
            session.detach()
            client.connect(b"\0other")
    assert session.vars["connected"] == 6


@pytest.mark.hook("cgroup_sysctl")
def test_sysctls_are_counted_as_they_are_read_and_refused(attached, group):
    session = attached("sysctl")
    ostype = Path("/proc/sys/kernel/ostype")
    expected = ostype.read_text()
    with group.inside():
        assert [ostype.read_text() for _ in range(11)] == [expected] * 11
    # Every read to the end is two of read(2), and the second finds nothing more to read.
    assert session.vars["reads"] == 22
    assert (session.vars["name"], session.vars["old"]) == ("kernel/ostype", expected)
    session.vars["deny"] = 1
    with group.inside(), refused():
        ostype.read_text()
    assert ostype.read_text() == expected, "outside of the cgroup it can be read"
    session.detach()
    with group.inside():
        assert ostype.read_text() == expected
    assert (session.vars["reads"], session.vars["writes"]) == (23, 0)


@pytest.mark.hook("cgroup_sysctl")
def test_what_is_written_to_a_sysctl_is_counted_and_refused(attached, group):
    # A sysctl of the test's own network namespace.
    ttl = Path("/proc/sys/net/ipv4/ip_default_ttl")
    session = attached("sysctl")
    before = ttl.read_text()
    with group.inside():
        for _ in range(3):
            write_once(ttl, b"77")
        assert (session.vars["wanted"], session.vars["old"]) == ("77", "77\n")
        session.vars["deny"] = 1
        with refused():
            write_once(ttl, b"78")
        assert (session.vars["wanted"], session.vars["name"]) == ("78", "net/ipv4/ip_default_ttl")
    assert (session.vars["writes"], ttl.read_text()) == (4, "77\n")
    session.detach()
    with group.inside():
        write_once(ttl, before.encode())
    assert (session.vars["writes"], ttl.read_text()) == (4, before)


@pytest.mark.hook("cgroup_sockopt")
def test_socket_options_are_counted_refused_and_disguised(attached, group):
    session = attached("sockopt")
    with group.inside(), udp() as some:
        for _ in range(11):
            some.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 3)
        assert (session.vars["writes"], session.vars["wanted"], session.vars["length"]) == (11, 3, 4)
        for _ in range(13):
            assert some.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 3
        assert (session.vars["reads"], session.vars["before"]) == (13, 3)
        session.vars["disguise"] = 6
        assert some.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 6
        session.vars["deny"] = 1
        with refused():
            some.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 4)
        with refused():
            some.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY)
        session.detach()
        assert some.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 3
    assert (session.vars["reads"], session.vars["writes"]) == (15, 12)


@pytest.mark.hook("cgroup_device")
def test_devices_are_counted_as_they_are_opened_and_refused(attached, group, tmp_path):
    zero, node = Path("/dev/zero"), tmp_path / "node"
    number = zero.stat().st_rdev
    session = attached("device", major=os.major(number), minor=os.minor(number))
    with group.inside():
        for _ in range(11):
            zero.open("rb").close()
        for _ in range(7):
            zero.open("wb").close()
        os.mknod(node, stat.S_IFCHR | 0o600, number)
        session.vars["deny"] = 1
        for _ in range(3):
            with refused():
                zero.open("rb")
        with refused():
            os.mknod(tmp_path / "another", stat.S_IFCHR | 0o600, number)
        Path("/dev/null").open("rb").close()
    zero.open("rb").close()
    assert [session.vars[name] for name in ("opened_to_read", "opened_to_write", "made")] == [14, 7, 2]
    session.detach()
    with group.inside():
        zero.open("rb").close()
    assert session.vars["opened_to_read"] == 14


@pytest.mark.hook("sockops")
def test_connections_are_counted_at_both_ends_and_given_an_option(attached, group):
    with group.inside():
        server = listener(port=PORT)
    session = attached("sockops", port=PORT)
    with server, group.inside():
        for _ in range(17):
            connect(LOOPBACK[4], PORT)
        assert (session.vars["active"], session.vars["passive"]) == (17, 17)
        with socket.create_connection((LOOPBACK[4], PORT)) as client:
            assert session.vars["local_port"] == client.getsockname()[1]
            assert session.vars["remote_port"] == PORT
            assert client.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 5
        # The first 17 went through states of their own, up to the one that the listener's end leaves them in.
        while session.vars["passive"]:
            accepted, _ = server.accept()
            accepted.close()
            session.vars["passive"] -= 1
        assert wait_until(lambda: session.vars["closed"] == 18, timeout=20), session.vars["closed"]
        session.detach()
        connect(LOOPBACK[4], PORT)
        assert session.vars["active"] == 18


@pytest.mark.hook("lsm_cgroup")
def test_an_lsm_hook_is_counted_and_refused_in_a_cgroup_only(attached, group):
    session = attached("lsm")
    with group.inside():
        for _ in range(7):
            with udp() as bound:
                bound.bind((LOOPBACK[4], PORT))
        assert (session.vars["seen"], session.vars["port"]) == (7, PORT)
        session.vars["deny"] = 1
        with udp() as bound, refused():
            bound.bind((LOOPBACK[4], PORT))
    with udp() as outside:
        outside.bind((LOOPBACK[4], PORT))
    session.detach()
    with group.inside(), udp() as bound:
        bound.bind((LOOPBACK[4], PORT))
    assert session.vars["seen"] == 8
