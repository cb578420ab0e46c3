"""A TCP congestion control written in a cell: the kernel calls it, lists it, and forgets it."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import cells
import forked
import pytest
from cells_control import CELLS

import ebpflab
from ebpflab import journal
from ebpflab.engines.attach import control
from ebpflab.engines.attach.reap import reap
from ebpflab.errors import AttachError, CompileError, LoadError, PrivilegeError, VerifierError

pytestmark = pytest.mark.hook("struct_ops")

NAME, CONNECTIONS = "ebpflab_cc", 7
BLOCK = os.urandom(131_071)
TYPES = Path("/sys/kernel/btf/vmlinux")
CAP_BPF = 39  # include/uapi/linux/capability.h


def registered():
    return NAME in Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()


def has_links():
    # struct bpf_struct_ops_link came with them, in Linux 6.4.
    return b"\0bpf_struct_ops_link\0" in TYPES.read_bytes()


def connected(listener, algorithm=None):
    client = socket.socket()
    client.settimeout(30)
    if algorithm:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, algorithm.encode())
    client.connect(listener.getsockname())
    server, _ = listener.accept()
    server.settimeout(30)
    return client, server


def transfer(client, server):
    client.sendall(BLOCK[:65_537])
    pieces = []
    while sum(map(len, pieces)) < 65_537:
        pieces.append(server.recv(65_536))
    assert b"".join(pieces) == BLOCK[:65_537]


@pytest.fixture
def listener(netns):
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.mark.parametrize("cell", ["congestion", "congestion_link"])
def test_the_kernel_asks_a_congestion_control_for_each_of_7_connections(load, listener, cell):
    assert not registered()
    session = load(CELLS[cell])
    assert registered()
    links = [(link.program, link.hook, link.target) for link in session._links]
    assert links == [(NAME, "struct_ops", NAME)]
    for _ in range(CONNECTIONS):
        client, server = connected(listener, NAME)
        with client, server:
            assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == NAME.encode()
            transfer(client, server)
    client, server = connected(listener)  # of the kernel's own default, and none of ours
    with client, server:
        transfer(client, server)
    assert session.vars["begun"] == CONNECTIONS
    assert cells.wait_until(lambda: session.vars["ended"] == CONNECTIONS, timeout=30)
    assert session.vars["grown"] >= CONNECTIONS
    session.detach()
    assert not registered()
    with socket.socket() as late, pytest.raises(FileNotFoundError):
        late.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, NAME.encode())


def test_a_connection_goes_on_after_its_congestion_control_is_detached(load, listener):
    session = load(CELLS["congestion"])
    client, server = connected(listener, NAME)
    with client, server:
        transfer(client, server)
        session.detach()
        grown = session.vars["grown"]
        transfer(client, server)
        assert session.vars["grown"] > grown
        session.close()
        transfer(client, server)


def test_what_was_detached_attaches_again_or_says_why_not(load, netns):
    session = load(CELLS["congestion"])
    session.detach()
    if has_links():
        session.attach()
        assert registered()
    else:
        with pytest.raises(AttachError, match="takes a struct only once") as error:
            session.attach()
        assert error.value.hint == "load the cell again"
        assert not registered()
    session.close()
    load(CELLS["congestion"])
    assert registered()


def test_a_second_registration_under_one_name_is_refused_and_the_first_stays(load, netns):
    first = load(CELLS["congestion"])
    with pytest.raises(AttachError, match="the kernel has one of that name") as error:
        load(CELLS["congestion"])
    assert "another name" in error.value.hint
    assert registered()
    first.detach()
    assert not registered()


def test_a_member_alone_is_not_attached_but_its_struct_is(load, netns):
    session = load(CELLS["congestion"], attach=False)
    with pytest.raises(AttachError, match="cc_init is attached with its struct") as error:
        session.attach("cc_init")
    assert error.value.hint == f"attach {NAME}"
    assert not registered()
    session.attach(NAME)
    assert registered()


def test_a_killed_process_leaves_no_congestion_control_behind(load, netns):
    with forked.holding(lambda: ebpflab.load(CELLS["congestion"])):
        assert registered()
    if has_links():
        assert cells.wait_until(lambda: not registered(), timeout=30)
    else:
        assert registered()
        assert [entry.facts["name"] for entry in journal.orphans()] == [NAME]
    # Whoever starts next undoes what no link held.
    reap.cache_clear()
    load(cells.COUNTER)
    assert cells.wait_until(lambda: not registered(), timeout=30)
    assert list(journal.orphans()) == []


def test_a_map_that_has_got_the_number_of_ours_is_left_alone(load, netns):
    session = load(CELLS["congestion"])
    fd = next(info.fd for info in session._handle.maps() if info.name == NAME)
    number = int(re.search(r"^map_id:\s*(\d+)$", Path(f"/proc/self/fdinfo/{fd}").read_text(), re.MULTILINE)[1])
    control.undo_struct_ops({"map": number, "name": "another"})
    assert registered()
    session.close()
    assert cells.wait_until(lambda: not registered(), timeout=30)
    control.undo_struct_ops({"map": number, "name": NAME})  # there is no such map any more


def test_a_member_that_the_struct_does_not_have_is_shown_in_the_cell():
    with pytest.raises(CompileError, match="undo_cwdn") as error:
        ebpflab.load(CELLS["congestion"].replace(".undo_cwnd =", ".undo_cwdn ="))
    diagnostic = next(each for each in error.value.diagnostics if each.severity == "error")
    assert diagnostic.where.text.strip().startswith(".undo_cwdn")
    assert "undo_cwnd" in str(error.value)


def test_a_program_that_may_sleep_goes_where_the_kernel_lets_it(load):
    if b"\0test_sleepable\0" not in TYPES.read_bytes():
        pytest.skip("not in this kernel: members of a struct that may sleep")
    for cell, section in (("sleeper", "struct_ops.s/anything"), ("sleeper_unnamed", "struct_ops.s")):
        session = load(CELLS[cell], attach=False)
        assert [(p.name, p.section) for p in session._handle.programs()] == [("sleeper", section)]
    # Refused because it may sleep: then it was loaded as one that may.
    with pytest.raises(VerifierError, match="test_1"):
        load(CELLS["sleeper_where_none_may"], attach=False)


def test_both_spellings_of_the_section_in_one_cell_are_refused_by_a_libbpf_that_reads_one(load, netns):
    library = control._libbpf.library()
    if (library.libbpf_major_version(), library.libbpf_minor_version()) < (1, 2):
        with pytest.raises(LoadError, match=r"before 1\.2"):
            load(CELLS["congestion_both"])
        return
    session = load(CELLS["congestion_both"])
    assert len(session._links) == 2


def test_a_process_without_the_capability_is_told_its_name():
    def complain(tell):
        cells.keep_only_capabilities(1 << CAP_BPF)
        with pytest.raises(PrivilegeError) as error:
            ebpflab.load(CELLS["congestion"])
        tell(error.value.cause)

    assert forked.told(complain).startswith("the process lacks CAP_PERFMON")
