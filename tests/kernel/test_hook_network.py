"""XDP: frames that the test sends over a cable of its own, counted and dropped by a program at one end."""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
from pathlib import Path

import cells
import netns as net
import objects
import pytest
from cells_network import CELLS
from holders import holder

from ebpflab.errors import AttachError, EbpflabError, HookNotFoundError

PORT = 4242
PAYLOAD = b"eleven byte"
LENGTH = 14 + 20 + 8 + len(PAYLOAD)  # of a frame: Ethernet, IPv4, UDP
ABORT, DROP, PASS = 0, 1, 2

pytestmark = pytest.mark.hook("xdp")


def xdp(load, target, verdict=PASS, cell="xdp", program="on_frame"):
    session = load(CELLS[cell], attach=False, vars={"port": PORT, "verdict": verdict})
    session.attach(program, target=target)
    return session


def shown(interface):
    """The XDP programs of an interface as ip(8) tells them: what it calls the mode, and the program's number."""
    (link,) = json.loads(net.tool("ip", "-d", "-j", "link", "show", "dev", interface))
    modes = {1: "native", 2: "generic"}  # XDP_ATTACHED_DRV and _SKB, include/uapi/linux/if_link.h
    return (modes[link["xdp"]["mode"]], link["xdp"]["prog"]["id"]) if "xdp" in link else None


def test_ip_shows_no_program_where_there_is_none(netns):
    assert shown("lo") is None


@pytest.mark.parametrize(("target", "mode"), [("near0", "native"), ("near0,mode=native", "native"),
                                              ("near0,mode=generic", "generic")])  # fmt: skip
def test_each_frame_is_seen_once_and_passed_on(wire, load, target, mode):
    session = xdp(load, target)
    assert session.links.values.tolist() == [["on_frame", "xdp", f"near0,mode={mode}", "attached"]]
    assert shown("near0")[0] == mode
    with wire.near_receiver(PORT) as receiver:
        wire.send_back(23, PORT, PAYLOAD)
        assert net.received(receiver, 23) == 23
        assert (session.vars["seen"], session.vars["bytes"]) == (23, 23 * LENGTH)
        assert session.vars["ifindex"] == socket.if_nametoindex("near0")
        session.detach()
        assert shown("near0") is None
        wire.send_back(7, PORT, PAYLOAD)
        assert net.received(receiver, 7) == 7
    assert session.vars["seen"] == 23


@pytest.mark.parametrize("mode", ["native", "generic"])
@pytest.mark.parametrize("verdict", [DROP, ABORT])
def test_a_dropped_frame_does_not_arrive_and_others_do(wire, load, mode, verdict):
    session = xdp(load, f"near0,mode={mode}", verdict)
    with wire.near_receiver(PORT) as receiver, wire.near_receiver(PORT + 1) as other:
        wire.send_back(13, PORT)
        wire.send_back(3, PORT + 1)
        assert net.received(other, 3) == 3
        assert cells.wait_until(lambda: session.vars["seen"] == 13, timeout=20)
        assert net.received(receiver, 0) == 0
        session.detach()
        wire.send_back(5, PORT)
        assert net.received(receiver, 5) == 5


def test_loopback_has_no_driver_for_it_and_takes_generic_mode(netns, load):
    session = xdp(load, "lo")
    assert session.links["target"].tolist() == ["lo,mode=generic"]
    with net.udp_receiver("127.0.0.1", PORT) as receiver:
        net.send_udp(11, "127.0.0.1", PORT)
        assert net.received(receiver, 11) == 11
    assert session.vars["seen"] == 11


def test_native_mode_without_a_driver_for_it_names_generic_mode(netns, load):
    with pytest.raises(AttachError, match="driver of lo cannot run XDP programs") as caught:
        xdp(load, "lo,mode=native")
    assert "lo,mode=generic" in caught.value.hint
    assert shown("lo") is None


@pytest.mark.parametrize(("target", "words"), [
    ("lo,mode=nativ", "no mode 'nativ'"),
    ("lo,mode=offload", "network cards"),
    ("lo,mod=generic", "no option 'mod'"),
])  # fmt: skip
def test_a_wrong_option_is_refused(netns, load, target, words):
    with pytest.raises(AttachError, match=words):
        xdp(load, target)
    assert shown("lo") is None


def test_a_missing_interface_names_the_nearest(wire, load):
    with pytest.raises(HookNotFoundError) as caught:
        xdp(load, "naer0")
    assert caught.value.nearest == ("near0",)
    assert "naer0" in caught.value.what


def test_an_interface_that_is_down_is_fine(wire, load):
    net.ip("link set near0 down")
    session = xdp(load, "near0")
    net.ip("link set near0 up")
    net.wait_running("near0")
    with wire.near_receiver(PORT) as receiver:
        wire.send_back(5, PORT)
        assert net.received(receiver, 5) == 5
    assert session.vars["seen"] == 5


def test_an_interface_may_go_while_a_program_is_attached(wire, load):
    session = xdp(load, "near0")
    net.ip("link del near0")
    session.close()


def test_a_second_session_is_told_who_is_there_and_the_first_goes_on(wire, load):
    first = xdp(load, "near0")
    mode, number = shown("near0")
    second = load(CELLS["xdp"], attach=False, vars={"port": PORT, "verdict": DROP})
    for target in ("near0", "near0,mode=generic"):
        with pytest.raises(AttachError) as caught:
            second.attach(target=target)
        assert f"near0 already has an XDP program: on_frame, id {number}, mode={mode}" in caught.value.what
        assert "this process" in caught.value.hint
    assert shown("near0") == (mode, number)
    wire.send_back(7, PORT)
    assert cells.wait_until(lambda: first.vars["seen"] == 7, timeout=20)
    assert second.vars["seen"] == 0
    first.close()
    second.attach(target="near0")
    wire.send_back(3, PORT)
    assert cells.wait_until(lambda: second.vars["seen"] == 3, timeout=20)


def test_the_process_that_is_there_is_named_and_killing_it_frees_the_interface(wire, load):
    with holder(CELLS["xdp"], {"port": PORT, "verdict": PASS}, "on_frame", "near0") as pid:
        _, number = shown("near0")
        assert ("prog", number) in objects.held_by(pid)
        with pytest.raises(AttachError) as caught:
            xdp(load, "near0")
        command = Path(f"/proc/{pid}/comm").read_text().strip()
    assert f"id {number}" in caught.value.what
    assert f"process {pid} ({command})" in caught.value.hint
    assert cells.wait_until(lambda: shown("near0") is None, timeout=20)
    session = xdp(load, "near0")
    wire.send_back(3, PORT)
    assert cells.wait_until(lambda: session.vars["seen"] == 3, timeout=20)


def without_a_link(interface):
    """Attach r0 = XDP_PASS; exit over netlink, as `ip link set dev ... xdpgeneric` does: no process holds that."""
    library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    code = ctypes.create_string_buffer(bytes.fromhex("b7000000020000009500000000000000"))
    program = library.bpf_prog_load(6, b"nobodys", b"GPL", code, ctypes.c_size_t(2), None)
    assert program >= 0
    try:
        assert library.bpf_xdp_attach(socket.if_nametoindex(interface), program, 1 << 1, None) == 0
    finally:
        os.close(program)


def test_where_no_process_holds_the_program_the_hint_is_the_command_that_takes_it_off(netns, load):
    without_a_link("lo")
    mode, number = shown("lo")
    with pytest.raises(AttachError) as caught:
        xdp(load, "lo")
    assert f"nobodys, id {number}, mode={mode}" in caught.value.what
    command = re.search("`(.+)`", caught.value.hint)[1]
    net.tool(*command.split())
    assert shown("lo") is None
    assert xdp(load, "lo").links["target"].tolist() == ["lo,mode=generic"]


def test_frames_larger_than_a_buffer_need_a_program_for_fragments(wire, load):
    with wire.far.inside():
        net.ip("link set far0 mtu 9000")
    net.ip("link set near0 mtu 9000")
    with pytest.raises(AttachError, match="driver of near0 refuses") as caught:
        xdp(load, "near0")
    assert "MTU" in caught.value.hint
    if " bpf_xdp_get_buff_len" not in Path("/proc/kallsyms").read_text():  # until Linux 5.18
        with pytest.raises(EbpflabError):
            load(CELLS["xdp.frags"], attach=False)
        return
    session = xdp(load, "near0", cell="xdp.frags")
    with wire.near_receiver(PORT) as receiver:
        wire.send_back(7, PORT, bytes(8000))
        assert net.received(receiver, 7) == 7
    assert session.vars["seen"] == 7
    assert session.vars["total"] == 7 * (14 + 20 + 8 + 8000)
    assert 0 < session.vars["bytes"] < session.vars["total"]


def test_programs_that_go_into_maps_are_loaded_and_not_attached(netns, load):
    session = load(CELLS["xdp/devmap"], vars={"port": PORT}, targets={"on_frame": "lo"})
    assert session.links["program"].tolist() == ["on_frame"]
    for program, map_type in (("sent_on", "BPF_MAP_TYPE_DEVMAP"), ("on_cpu", "BPF_MAP_TYPE_CPUMAP")):
        with pytest.raises(AttachError, match=map_type):
            session.attach(program, target="lo")
    assert session.programs["name"].tolist() == ["on_frame", "sent_on", "on_cpu"]
