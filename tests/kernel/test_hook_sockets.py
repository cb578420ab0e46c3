"""Programs of single sockets: filters, the choice among sockets of one port, and the search for a listener."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import cells
import netns as net
import pytest
from cells_sockets import CELLS
from sockmaps import put, remote

from ebpflab import journal
from ebpflab.engines.attach import sockets
from ebpflab.errors import AttachError, EbpflabError, HookNotFoundError
from ebpflab.program_types import Target, parse_section

PORT = 4229
LOCAL = "127.0.0.1"

# A process that attaches to a socket of its parent, and waits to be killed.
ATTACHER = """
import sys, ebpflab
from cells_sockets import CELLS
session = ebpflab.load(CELLS["filter"], attach=False)
session.attach(target=sys.argv[1])
print("attached", flush=True)
sys.stdin.read()  # until it is killed, or the test ends
"""
# A process that receives datagrams on a socket that it is given, and prints how many when told to.
RECEIVER = """
import socket, sys
own = socket.socket(fileno=int(sys.argv[1]))
own.settimeout(20)
print("ready", flush=True)
while line := sys.stdin.readline():
    print(len(own.recv(100)), flush=True)
"""


def written_by(pid):
    """The kinds of what a process has written into the journal and not undone."""
    return [entry.kind for entry in journal.entries() if entry.owner.pid == pid]


def udp():
    return net.udp_receiver(LOCAL, 0)


def send(receiver, *payloads):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for payload in payloads:
            sender.sendto(payload, receiver.getsockname())


def arrived(receiver, count):
    """The next datagrams, and that no more are there."""
    receiver.settimeout(20)
    found = [receiver.recv(100) for _ in range(count)]
    receiver.setblocking(False)
    with pytest.raises(BlockingIOError):
        receiver.recv(100)
    return found


@contextlib.contextmanager
def another(script, *arguments, **options):
    """Another interpreter that has begun to run a script; killed in the end."""
    path = os.pathsep.join(map(str, (cells.ROOT, cells.ROOT / "tests/kernel")))
    command = [sys.executable, "-c", script, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=cells.environment(PYTHONPATH=path), **pipes, **options) as process:
        try:
            assert process.stdout.readline() in ("attached\n", "ready\n")
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


@pytest.mark.hook("socket_filter")
def test_packets_of_an_interface_are_counted_as_they_come_and_go(wire, load):
    session = load(CELLS["interface"], attach=False, vars={"port": PORT})
    session.attach(target="near0")
    assert session.links["target"].tolist() == ["near0"]
    with wire.far.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        for _ in range(23):
            far.sendto(b"seven b", (wire.near_address, PORT))
    assert cells.wait_until(lambda: session.vars["seen"] >= 23, timeout=20)
    wire.send(11, PORT)
    assert cells.wait_until(lambda: session.vars["outgoing"] >= 11, timeout=20)
    assert (session.vars["seen"], session.vars["outgoing"]) == (23, 11)
    assert session.vars["length"] == 14 + 20 + 8 + len(b"seven b")
    assert session.vars["protocol"] == 0x0800
    assert session.vars["interface"] == socket.if_nametoindex("near0")
    session.detach()
    wire.send(3, PORT)
    assert (session.vars["seen"], session.vars["outgoing"]) == (23, 11)
    assert "near0" not in net.tool("ss", "--packet", "--no-header")


@pytest.mark.hook("socket_filter")
def test_an_interface_of_another_namespace_is_watched_from_here(wire, load):
    session = load(CELLS["interface"], attach=False, vars={"port": PORT})
    session.attach(target="far0", netns=wire.far.path)
    wire.send(13, PORT)
    assert cells.wait_until(lambda: session.vars["seen"] >= 13, timeout=20)
    assert session.vars["seen"] == 13
    assert Path("/proc/thread-self/ns/net").stat().st_ino == wire.near.inode


@pytest.mark.hook("socket_filter")
def test_a_socket_that_nobody_reads_does_not_stop_its_filter(netns, load):
    # Many more than have room in its buffer.
    session = load(CELLS["interface"], attach=False, vars={"port": PORT})
    session.attach(target="lo")
    net.send_udp(1009, LOCAL, PORT, b"x" * 512)
    assert cells.wait_until(lambda: session.vars["seen"] >= 1009, timeout=20)
    assert (session.vars["seen"], session.vars["outgoing"]) == (1009, 1009)


@pytest.mark.hook("socket_filter")
def test_a_filter_drops_shortens_and_passes_what_a_socket_receives(netns, load):
    session = load(CELLS["filter"], attach=False)
    with udp() as receiver:
        session.attach(target=receiver)
        assert session.links["target"].tolist() == [f"fd:{receiver.fileno()}"]
        send(receiver, b"whole", *[b"no"] * 7, b"short", *[b"no"] * 3, b"whole")
        assert arrived(receiver, 3) == [b"whole", b"sh", b"whole"]
        assert (session.vars["seen"], session.vars["length"]) == (13, 8 + len(b"whole"))
        session.detach()
        send(receiver, b"no")
        assert arrived(receiver, 1) == [b"no"]
        assert session.vars["seen"] == 13


@pytest.mark.hook("socket_filter")
def test_a_socket_that_is_closed_takes_its_filter_along(netns, load):
    session = load(CELLS["filter"], attach=False)
    with udp() as receiver:
        session.attach(target=receiver)
        number = receiver.fileno()
    with udp() as another_socket:
        assert another_socket.fileno() == number  # the number is used again, for a socket that is none of ours
        session.detach()
        send(another_socket, b"no")
        assert arrived(another_socket, 1) == [b"no"]
    assert written_by(os.getpid()) == []


@pytest.mark.hook("socket_filter")
def test_a_socket_is_found_under_another_number(netns, load):
    session = load(CELLS["filter"], attach=False)
    receiver = udp()
    session.attach(target=receiver)
    with receiver.dup() as copy:
        receiver.close()
        session.detach()
        send(copy, b"no")
        assert arrived(copy, 1) == [b"no"]


@pytest.mark.hook("socket_filter")
def test_a_filter_is_attached_to_a_socket_of_another_process(netns, load):
    session = load(CELLS["filter"], attach=False)
    with udp() as receiver, another(RECEIVER, receiver.fileno(), pass_fds=[receiver.fileno()]) as process:
        session.attach(target=f"pid:{process.pid}:{receiver.fileno()}")
        send(receiver, *[b"no"] * 5, b"short")
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "2\n"
        assert session.vars["seen"] == 6
        session.detach()
        send(receiver, b"no more")
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "7\n"


@pytest.mark.hook("socket_filter")
def test_the_next_start_takes_off_what_a_killed_process_left_on_a_socket(netns):
    with udp() as receiver:
        with another(ATTACHER, f"pid:{os.getpid()}:{receiver.fileno()}") as killed:
            send(receiver, b"no", b"whole")
            assert arrived(receiver, 1) == [b"whole"]
        send(receiver, b"no", b"whole")
        assert arrived(receiver, 1) == [b"whole"], "the kernel keeps it: the socket is ours, and lives"
        assert written_by(killed.pid) == ["socket"]
        reaped = journal.reap({"socket": sockets.undo_socket})
        assert [one.warning for one in reaped if one.kind == "socket"] == [""]
        send(receiver, b"no")
        assert arrived(receiver, 1) == [b"no"]
    assert written_by(killed.pid) == []


@pytest.mark.hook("socket_filter")
def test_a_socket_with_a_filter_is_left_alone(netns, load):
    sessions = [load(CELLS["filter"], attach=False) for _ in range(2)]
    with udp() as receiver:
        sessions[0].attach(target=receiver)
        with pytest.raises(AttachError, match="has a filter already"):
            sessions[1].attach(target=receiver)
        send(receiver, b"no", b"whole")
        assert arrived(receiver, 1) == [b"whole"]
    assert (sessions[0].vars["seen"], sessions[1].vars["seen"]) == (2, 0)
    with udp() as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, 44, 1)  # SO_LOCK_FILTER
        with pytest.raises(AttachError, match="locked its filter"):
            sessions[1].attach(target=receiver)
    sessions[0].close()
    assert written_by(os.getpid()) == []


@pytest.mark.hook("socket_filter")
@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        ("fd:1000000", {}, "file descriptor 1000000"),
        ("fd:{file}", {}, "no socket"),
        ("fd:x", {}, "no socket"),
        ("pid:4194304:3", {}, "no process 4194304"),
        ("nea0", {}, "nea0"),
        ("fd:{socket}", {"netns": "self"}, "netns= is where an interface is looked for"),
        ("near0", {"netns": "nosuchnamespace"}, "nosuchnamespace"),
        ("near0", {"promiscuous": 1}, "has no option"),
    ],
)
def test_a_wrong_socket_or_interface_is_an_error_and_attaches_nothing(wire, load, target, options, words):
    session = load(CELLS["filter"], attach=False)
    with udp() as receiver, open(os.devnull) as file:  # noqa: PTH123 - any descriptor will do
        text = target.format(file=file.fileno(), socket=receiver.fileno())
        with pytest.raises(EbpflabError, match=words):
            session.attach(target=text, **options)
    assert session.links.empty
    assert written_by(os.getpid()) == []


@pytest.mark.hook("socket_filter")
def test_a_misspelt_interface_is_offered_the_nearest(wire, load):
    with pytest.raises(HookNotFoundError) as caught:
        load(CELLS["filter"], attach=False).attach(target="naer0")
    assert caught.value.nearest == ("near0",)


@pytest.mark.hook("sk_reuseport")
def test_datagrams_go_to_the_socket_that_the_program_chooses(netns, load):
    session = load(CELLS["reuseport"], attach=False)
    with reuseport_group(2) as members:
        for key, member in enumerate(members):
            put(session, "members", key, member)
        session.attach(target=members[1])
        send(members[0], *[b"0"] * 17, *[b"1"] * 5, *[b"7"] * 3)
        assert [len(arrived(members[0], 17)), len(arrived(members[1], 5))] == [17, 5]
        assert (session.vars["seen"], session.vars["dropped"]) == (25, 3)
        assert (session.vars["length"], session.vars["protocol"]) == (8 + 1, socket.IPPROTO_UDP)
        session.detach()
        send(members[0], *[b"0"] * 7)
        assert session.vars["seen"] == 25


@pytest.mark.hook("sk_reuseport")
def test_connections_migrate_to_the_listener_that_the_program_chooses(netns, load):
    if b"BPF_SK_REUSEPORT_SELECT_OR_MIGRATE" not in Path("/sys/kernel/btf/vmlinux").read_bytes():
        pytest.skip("not in this kernel: BPF_SK_REUSEPORT_SELECT_OR_MIGRATE is unknown to it")
    Path("/proc/sys/net/ipv4/tcp_migrate_req").write_text("1")  # of this namespace
    session = load(CELLS["migrate"], attach=False)
    with reuseport_group(2, socket.SOCK_STREAM) as (old, new), contextlib.ExitStack() as clients:
        for key, listener in enumerate((old, new)):
            listener.listen(16)
            put(session, "members", key, listener)
        session.attach(target=new)
        for _ in range(11):
            clients.enter_context(socket.create_connection((LOCAL, PORT), timeout=20))
        assert (session.vars["chosen"], session.vars["migrated"]) == (11, 0)
        old.close()
        assert session.vars["migrated"] == 11
        new.settimeout(20)
        for _ in range(11):
            new.accept()[0].close()


@pytest.mark.hook("sk_reuseport")
def test_a_socket_without_reuseport_or_without_ports_is_refused(netns, load):
    session = load(CELLS["reuseport"], attach=False)
    with udp() as alone, pytest.raises(AttachError, match="not bound with SO_REUSEPORT"):
        session.attach(target=alone)
    with socket.socket(socket.AF_UNIX) as other, pytest.raises(AttachError, match="neither a TCP nor a UDP socket"):
        session.attach(target=other)
    with pytest.raises(AttachError, match="is no socket"):
        session.attach(target="lo")
    assert written_by(os.getpid()) == []


@contextlib.contextmanager
def reuseport_group(count, kind=socket.SOCK_DGRAM):
    with contextlib.ExitStack() as stack:
        members = [stack.enter_context(socket.socket(socket.AF_INET, kind)) for _ in range(count)]
        for member in members:
            member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            member.bind((LOCAL, PORT))
        yield members


@pytest.mark.hook("sk_lookup")
def test_connections_to_many_ports_reach_one_listener(netns, load):
    first, last = 7001, 7013
    session = load(CELLS["lookup"], attach=False, vars={"first": first, "last": last})
    with socket.create_server((LOCAL, PORT)) as server:
        put(session, "sockets", 0, server)
        session.attach()
        assert session.links["target"].tolist() == ["self"]
        for port in range(first, last + 1):
            with socket.create_connection((LOCAL, port), timeout=20) as client:
                accepted, _ = server.accept()
                with accepted:
                    assert accepted.getsockname() == (LOCAL, port)
                    assert remote(session) == (port, client.getsockname()[1])
        assert (session.vars["seen"], session.vars["protocol"]) == (13, socket.IPPROTO_TCP)
        session.vars["deny"] = 1
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((LOCAL, first), timeout=20)
        seen = session.vars["seen"]
        session.detach()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((LOCAL, first), timeout=20)
        assert session.vars["seen"] == seen
        with socket.create_connection((LOCAL, PORT), timeout=20):
            pass


@pytest.mark.hook("sk_lookup")
def test_sk_lookup_is_of_the_namespace_that_is_asked_for(wire, load):
    session = load(CELLS["lookup"], attach=False, vars={"first": 7001, "last": 7001})
    session.attach(target=wire.far.path)
    with wire.far.inside(), socket.create_server((wire.far_address, PORT)) as server:
        put(session, "sockets", 0, server)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((wire.near_address, 7001), timeout=20)
    assert session.vars["seen"] == 0
    with pytest.raises(HookNotFoundError, match="nosuchnamespace"):
        session.attach("on_lookup", target="nosuchnamespace")


def test_a_remote_control_that_takes_no_program_leaves_no_entry(load):
    # Kernels for servers have no lirc_mode2, so that a program of another type and another device have to do.
    handle = load(CELLS["filter"], attach=False)._handle
    section = parse_section("lirc_mode2")
    for device, error in (("/dev/null", errno.EINVAL), ("/dev/lirc-none", errno.ENOENT)):
        with pytest.raises(OSError) as caught:
            sockets.KINDS["lirc_mode2"](handle._request("on_packet", section, Target(device)))
        assert caught.value.errno == error
    assert written_by(os.getpid()) == []
    program = handle.programs()[0].id
    sockets.undo_lirc({"device": "/dev/lirc-none", "id": program})
    sockets.undo_lirc({"device": "/dev/lirc-none", "id": 0x7FFFFFFF})
