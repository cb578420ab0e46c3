"""Test runs: the kernel runs a program on what we hand to it, without an event."""

from __future__ import annotations

import random
import struct

import pytest
from cells_runs import CELLS

from ebpflab.errors import CellError, LoadError


def frame(port, size=60):
    """An Ethernet frame with an IPv4 UDP packet to a port, checksums left out."""
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, size - 14, 1, 0, 64, 17, 0, bytes([127, 0, 0, 1]), bytes([127, 0, 0, 1]))
    udp = struct.pack("!HHHH", 4000, port, size - 34, 0)
    return (b"\x02" * 6 + b"\x04" * 6 + b"\x08\x00" + ip + udp).ljust(size, b"\0")


def pcap(path, packets):
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for second, packet in packets:
            file.write(struct.pack("<IIII", second, 0, len(packet), len(packet)) + packet)


@pytest.mark.parametrize(
    ("kind", "verdicts"),
    [
        ("xdp", ("XDP_DROP", "XDP_PASS")),
        ("tc", ("TC_ACT_SHOT", "TC_ACT_OK")),
        ("cgroup_skb", ("drop the packet", "let it pass")),
    ],
)
def test_a_list_of_packets_gives_a_row_with_a_verdict_for_each(load, kind, verdicts):
    session = load(CELLS["port filter"], attach=False)
    ports = [53 if n % 3 == 0 else 80 for n in range(31)]
    found = session.test_run(f"{kind}_filter", data=[frame(port) for port in ports])
    assert found["verdict"].tolist() == [verdicts[port != 53] for port in ports]
    assert found["length"].tolist() == [60] * 31
    assert session.vars["seen"] == 31
    assert "time" not in found


def test_a_capture_file_is_run_packet_by_packet_with_its_times(load, tmp_path):
    path = tmp_path / "mixed.pcap"
    sizes = random.Random(7).choices(range(60, 1500), k=23)
    pcap(path, [(1_700_000_000 + n, frame(53 if n % 2 else 80, size)) for n, size in enumerate(sizes)])
    session = load(CELLS["port filter"], attach=False)
    found = session.test_run("xdp_filter", data=str(path))
    assert found["length"].tolist() == sizes
    assert found["verdict"].tolist() == ["XDP_DROP" if n % 2 else "XDP_PASS" for n in range(23)]
    assert found["time"].iloc[22].timestamp() == 1_700_000_022
    assert session.vars["seen"] == 23


def test_the_packet_comes_back_as_the_program_left_it(load):
    session = load(CELLS["rewrite"], attach=False)
    before = frame(80)
    result = session.test_run("swap", data=before)
    assert result.verdict == "XDP_TX"
    assert result.data_out == before[6:12] + before[:6] + before[12:]
    longer = session.test_run("grow", data=before)
    assert len(longer.data_out) == len(before) + 32  # bpf_xdp_adjust_head(ctx, -32)
    assert longer.data_out[32:] == before


def test_repeating_a_run_counts_each_and_gives_the_time_of_one(load):
    session = load(CELLS["port filter"], attach=False)
    result = session.test_run("xdp_filter", data=frame(53), repeat=1009)
    assert session.vars["seen"] == 1009
    assert result.repeat == 1009
    assert 0 < result.ns < 1_000_000


def test_fields_of_a_context_go_in_and_come_back_by_name(load):
    session = load(CELLS["contexts"], attach=False)
    result = session.test_run("mark", data=frame(80), ctx={"mark": 41, "cb": [3, 5]})
    assert result.ctx["mark"] == 42
    assert result.ctx["cb"] == [3, 5, 8, 0, 0]
    assert session.test_run("arrival", data=frame(80), ctx={"ingress_ifindex": 1}).retval == 1
    with pytest.raises(CellError, match="no field 'mrk'") as caught:
        session.test_run("mark", data=frame(80), ctx={"mrk": 1})
    assert "mark" in str(caught.value.hint)


@pytest.mark.hook("syscall")
def test_a_syscall_program_changes_its_context_in_place(load):
    session = load(CELLS["sum"], attach=False)
    result = session.test_run("add", ctx=struct.pack("<IIQ", 17, 23, 0))
    assert result.retval == 40
    assert struct.unpack("<IIQ", result.ctx_out) == (17, 23, 40)


def test_arguments_of_a_raw_tracepoint_are_a_list_of_numbers(load):
    session = load(CELLS["raw"], attach=False)
    assert session.test_run("second", ctx=[7, 43]).retval == 43


def test_a_kind_that_the_kernel_cannot_run_says_so(load):
    session = load(CELLS["no run"], attach=False)
    with pytest.raises(LoadError, match="cannot test-run") as caught:
        session.test_run("h")
    assert "attach it" in caught.value.hint


def test_a_packet_shorter_than_an_ethernet_header_is_explained(load):
    session = load(CELLS["port filter"], attach=False)
    with pytest.raises(LoadError) as caught:
        session.test_run("xdp_filter", data=b"short")
    assert "at least 14 bytes" in caught.value.hint


@pytest.mark.parametrize("nothing", [[], b"", None])
def test_a_context_of_no_bytes_is_none(load, nothing):
    session = load('SEC("raw_tp/sys_enter") int h(void *ctx) { return 23; }', attach=False)
    assert session.test_run(ctx=nothing).retval == 23
