"""Programs of the sockets in a map: what connected sockets send and receive, counted, refused and sent elsewhere."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import cells
import objects
import pytest
from cells_sockets import CELLS
from sockmaps import exactly, pair, put, remote

from ebpflab import journal
from ebpflab.engines.attach import sockmaps
from ebpflab.errors import AttachError, HookNotFoundError

MESSAGE = b"ten bytes!"

# A process that puts a connection of its parent's into its own map, and waits to be killed.
ATTACHER = """
import socket, sys, ebpflab
from cells_sockets import CELLS
from sockmaps import put
session = ebpflab.load(CELLS["msg_redirect"])
for key, number in enumerate(sys.argv[1:]):
    put(session, "sockets", key, socket.socket(fileno=int(number)))
print("attached", flush=True)
sys.stdin.read()  # until it is killed, or the test ends
"""


def written_by(pid):
    """The kinds of what a process has written into the journal and not undone."""
    return [entry.kind for entry in journal.entries() if entry.owner.pid == pid]


def knows(name):
    """Whether the kernel's types have a name."""
    return name.encode() in Path("/sys/kernel/btf/vmlinux").read_bytes()


@pytest.mark.hook("sk_msg")
def test_what_a_socket_sends_is_counted_message_by_message(load):
    with pair() as (client, server):
        session = load(CELLS["msg"])
        assert session.links["target"].tolist() == ["sockets"]
        put(session, "sockets", 0, client)
        for _ in range(13):
            client.sendall(MESSAGE)
        assert exactly(server, 130) == MESSAGE * 13
        server.sendall(MESSAGE)  # which is not in the map
        assert exactly(client, 10) == MESSAGE
        assert (session.vars["messages"], session.vars["bytes"]) == (13, 130)
        assert remote(session) == (client.getsockname()[1], server.getsockname()[1])
        session.detach()
        client.sendall(MESSAGE)
        assert exactly(server, 10) == MESSAGE
        assert session.vars["messages"] == 13


@pytest.mark.hook("sk_msg")
def test_a_message_that_is_refused_is_an_error_for_who_sends_it(load):
    session = load(CELLS["msg"])
    session.vars["deny"] = 1
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(pair()) for _ in range(5)]
        # One message each: the kernel does not ask again for a socket that was refused.
        for number, (client, _) in enumerate(pairs):
            put(session, "sockets", number, client)
            with pytest.raises(PermissionError):
                client.send(MESSAGE)
        assert session.vars["messages"] == 5
        session.detach()
        for client, server in pairs:
            client.sendall(b"at last")
            assert exactly(server, 7) == b"at last"


@pytest.mark.hook("sk_msg")
def test_a_message_arrives_at_the_socket_that_the_program_chooses(load):
    with pair() as (a, b), pair() as (c, d):
        session = load(CELLS["msg_redirect"])
        put(session, "sockets", 0, a)
        put(session, "sockets", 1, d)
        for _ in range(11):
            a.sendall(MESSAGE)
            assert exactly(d, 10) == MESSAGE
        assert session.vars["messages"] == 11
        session.detach()
        a.sendall(b"to b")
        c.sendall(b"to d")
        assert (exactly(b, 4), exactly(d, 4)) == (b"to b", b"to d")


@pytest.mark.hook("sk_msg")
@pytest.mark.hook("sockops")
def test_sockops_puts_connections_into_a_hash_whose_program_counts_what_they_send(netns, group, load):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        session = load(CELLS["sockops_msg"], targets={"sockops": str(group.path)}, vars={"port": port})
        assert sorted(session.links["target"]) == sorted([str(group.path), "connections"])
        with group.inside():
            for count in range(1, 8):
                with socket.create_connection(server.getsockname()) as client:
                    for _ in range(count):
                        client.sendall(MESSAGE)
                    accepted, _ = server.accept()
                    with accepted:
                        exactly(accepted, 10 * count)
            assert (session.vars["established"], session.vars["messages"]) == (7, 28)
            with socket.create_connection(server.getsockname()) as client:
                session.detach()
                client.sendall(MESSAGE)
            assert (session.vars["established"], session.vars["messages"]) == (8, 28)


@pytest.mark.hook("sk_skb")
def test_a_parser_makes_messages_of_a_stream_and_a_verdict_sees_each(load):
    with pair() as (client, server):
        session = load(CELLS["stream"])
        put(session, "sockets", 0, server)
        for _ in range(7):
            client.sendall(MESSAGE[:4])
            client.sendall(MESSAGE[4:])
            assert exactly(server, 10) == MESSAGE
        assert (session.vars["seen"], session.vars["bytes"]) == (7, 70)
        assert remote(session) == (server.getsockname()[1], client.getsockname()[1])
        session.vars["deny"] = 1
        for _ in range(3):
            client.sendall(MESSAGE)
        assert cells.wait_until(lambda: session.vars["bytes"] == 100, timeout=20)
        session.detach()
        client.sendall(b"at last")
        assert exactly(server, 7) == b"at last", "and nothing of what was refused"
        assert session.vars["bytes"] == 100


@pytest.mark.hook("sk_skb")
def test_what_a_socket_receives_is_sent_on_by_another(load):
    if not knows("BPF_SK_SKB_VERDICT"):
        pytest.skip("not in this kernel: a stream_verdict without a parser")
    with pair() as (a, b), pair() as (c, d):
        session = load(CELLS["stream_redirect"])
        put(session, "sockets", 0, b)
        put(session, "sockets", 1, c)
        for _ in range(11):
            a.sendall(MESSAGE)
            assert exactly(d, 10) == MESSAGE
        assert session.vars["bytes"] == 110
        session.detach()
        a.sendall(b"to b")
        assert exactly(b, 4) == b"to b"


@pytest.mark.hook("sk_skb")
def test_a_verdict_alone_sees_what_a_socket_receives(load):
    if not knows("BPF_SK_SKB_VERDICT"):
        pytest.skip("not in this kernel: BPF_SK_SKB_VERDICT is unknown to it")
    with pair() as (client, server):
        session = load(CELLS["verdict"])
        put(session, "sockets", 0, server)
        for _ in range(13):
            client.sendall(MESSAGE)
            assert exactly(server, 10) == MESSAGE
        assert session.vars["bytes"] == 130
        session.detach()
        client.sendall(MESSAGE)
        assert exactly(server, 10) == MESSAGE
        assert session.vars["bytes"] == 130


@pytest.mark.hook("sk_msg")
def test_the_map_is_chosen_by_name_where_there_are_two(load):
    with pair() as (client, server):
        session = load(CELLS["two_maps"], attach=False)
        with pytest.raises(AttachError, match="does not say where to attach"):
            session.attach()
        session.attach(target="servers")
        put(session, "clients", 0, client)
        put(session, "servers", 0, server)
        for _ in range(3):
            client.sendall(MESSAGE)
        for _ in range(5):
            server.sendall(MESSAGE)
        assert session.vars["seen"] == 5


@pytest.mark.hook("sk_msg")
def test_a_map_that_is_missing_or_holds_no_sockets_is_an_error(load):
    session = load(CELLS["two_maps"], attach=False)
    with pytest.raises(HookNotFoundError, match="no map of sockets called 'severs'") as caught:
        session.attach(target="severs")
    assert caught.value.nearest == ("servers",)
    with pytest.raises(HookNotFoundError) as caught:
        session.attach(target="numbers")
    assert "clients, servers" in caught.value.hint
    assert session.links.empty
    assert written_by(os.getpid()) == []


@pytest.mark.hook("sk_msg")
def test_a_map_takes_one_program_of_a_kind(load):
    if not knows("BPF_LINK_TYPE_SOCKMAP"):
        pytest.skip("not in this kernel: links of maps of sockets")
    session = load(CELLS["two_programs"], attach=False)
    with pytest.raises(AttachError, match="second: the map sockets has another program in the place of this one"):
        session.attach()
    assert session.links.empty
    assert written_by(os.getpid()) == []
    session.attach("second")


@pytest.mark.hook("sk_msg")
def test_closing_frees_a_program_that_uses_its_own_map_while_its_sockets_live(load):
    before = objects.live()
    with pair() as (a, b), pair() as (_, d):
        session = load(CELLS["msg_redirect"])
        put(session, "sockets", 0, a)
        put(session, "sockets", 1, d)
        session.close()
        assert objects.leaked_since(before) == set()
        a.sendall(b"to b")
        assert exactly(b, 4) == b"to b"
    assert written_by(os.getpid()) == []


@pytest.mark.hook("sk_msg")
def test_the_next_start_frees_what_a_killed_process_left_in_sockets_of_another():
    before = objects.live()
    with pair() as (a, b), pair() as (_, d):
        path = os.pathsep.join(map(str, (cells.ROOT, cells.ROOT / "tests/kernel")))
        numbers = [str(end.fileno()) for end in (a, d)]
        with subprocess.Popen(
            [sys.executable, "-c", ATTACHER, *numbers],
            pass_fds=[a.fileno(), d.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=cells.environment(PYTHONPATH=path),
        ) as killed:
            try:
                assert killed.stdout.readline() == "attached\n"
                a.sendall(b"to d")
                assert exactly(d, 4) == b"to d"
            finally:
                killed.send_signal(signal.SIGKILL)
        a.sendall(b"to d")
        assert exactly(d, 4) == b"to d", "program, map and sockets hold each other"
        assert written_by(killed.pid) == ["sockmap"]
        reaped = journal.reap({"sockmap": sockmaps.undo})
        assert [one.warning for one in reaped if one.kind == "sockmap"] == [""]
        a.sendall(b"to b")
        assert exactly(b, 4) == b"to b"
        assert objects.leaked_since(before) == set()
    assert written_by(killed.pid) == []
