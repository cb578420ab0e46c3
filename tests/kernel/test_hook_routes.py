"""Programs of routes: packets go over a cable between two network namespaces, by a route that the test makes."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import threading
import time
from pathlib import Path

import netns as net
import pytest
from cells import wait_until
from cells_routes import CELLS

from ebpflab import journal
from ebpflab.errors import AttachError, EbpflabError, HookNotFoundError

PORT, UNWANTED = 4219, 4229
PAYLOAD = b"seven b"
BEHIND, BEHIND6 = "10.99.0.1", "fd99::1"  # addresses that only a route of the test leads to
SENT = "10.99.0.0/24 via 10.77.0.2 dev near0"
RECEIVED = f"local {BEHIND} dev near0"
SHORT = "10.99.0.0/24 dev lo"  # where nobody has to receive what is sent
PROGRAM = {"lwt_in": "at_in", "lwt_out": "at_out", "lwt_xmit": "at_xmit"}
SEEN = {"lwt_in": "in_seen", "lwt_out": "out_seen", "lwt_xmit": "xmit_seen"}
three_kinds = pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.hook(kind)) for kind in ("lwt_in", "lwt_out", "lwt_xmit")]
)


def routes():
    """What ip(8) says of all routes of this thread's namespace."""
    return net.tool("ip", "route", "show", "table", "all") + net.tool("ip", "-6", "route", "show", "table", "all")


def noted():
    """The routes that this process has in the journal."""
    return [entry for entry in journal.entries() if entry.owner.pid == os.getpid() and entry.kind == "route"]


@pytest.fixture
def attach(netns, load):
    """Load a cell and attach one program of it; at the end no route has a program, and no note is left of one."""

    def attaching(name, program, target, **constants):
        session = load(CELLS[name], attach=False, vars=constants)
        session.attach(program, target=target)
        made.append(session)
        return session

    made = []
    yield attaching
    for session in made:
        session.close()
    assert [line for line in routes().splitlines() if "encap" in line] == []
    assert noted() == []


@pytest.fixture
def beyond(wire):
    """As `wire`, with the addresses BEHIND in the far namespace, and no route to them in the near one."""
    with wire.far.inside():
        net.ip(f"address add {BEHIND}/32 dev lo", f"address add {BEHIND6}/128 dev lo nodad")
    return wire


def receiver(wire, kind, port):
    """Whoever gets what a route of this kind lets through: far what is sent from near, near what comes from far."""
    if kind == "lwt_in":
        return net.udp_receiver(BEHIND, port)
    with wire.far.inside():
        return net.udp_receiver(BEHIND, port)


def send(wire, kind, count, port):
    """Send, from near or far as the kind has it; returns how often the sender was refused."""
    if kind != "lwt_in":
        return sum(refused(port) for _ in range(count))
    with wire.far.inside():
        net.ip(f"address del {BEHIND}/32 dev lo", f"route add {BEHIND} via {wire.near_address} dev far0")
        net.send_udp(count, BEHIND, port, PAYLOAD)
        net.ip(f"route del {BEHIND}", f"address add {BEHIND}/32 dev lo")
    return 0


def refused(port):
    try:
        net.send_udp(1, BEHIND, port, PAYLOAD)
    except PermissionError:
        return True
    return False


def sniffer(interface, protocol):
    """A socket that gets all packets of a protocol which come by an interface, from their IP header on (packet(7))."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(protocol))
    made.bind((interface, protocol))
    return made


def packets(come, expected):
    """Waits for that many packets and some time longer."""
    found, until = [], time.monotonic() + 20
    come.settimeout(0.2)
    while time.monotonic() < until:
        try:
            found.append(come.recv(2048))
        except TimeoutError:
            if len(found) >= expected:
                break
    return found


@three_kinds
def test_each_packet_of_the_route_is_counted_while_the_program_is_attached(kind, attach, beyond):
    target = RECEIVED if kind == "lwt_in" else SENT
    session = attach("three", PROGRAM[kind], target, port=PORT)
    seen = SEEN[kind]
    assert session.links[["program", "hook", "target"]].to_numpy().tolist() == [[PROGRAM[kind], kind, target]]
    with receiver(beyond, kind, PORT) as wanted, receiver(beyond, kind, UNWANTED) as other:
        send(beyond, kind, 23, PORT)
        send(beyond, kind, 7, UNWANTED)
        assert (net.received(wanted, 23), net.received(other, 7)) == (23, 7)
    values = session.vars
    assert [values[name] for name in SEEN.values()] == [23 if name == seen else 0 for name in SEEN.values()]
    assert values["bytes"] == 23 * (20 + 8 + len(PAYLOAD))
    assert values["protocol"] == socket.htons(0x0800)  # ETH_P_IP
    assert struct.pack("=I", values["to"]) == socket.inet_aton(BEHIND)
    if kind != "lwt_out":  # before a packet is sent, it has no interface
        assert values["interface"] == socket.if_nametoindex("near0")
    session.detach()
    net.ip(f"route add {target}")  # the same, without the program
    with receiver(beyond, kind, PORT) as wanted:
        send(beyond, kind, 5, PORT)
        assert net.received(wanted, 5) == 5
    net.ip(f"route del {target}")
    assert values[seen] == 23


@three_kinds
def test_a_program_that_says_bpf_drop_drops_the_packet(kind, attach, beyond):
    session = attach("three", PROGRAM[kind], RECEIVED if kind == "lwt_in" else SENT, port=PORT, unwanted=UNWANTED)
    with receiver(beyond, kind, PORT) as wanted, receiver(beyond, kind, UNWANTED) as unwanted:
        # Who sends is told so; who sent a packet that was dropped where it arrived is not.
        assert send(beyond, kind, 11, UNWANTED) == (0 if kind == "lwt_in" else 11)
        assert send(beyond, kind, 13, PORT) == 0
        assert net.received(wanted, 13) == 13
        assert net.received(unwanted, 0) == 0
    assert (session.vars[SEEN[kind]], session.vars["dropped"]) == (13, 11)


@pytest.mark.hook("lwt_in")
def test_a_packet_on_its_way_through_this_machine_is_seen_too(attach, beyond):
    # From the far namespace through the near one and back: the route is that of a router.
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    session = attach("three", "at_in", SENT, port=PORT)
    with beyond.far.inside():
        net.ip("address add 10.88.0.1/32 dev lo", f"rule add from 10.88.0.1 to {BEHIND} lookup 88 priority 0")
        net.ip("rule add lookup local priority 1", "rule del lookup local priority 0")
        net.ip(f"route add {BEHIND} via {beyond.near_address} dev far0 table 88")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("10.88.0.1", 0))
            for _ in range(17):
                sender.sendto(PAYLOAD, (BEHIND, PORT))
    assert wait_until(lambda: session.vars["in_seen"] >= 17, timeout=20)
    assert session.vars["in_seen"] == 17


@pytest.mark.hook("lwt_out")
@pytest.mark.hook("lwt_xmit")
@pytest.mark.parametrize("kind", ["lwt_out", "lwt_xmit"])
def test_a_route_of_ipv6_counts_its_packets(kind, attach, beyond):
    session = attach("three", PROGRAM[kind], "fd99::/64 via fd77::2 dev near0", port=PORT)
    with beyond.far.inside():
        wanted = net.udp_receiver(BEHIND6, PORT)
    with wanted:
        net.send_udp(19, BEHIND6, PORT, PAYLOAD)
        assert net.received(wanted, 19) == 19
    assert session.vars[SEEN[kind]] == 19
    assert session.vars["bytes"] == 19 * (40 + 8 + len(PAYLOAD))
    assert session.vars["protocol"] == socket.htons(0x86DD)  # ETH_P_IPV6


@pytest.mark.hook("lwt_xmit")
def test_a_packet_that_the_program_wraps_arrives_wrapped(attach, beyond):
    addresses = {"from": beyond.near_address, "to": beyond.far_address}
    constants = {name: struct.unpack("=I", socket.inet_aton(address))[0] for name, address in addresses.items()}
    session = attach("encap", "wrap", f"{SENT},headroom=20", **constants)
    with beyond.far.inside():
        come = sniffer("far0", 0x0800)
    with come:
        net.send_udp(7, BEHIND, PORT, PAYLOAD)
        came = packets(come, 7)
    # IP in IP is protocol 4; the inner packet is UDP's 17.
    assert [(packet[9], packet[20 + 9]) for packet in came] == [(4, 17)] * 7
    assert {socket.inet_ntoa(packet[20 + 16 : 20 + 20]) for packet in came} == {BEHIND}
    assert session.vars["seen"] == 7
    assert session.links["target"].tolist() == [f"{SENT},headroom=20"]


@pytest.mark.hook("lwt_seg6local")
@pytest.mark.parametrize(("refuse", "come_back"), [(False, 11), (True, 0)])
def test_packets_with_a_segment_of_ours_are_counted_and_go_on_or_not(refuse, come_back, attach, beyond):
    # The far side sends to fd66::1 through the program's segment fd88::1; the near side's route leads back over the
    # cable, as the kernel does not deliver such packets to itself (seg6_lookup_any_nexthop()).
    forwarding = Path("/proc/sys/net/ipv6/conf/all/forwarding")  # of this thread's network namespace
    forwarding.write_text("1")
    session = attach("segments", "at_segment", "fd88::/64 dev near0", refuse=refuse)
    net.ip("route add fd66::/64 via fd77::2 dev near0")
    with beyond.far.inside(), sniffer("far0", 0x86DD) as come:
        net.ip("route add fd88::/64 via fd77::1 dev far0")
        net.ip("route add fd66::/64 encap seg6 mode inline segs fd88::1 via fd77::1 dev far0")
        net.send_udp(11, "fd66::1", PORT, PAYLOAD)
        assert wait_until(lambda: session.vars["seen"] >= 11, timeout=20)
        # A segment routing header, number 43, is behind the IPv6 header, and the program has left the next one there.
        came = [packet for packet in packets(come, come_back) if (packet[6], packet[40]) == (43, 17)]
    assert len(came) == come_back
    assert {socket.inet_ntop(socket.AF_INET6, packet[24:40]) for packet in came} == (
        {"fd66::1"} if come_back else set()
    )
    # By then the kernel has gone on to the last segment.
    assert (session.vars["seen"], session.vars["next"], session.vars["left"]) == (11, 17, 0)
    net.ip("route del fd66::/64")
    forwarding.write_text("0")


@pytest.mark.hook("lwt_xmit")
def test_the_kernels_own_list_has_the_route_with_its_program(attach):
    session = attach("three", "at_xmit", f"{SHORT} table 100 metric 5,headroom=14")
    (entry,) = noted()
    (route,) = json.loads(net.tool("ip", "-json", "route", "show", "table", "100"))
    assert (route["dst"], route["dev"], route["metric"]) == ("10.99.0.0/24", "lo", 5)
    assert f"xmit at_xmit:{entry.facts['token']}" in net.tool("ip", "route", "show", "table", "100")
    session.detach()
    assert routes().count("10.99.0.0/24") == 0


@pytest.mark.hook("lwt_out")
def test_programs_of_one_route_share_it_and_leave_it_one_by_one(attach):
    first = attach("three", "at_out", SHORT, port=PORT)
    second = attach("three", "at_xmit", SHORT, port=PORT)
    assert len(noted()) == 1
    net.send_udp(13, BEHIND, PORT)
    assert (first.vars["out_seen"], second.vars["xmit_seen"]) == (13, 13)
    first.close()
    assert "at_out" not in routes()
    net.send_udp(7, BEHIND, PORT)
    assert second.vars["xmit_seen"] == 20


@pytest.mark.hook("lwt_out")
def test_all_programs_of_a_cell_are_attached_by_targets(netns, load):
    session = load(CELLS["three"], targets=dict.fromkeys(PROGRAM, SHORT), vars={"port": PORT})
    net.send_udp(5, BEHIND, PORT)
    assert (session.vars["out_seen"], session.vars["xmit_seen"]) == (5, 5)
    assert routes().count("encap bpf in at_in") == 1


@pytest.mark.hook("lwt_out")
def test_programs_of_one_name_count_each_its_own_route(attach):
    # The kernel would take the second for the first: it has the same next hop and, but for our token, the same name.
    one = attach("three", "at_out", SHORT, port=PORT)
    other = attach("three", "at_out", "10.98.0.0/24 dev lo", port=PORT)
    net.send_udp(5, BEHIND, PORT)
    net.send_udp(11, "10.98.0.1", PORT)
    assert (one.vars["out_seen"], other.vars["out_seen"]) == (5, 11)


@pytest.mark.hook("lwt_out")
def test_a_route_that_is_there_already_is_left_alone(attach):
    net.ip(f"route add {SHORT}")
    before = routes()
    with pytest.raises(AttachError, match=r"a route to 10\.99\.0\.0/24 of this metric already") as caught:
        attach("three", "at_out", SHORT)
    assert "metric 5" in caught.value.hint
    assert (routes(), noted()) == (before, [])
    attach("three", "at_out", f"{SHORT} metric 5").close()  # another metric is another route
    assert routes() == before


@pytest.mark.parametrize("target", [SHORT, f"{SHORT} src 127.0.0.1"])
@pytest.mark.hook("lwt_out")
def test_two_programs_of_one_kind_cannot_have_one_route(target, attach):
    session = attach("three", "at_out", SHORT)
    with pytest.raises(AttachError, match="leads through at_out"):
        session.attach("at_out", target=target)


@pytest.mark.hook("lwt_xmit")
def test_a_wrong_target_is_explained_and_leaves_nothing(attach):
    wrong = [
        ("10.99.0.0/24 dev loo", HookNotFoundError, "lo"),
        ("10.99.0.0/24 dve lo", AttachError, "dev"),
        ("10.99.0.1/24 dev lo", AttachError, "10.99.0.0/24"),
        ("10.99.0.0/24", AttachError, "leads nowhere"),
        ("10.99.0.0/24 via 10.55.0.1 dev lo", AttachError, "onlink"),
        ("10.99.0.0/24 dev lo,netns=nowhere", HookNotFoundError, "nowhere"),
        ("10.99.0.0/24 dev lo,headroom=257", AttachError, "0 to 256"),
        ("10.99.0.0/24 dev lo,headrom=14", AttachError, "headroom"),
    ]
    session = attach("three", "at_xmit", f"{SHORT} metric 7")
    before = routes()
    for target, error, told in wrong:
        with pytest.raises(error) as caught:
            session.attach("at_xmit", target=target)
        assert told in str(caught.value), target
        assert (routes(), len(noted())) == (before, 1), target


@pytest.mark.hook("lwt_out")
def test_an_interface_that_is_down_is_named(attach):
    net.ip("link add idle type veth peer name idle1")
    with pytest.raises(AttachError, match="ip link set idle up"):
        attach("three", "at_out", "10.99.0.0/24 dev idle")


@pytest.mark.hook("lwt_seg6local")
def test_a_segment_of_ipv4_is_refused_in_our_words(attach):
    with pytest.raises(AttachError, match="segment routing is of IPv6"):
        attach("segments", "at_segment", SHORT)


@pytest.mark.hook("lwt_out")
def test_a_route_can_be_made_in_another_network_namespace(attach, netns):
    before = routes()
    with net.another() as other:
        session = attach("three", "at_out", f"{SHORT},netns={other.path}", port=PORT)
        assert routes() == before
        with other.inside():
            assert "10.99.0.0/24" in routes()
            net.send_udp(7, BEHIND, PORT)
        assert session.vars["out_seen"] == 7
        session.detach()
        with other.inside():
            assert "10.99.0.0/24" not in routes()


@pytest.mark.hook("lwt_out")
def test_a_session_may_be_closed_by_a_thread_of_another_namespace(attach):
    # Then nobody is in the namespace of the route, which only a descriptor of this process holds.
    session = attach("three", "at_out", SHORT)
    with net.another() as other, other.inside():
        session.close()


@pytest.mark.hook("lwt_out")
def test_a_cell_of_a_notebook_attaches_while_its_event_loop_runs(attach):
    async def cell():
        return attach("three", "at_out", SHORT)

    asyncio.run(cell()).close()


@pytest.mark.hook("lwt_out")
def test_a_route_that_somebody_removed_meanwhile_is_no_error(attach):
    session = attach("three", "at_out", SHORT)
    net.ip(f"route del {SHORT}")
    session.close()


@pytest.mark.hook("lwt_out")
def test_somebody_elses_route_in_the_place_of_ours_stays(attach):
    session = attach("three", "at_out", SHORT)
    net.ip(f"route replace {SHORT} proto 235")
    session.close()
    assert "10.99.0.0/24 dev lo" in routes()


@pytest.mark.hook("lwt_out")
def test_a_route_that_goes_with_its_interface_is_no_error(attach):
    net.ip("link add gone type veth peer name gone1", "link set gone up")
    session = attach("three", "at_out", "10.99.0.0/24 dev gone")
    net.ip("link del gone")
    session.close()


@pytest.mark.hook("lwt_out")
def test_a_forked_child_that_closes_the_session_leaves_the_route(attach):
    session = attach("three", "at_out", SHORT)
    before = routes()
    child = os.fork()
    if not child:
        try:
            session.close()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (routes(), len(noted())) == (before, 1)


@pytest.mark.hook("lwt_out")
def test_threads_that_attach_and_detach_at_once_leave_nothing(attach, load):
    sessions = [attach("three", "at_out", f"{SHORT} metric {number}") for number in range(1, 4)]
    wrong = []

    def work(session, metric):
        for _ in range(5):
            try:
                session.detach()
                session.attach("at_out", target=f"{SHORT} metric {metric}")
            except EbpflabError as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(session, n)) for n, session in enumerate(sessions, start=1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert routes().count("encap bpf out at_out:") == len(noted()) == 3
