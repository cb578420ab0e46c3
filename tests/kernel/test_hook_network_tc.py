"""tc programs: as tcx links where the kernel has them, and as filters of clsact, which have to be cleaned up."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
from pathlib import Path

import cells
import netns as net
import pytest
from cells_network import CELLS
from holders import holder

import ebpflab
from ebpflab import journal
from ebpflab.engines.attach.reap import reap
from ebpflab.errors import AttachError, HookNotFoundError

PORT = 4242
PAYLOAD = b"eleven byte"
LENGTH = 14 + 20 + 8 + len(PAYLOAD)
NEXT, OK, DROP = 2**32 - 1, 0, 2
TCX = {"ingress": 46, "egress": 47}  # BPF_TCX_INGRESS, BPF_TCX_EGRESS

pytestmark = pytest.mark.hook("tc")


def tc(load, target, verdict=OK, cell="tc"):
    session = load(CELLS[cell], attach=False, vars={"port": PORT, "verdict": verdict})
    session.attach(target=target)
    return session


def tc_command(text):
    net.tool("tc", *text.split())


def links(interface, direction):
    """The numbers of the programs that tcx links put there, in their order; none where the kernel has no tcx."""
    library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    count, numbers, flags = ctypes.c_uint32(16), (ctypes.c_uint32 * 16)(), ctypes.c_uint32()
    place = socket.if_nametoindex(interface)
    library.bpf_prog_query(place, TCX[direction], 0, ctypes.byref(flags), numbers, ctypes.byref(count))
    return [number for number in numbers if number]


def filters(interface, direction):
    """The numbers of the programs of the filters there, in their order, as tc(8) lists them."""
    if not qdiscs(interface):
        return []
    listed = json.loads(net.tool("tc", "-j", "filter", "show", "dev", interface, direction))
    return [entry["options"]["prog"]["id"] for entry in listed if "prog" in entry.get("options", {})]


def qdiscs(interface):
    listed = json.loads(net.tool("tc", "-j", "qdisc", "show", "dev", interface))
    return [entry["kind"] for entry in listed if entry["kind"] in ("clsact", "ingress")]


def has_tcx():
    return " tcx_link_attach" in Path("/proc/kallsyms").read_text()


def noted():
    """The journal's entries of this process, as far as they are about tc."""
    return [entry for entry in journal.entries() if entry.kind == "tc" and entry.owner.pid == os.getpid()]


def send(wire, direction, count):
    (wire.send if direction == "egress" else wire.send_back)(count, PORT, PAYLOAD)


def receiver(wire, direction):
    return wire.far_receiver(PORT) if direction == "egress" else wire.near_receiver(PORT)


@pytest.mark.parametrize(("section", "options", "direction"), [
    ("tc", "", "ingress"),
    ("tc", ",direction=egress", "egress"),
    ("tc/ingress", "", "ingress"),
    ("tc/egress", "", "egress"),
    ("tcx/ingress", "", "ingress"),
    ("tcx/egress", "", "egress"),
    ("classifier", "", "ingress"),
    ("tc", ",priority=7", "ingress"),
    ("tc/egress", ",priority=7", "egress"),
])  # fmt: skip
def test_each_packet_is_seen_once_and_passed_on(wire, load, section, options, direction):
    net.ip("link set near0 mtu 1400")
    session = tc(load, f"near0{options}", cell=section)
    where, other = (links, filters) if has_tcx() and "priority" not in options else (filters, links)
    (number,) = where("near0", direction)
    assert other("near0", direction) == []
    assert session.links["target"][0].startswith("near0")
    assert f"direction={direction}" in session.links["target"][0]
    with receiver(wire, direction) as sock:
        send(wire, direction, 23)
        assert net.received(sock, 23) == 23
        assert (session.vars["seen"], session.vars["bytes"]) == (23, 23 * LENGTH)
        assert session.vars["ifindex"] == socket.if_nametoindex("near0")
        assert session.vars["protocol"] == socket.htons(0x0800)
        send(wire, "egress" if direction == "ingress" else "ingress", 3)
        session.detach()
        assert number not in where("near0", direction)
        assert qdiscs("near0") == []
        send(wire, direction, 7)
        assert net.received(sock, 7) == 7
    assert session.vars["seen"] == 23
    assert noted() == []


@pytest.mark.parametrize("options", ["", ",priority=1"])
@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_a_dropped_packet_does_not_arrive(wire, load, direction, options):
    session = tc(load, f"near0,direction={direction}{options}", DROP)
    with receiver(wire, direction) as sock:
        send(wire, direction, 13)
        assert cells.wait_until(lambda: session.vars["seen"] == 13, timeout=20)
        assert net.received(sock, 0) == 0
        session.detach()
        send(wire, direction, 5)
        assert net.received(sock, 5) == 5


@pytest.mark.parametrize("options", ["", ",priority=5"])
@pytest.mark.parametrize(("verdict", "reaches"), [(NEXT, 5), (OK, 0)])
def test_programs_of_one_interface_run_in_the_order_in_which_they_came(wire, load, options, verdict, reaches):
    session = load(CELLS["tc, twice"], attach=False, vars={"port": PORT, "verdict": verdict})
    for number, program in enumerate(("first_one", "second_one")):
        session.attach(program, target=f"near0{options and f',priority={5 + number}'}")
    assert len(links("near0", "ingress") + filters("near0", "ingress")) == 2
    wire.send_back(5, PORT)
    assert cells.wait_until(lambda: session.vars["seen"] == 5, timeout=20)
    assert session.vars["second"] == reaches
    session.close()
    assert qdiscs("near0") == []


def test_filters_without_a_priority_of_their_own_come_after_the_others(wire, load, monkeypatch):
    no_tcx(monkeypatch)
    first, second = tc(load, "near0", OK), tc(load, "near0", OK)
    priorities = [int(s.links["target"][0].rpartition("=")[2]) for s in (first, second)]
    assert priorities == [0xC000, 0xC001]
    wire.send_back(7, PORT)
    assert cells.wait_until(lambda: first.vars["seen"] == 7, timeout=20)
    assert second.vars["seen"] == 0


def no_tcx(monkeypatch):
    """As on a kernel before 6.6: it answers EINVAL to an attach type that it does not know, as to 9999."""
    monkeypatch.setattr("ebpflab.engines.attach.tc._TCX", {"ingress": 9999, "egress": 9999})


def test_a_kernel_without_tcx_gets_a_filter(wire, load, monkeypatch):
    no_tcx(monkeypatch)
    session = tc(load, "near0", cell="tcx/ingress")
    assert links("near0", "ingress") == []
    (number,) = filters("near0", "ingress")
    assert [entry.facts["prog_id"] for entry in noted()] == [number]
    wire.send_back(11, PORT)
    assert cells.wait_until(lambda: session.vars["seen"] == 11, timeout=20)


def test_one_program_may_be_attached_twice_and_goes_twice(wire, load):
    session = tc(load, "near0,priority=7", NEXT)
    session.attach("on_packet", target="near0,priority=7")
    session.attach("on_packet", target="near0,priority=9,direction=egress")
    assert len(filters("near0", "ingress")) == 2
    wire.send_back(3, PORT)
    assert cells.wait_until(lambda: session.vars["seen"] == 6, timeout=20)
    session.detach()
    assert qdiscs("near0") == []


@pytest.mark.parametrize(("cell", "options", "words"), [
    ("tc", "direction=out", "'out' is no direction"),
    ("tc/ingress", "direction=egress", "cannot be attached to egress"),
    ("tc", "priority=0", "priority=0"),
    ("tc", "priority=65536", "priority=65536"),
    ("tc", "priority=high", "priority=high is not a number"),
    ("tc", "prio=1", "no option 'prio'"),
])  # fmt: skip
def test_a_wrong_option_is_refused_and_leaves_nothing(netns, load, cell, options, words):
    with pytest.raises(AttachError, match=words):
        tc(load, f"lo,{options}", cell=cell)
    assert (links("lo", "ingress"), links("lo", "egress"), qdiscs("lo"), noted()) == ([], [], [], [])


def test_a_missing_interface_names_the_nearest(wire, load):
    with pytest.raises(HookNotFoundError) as caught:
        tc(load, "near")
    assert caught.value.nearest[0] == "near0"


def test_an_action_says_why_it_is_not_attached(netns, load):
    session = load(CELLS["action"], vars={"port": PORT})
    assert session.state == "loaded"
    with pytest.raises(AttachError, match=r"action of a tc filter.*SEC\(\"tc\"\)"):
        session.attach("on_packet", target="lo")


def test_an_interface_may_go_while_a_filter_is_attached(wire, load):
    session = tc(load, "near0,priority=7")
    net.ip("link del near0")
    session.close()
    assert noted() == []


def test_a_filter_that_somebody_removed_is_not_missed(wire, load):
    session = tc(load, "near0,priority=7")
    tc_command("qdisc del dev near0 clsact")
    session.close()
    assert noted() == []


def test_a_session_that_is_closed_elsewhere_removes_its_filter_there(netns, load):
    session = tc(load, "lo,priority=7")
    with net.another() as elsewhere, elsewhere.inside():
        session.close()
    assert qdiscs("lo") == []


def test_the_qdisc_of_others_stays(wire, load):
    tc_command("qdisc add dev near0 clsact")
    tc(load, "near0,priority=7").close()
    assert qdiscs("near0") == ["clsact"]


def test_our_qdisc_stays_while_others_have_a_filter_in_it(wire, load):
    session = tc(load, "near0,priority=7")
    tc_command("filter add dev near0 egress protocol ip prio 3 u32 match ip dport 1 0xffff")
    session.close()
    assert filters("near0", "ingress") == []
    assert qdiscs("near0") == ["clsact"]
    assert "u32" in net.tool("tc", "filter", "show", "dev", "near0", "egress")


def test_of_two_sessions_the_last_one_removes_the_qdisc(wire, load):
    first, second = tc(load, "near0,priority=7"), tc(load, "near0,priority=8,direction=egress")
    first.close()
    assert qdiscs("near0") == ["clsact"]
    wire.send(5, PORT)
    assert cells.wait_until(lambda: second.vars["seen"] == 5, timeout=20)
    second.close()
    assert qdiscs("near0") == []


def test_a_qdisc_without_egress_takes_programs_for_ingress_only(wire, load):
    tc_command("qdisc add dev near0 ingress")
    with pytest.raises(AttachError, match="qdisc ingress, which has no egress"):
        tc(load, "near0,priority=7,direction=egress")
    session = tc(load, "near0,priority=7")
    wire.send_back(5, PORT)
    assert cells.wait_until(lambda: session.vars["seen"] == 5, timeout=20)
    session.close()
    assert qdiscs("near0") == ["ingress"]
    assert noted() == []


def killed(*targets):
    """The number of a process that attached a program that drops, and was killed."""
    with holder(CELLS["tc"], {"port": PORT, "verdict": DROP}, "on_packet", *targets) as pid:
        return pid


def next_start():
    """Do what a process does before it opens its first object; returns what it could not undo."""
    reap.cache_clear()
    return [one.warning for one in reap() if one.warning]


@contextlib.contextmanager
def nothing_left(pid):
    # Whatever the test finds, the entry goes.
    try:
        yield
    finally:
        left = [entry for entry in journal.entries() if entry.owner.pid == pid]
        for entry in left:
            entry.path.unlink()
    assert left == []


def test_what_a_killed_process_attached_goes_by_itself_or_when_the_next_one_loads_a_cell(wire):
    with nothing_left(killed("near0", "near0,direction=egress")):
        if not has_tcx():
            assert len(filters("near0", "ingress") + filters("near0", "egress")) == 2
            with holder(CELLS["tc"], {"port": PORT}, "on_packet"):
                pass
        assert cells.wait_until(lambda: links("near0", "ingress") + links("near0", "egress") == [], timeout=20)
        assert qdiscs("near0") == []


def test_filters_of_a_killed_process_go_at_the_next_start(wire):
    with nothing_left(killed("near0,priority=7", "near0,priority=3,direction=egress")):
        assert len(filters("near0", "ingress") + filters("near0", "egress")) == 2
        with wire.near_receiver(PORT) as sock:
            wire.send_back(3, PORT)
            assert net.received(sock, 0, timeout=0.2) == 0
            assert next_start() == []
            assert qdiscs("near0") == []
            wire.send_back(5, PORT)
            assert net.received(sock, 5) == 5


def test_a_filter_that_took_the_place_of_a_killed_ones_stays(wire, load):
    with nothing_left(killed("near0,priority=7")):
        (old,) = filters("near0", "ingress")
        tc_command("filter del dev near0 ingress prio 7")
        session = tc(load, "near0,priority=7")
        (new,) = filters("near0", "ingress")
        assert new != old
        assert next_start() == []
        assert filters("near0", "ingress") == [new]
    session.close()
    assert qdiscs("near0") == []


def test_a_filter_in_another_namespace_is_found_there(wire):
    with nothing_left(killed(f"far0,priority=7,netns={wire.far.path}")):
        with wire.far.inside():
            assert len(filters("far0", "ingress")) == 1
        assert next_start() == []
        with wire.far.inside():
            assert qdiscs("far0") == []


def test_the_journal_knows_nothing_of_links(netns, load):
    if has_tcx():
        tc(load, "lo")
        assert noted() == []


def test_nothing_is_undone_for_a_process_that_lives(wire, load):
    session = tc(load, "near0,priority=7")
    assert next_start() == []
    wire.send_back(3, PORT)
    assert cells.wait_until(lambda: session.vars["seen"] == 3, timeout=20)
    assert ebpflab.sessions() == [session]
