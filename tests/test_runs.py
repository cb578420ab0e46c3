from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflab import runs
from ebpflab.errors import CellError, EbpflabError
from ebpflab.program_types import BY_KIND
from ebpflab.runs import RunResult


def pcap(packets: list[tuple[int, int, bytes]], link_type: int = 1, magic: int = 0xA1B2C3D4) -> bytes:
    """A capture by the format's own description: https://www.ietf.org/archive/id/draft-gharris-opsawg-pcap-01.html."""
    header = struct.pack("<IHHiIII", magic, 2, 4, 0, 0, 65535, link_type)
    records = (struct.pack("<IIII", s, us, len(data), len(data)) + data for s, us, data in packets)
    return header + b"".join(records)


def test_a_capture_gives_time_and_bytes_of_each_packet(tmp_path: Path) -> None:
    path = tmp_path / "three.pcap"
    frames = [bytes([n]) * (14 + n) for n in (1, 2, 3)]
    path.write_bytes(pcap([(1700000000 + n, 250000, data) for n, data in enumerate(frames)]))
    found = list(runs.packets(str(path)))
    assert [data for _, data in found] == frames
    assert [when for when, _ in found] == [1700000000.25, 1700000001.25, 1700000002.25]


def test_a_capture_in_the_newer_format_is_read_as_well(tmp_path: Path) -> None:
    # Section header, one Ethernet interface, one enhanced packet (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html).
    def block(kind: int, body: bytes) -> bytes:
        return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)

    microseconds = 1_700_000_000_500_000
    section = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    interface = block(1, struct.pack("<HHI", 1, 0, 65535))
    packet = block(6, struct.pack("<IIIII", 0, microseconds >> 32, microseconds & 0xFFFFFFFF, 16, 16) + b"p" * 16)
    path = tmp_path / "one.pcapng"
    path.write_bytes(section + interface + packet)
    assert list(runs.packets(path)) == [(1_700_000_000.5, b"p" * 16)]


def test_a_capture_of_another_link_type_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "any.pcap"
    path.write_bytes(pcap([(1, 0, bytes(20))], link_type=113))
    with pytest.raises(CellError, match="link type 113") as caught:
        list(runs.packets(path))
    assert "tcpdump -i" in str(caught.value.hint)


@pytest.mark.parametrize("data", [b"", b"not a capture", bytes(24)])
def test_what_is_no_capture_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(data)
    with pytest.raises(CellError, match=r"x\.pcap"):
        list(runs.packets(path))
    with pytest.raises(CellError, match="cannot read"):
        list(runs.packets(tmp_path / "absent.pcap"))


@given(st.binary(max_size=200), st.booleans())
def test_any_capture_is_read_or_refused_with_an_error_of_ours(tmp_path_factory, data: bytes, headed: bool) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "f.pcap"
    path.write_bytes((pcap([]) if headed else b"") + data)
    with contextlib.suppress(EbpflabError):
        assert all(isinstance(packet, bytes) for _, packet in runs.packets(path))


def test_packets_may_be_objects_that_know_their_bytes() -> None:
    class Packet:
        def __bytes__(self) -> bytes:
            return b"\x45" * 14

    listed = [b"a" * 14, bytearray(b"b" * 14), memoryview(b"c" * 14), Packet()]
    assert [data[:1] for _, data in runs.packets(listed)] == [b"a", b"b", b"c", b"\x45"]
    with pytest.raises(CellError, match="of type int"):
        list(runs.packets([b"", 7]))


def test_numbers_of_a_context_are_64_bits_each() -> None:
    row = BY_KIND["raw_tracepoint"]
    assert runs.context_bytes(row, [1, -1], 0) == struct.pack("<Qq", 1, -1)
    assert runs.context_bytes(row, b"abc", 0) == b"abc"
    for wrong in ([1 << 64], ["x"], 7):
        with pytest.raises(CellError):
            runs.context_bytes(row, wrong, 0)


def test_a_hexdump_shows_offset_bytes_and_letters_and_says_what_it_left_out() -> None:
    assert runs.hexdump(b"abc\x00") == "0000  61 62 63 00                                      abc."
    lines = runs.hexdump(bytes(300)).splitlines()
    assert len(lines) == 9
    assert lines[-1] == "... 172 bytes more"


def test_a_result_shows_verdict_speed_and_packet_and_escapes_it() -> None:
    result = RunResult("drop", 1, "XDP_DROP", b"<b>&" * 4, b"", 35, 1000)
    assert str(result).splitlines()[0] == "drop [XDP_DROP] 35 ns a run, mean of 1,000"
    assert "3c 62 3e 26" in str(result)
    assert "<b>&" not in result._repr_html_()
    assert result["retval"] == 1
    with pytest.raises(KeyError):
        result["_type"]
