"""Keys and values between bytes and Python: what clang and ctypes have written is read, and written the same."""

from __future__ import annotations

import ctypes
import ipaddress
import json
import math
import struct
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflab.btf import Btf, Kind
from ebpflab.btf_program import map_definitions
from ebpflab.decode import to_frame
from ebpflab.errors import MapError
from ebpflab.maps import Named, Record
from ebpflab.maps.addresses import AddressNode, PrefixNode
from ebpflab.maps.codec import integer, sized, typed

DATA = Path(__file__).parent / "data" / "btf"
ORDERS = {"bpfel": "little", "bpfeb": "big"}


def codec(file, name, kind=Kind.STRUCT):
    btf = Btf.parse((DATA / f"{file}.BTF").read_bytes())
    return typed(btf, btf.find(name, kind).id)


@pytest.fixture(scope="module", params=ORDERS)
def event(request):
    samples = (DATA / f"records.{request.param}.samples").read_bytes()
    made = codec(f"records.{request.param}", "event")
    return made, [samples[: made.size], samples[made.size :]]


# As records.c has them; what a char array holds after its NUL is not part of the value.
FIRST = {
    "when": 1000000007, "took": 5000000011, "slipped": -6000000029, "a": -1, "b": 255, "c": -300, "d": 65000,
    "e": -70000, "f": 4000000000, "g": 0xFEDCBA9876543210, "yes": True, "flags": (False, True, False), "half": 1.5,
    "third": -0.1, "letter": ord("x"), "comm": "sixteen letters!", "path": "/etc/été", "argv": ("ls", "-l"),
    "state": 5, "states": (200, 77), "level": -2, "tiny": 1, "mac": bytes([2, 0, 0, 0xAB, 0xCD, 0xEF]),
    "macs": (b"\1\2\3", b"\4\5\6"), "ports": (80, 443, 65535), "grid": ((-1, 2), (3, -4)),
    "pointer": 0xFFFF888012345678, "three": 5, "twenty": 0xABCDE,
    "minus": -9, "state_bits": 200, "yes_bit": True, "across": 0xFEDCBA9876,
    "full": 0x8000000000000001, "packed": (21, 0xABCDEF012345678, -33), "huge": -5, "vast": (7 << 64) | 9,
    "shape": {"at": ({"x": 1, "y": -2}, (3, -4)), "name": "square"},
}  # fmt: skip


def test_what_clang_wrote_is_read_in_both_byte_orders(event):
    made, (first, second) = event
    value = made.decode(first)
    # clang 14 does not write down that an enum is signed
    expected = {**FIRST, "level": 2**32 - 2} if value.level > 0 else FIRST
    assert {name: value[name] for name in expected} == expected
    assert (value.states[0].name, value.level.name, type(value.states[1])) == ("DONE", "LOW", int)
    assert value.many[19] == 19
    assert value.crowd[16].y == -3
    other = made.decode(second)
    assert (other.comm, other.path, other.minus, other.huge, other.packed.tail) == (
        "bash",
        "bad � utf8",
        15,
        1 << 64,
        31,
    )


def test_what_was_read_is_written_as_clang_had_it(event):
    made, samples = event
    for raw in samples:
        written = made.encode(made.decode(raw), "event")
        different = [i for i in range(made.size) if written[i] != raw[i]]
        texts = [c for c in made.record.columns if c.kind == "text"]
        # Only what follows the NUL of a text, which is zero now, and what is no UTF-8.
        assert all(any(c.offset <= i < c.offset + c.size for c in texts) for i in different)
        assert made.decode(written) == made.decode(raw)


def test_columns_and_values_say_the_same(event):
    made, samples = event
    frame = to_frame(made.record, [(np.frombuffer(b"".join(samples), np.uint8).reshape(2, -1), 0)])
    for row, raw in enumerate(samples):
        value = made.decode(raw)
        for name in ("a", "c", "e", "f", "g", "half", "third", "comm", "path", "three", "minus", "across", "pointer"):
            assert frame[name][row] == value[name]
        assert frame["state"][row] == value.state.name
        assert frame["shape.at[1].y"][row] == value.shape.at[1].y


def test_the_columns_of_a_frame_are_taken_as_fields():
    made = codec("records.bpfel", "shape")
    nested = {"at": [{"x": 1, "y": 0}, {"x": 0, "y": -2}], "name": "abc"}
    assert made.encode({"at[0].x": 1, "at[1].y": -2, "name": "abc"}, "v") == made.encode(nested, "v")


# --- Against ctypes ------------------------------------------------------------------------------------


class Point(ctypes.LittleEndianStructure):
    _fields_ = (("x", ctypes.c_int16), ("y", ctypes.c_int16))


class Shape(ctypes.LittleEndianStructure):
    _fields_ = (("at", Point * 2), ("name", ctypes.c_char * 6))


class CloseEvent(ctypes.LittleEndianStructure):
    _fields_ = (("kind", ctypes.c_uint32), ("ret", ctypes.c_int32), ("ts", ctypes.c_uint64))


class ExecEvent(ctypes.LittleEndianStructure):
    _fields_ = (("kind", ctypes.c_uint32), ("comm", ctypes.c_char * 16))


SHAPE, CLOSE, EXEC = codec("records.bpfel", "shape"), codec("globals", "close_event"), codec("globals", "exec_event")
PACKED = codec("records.bpfel", "packed_bits")
u32, s16 = st.integers(0, 2**32 - 1), st.integers(-(2**15), 2**15 - 1)
texts = st.text(st.characters(min_codepoint=1, codec="utf-8"), max_size=16).filter(lambda t: len(t.encode()) <= 16)


@given(u32, st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**64 - 1))
def test_numbers_are_written_as_ctypes_writes_them_and_read_back(kind, ret, ts):
    expected = bytes(CloseEvent(kind, ret, ts))
    assert CLOSE.encode({"ts": ts, "ret": ret, "kind": kind}, "v") == expected
    assert CLOSE.encode((np.uint32(kind), np.int32(ret), np.uint64(ts)), "v") == expected
    assert CLOSE.decode(expected) == (kind, ret, ts)


@given(u32, texts)
def test_text_is_written_as_ctypes_writes_it_and_read_back(kind, text):
    expected = bytes(ExecEvent(kind, text.encode()))
    assert EXEC.encode((kind, text), "v") == EXEC.encode({"kind": kind, "comm": text.encode()}, "v") == expected
    assert EXEC.decode(expected) == {"kind": kind, "comm": text}


@given(st.lists(st.tuples(s16, s16), min_size=2, max_size=2), st.binary(max_size=6).filter(lambda b: 0 not in b))
def test_nested_structs_are_written_as_ctypes_writes_them(points, name):
    expected = bytes(Shape((Point * 2)(*(Point(*p) for p in points)), name))
    assert SHAPE.encode({"at": points, "name": name}, "v") == expected
    assert SHAPE.decode(expected).at == tuple(points)


@given(st.integers(0, 31), st.integers(0, 2**60 - 1), st.integers(-64, 63))
def test_bitfields_hold_any_value_beside_each_other(lead, wide, tail):
    # As a number of 72 bits: gcc and clang fill little-endian bitfields from the lowest bit.
    word = lead | wide << 5 | (tail & 127) << 65
    assert PACKED.encode((lead, wide, tail), "v") == word.to_bytes(9, "little")
    assert PACKED.decode(word.to_bytes(9, "little")) == (lead, wide, tail)


@settings(max_examples=50)
@given(st.data())
def test_any_bytes_that_are_read_are_written_back(data):
    made = codec("records.bpfel", "event")
    raw = bytearray(data.draw(st.binary(min_size=made.size, max_size=made.size)))
    for column in made.record.columns:  # text must be text, and bool 0 or 1; NaN is not equal to itself
        part = slice(column.offset, column.offset + column.size)
        if column.kind in ("text", "bool") or column.rule.dtype.kind in "bf":
            raw[part] = bytes(b % 2 for b in raw[part])
    value = made.decode(bytes(raw))
    again = made.encode(value, "event")
    assert repr(made.decode(again)) == repr(value)


# --- Records and names -----------------------------------------------------------------------------------


def test_a_record_reads_by_name_and_place_and_equals_dicts_and_tuples():
    value = CLOSE.decode(struct.pack("<IiQ", 1, -2, 3))
    assert (value.ret, value["ret"], value[1], value[-1]) == (-2, -2, -2, 3)
    assert value == (1, -2, 3) == value == {"kind": 1, "ret": -2, "ts": 3}
    assert value != (1, -2, 4)
    assert value != {"kind": 1}
    assert dict(value) == {**value} == {"kind": 1, "ret": -2, "ts": 3}
    assert {value: "as a key"}[(1, -2, 3)] == "as a key"
    assert repr(value) == "close_event(kind=1, ret=-2, ts=3)"
    with pytest.raises(KeyError, match="close_event has no field 'rte': it has kind, ret, ts"):
        value["rte"]
    with pytest.raises(AttributeError):
        value.ret = 4
    assert CLOSE.encode({**value, "ret": 4}, "v") == struct.pack("<IiQ", 1, 4, 3)


def test_fields_with_the_names_of_methods_are_fields():
    from ebpflab.maps.record import record_class

    value = record_class("odd", ("count", "index", "keys"))((7, 8, 9))
    assert (value.count, value.index, value["keys"]) == (7, 8, 9)
    assert dict(value) == {"count": 7, "index": 8, "keys": 9}
    assert isinstance(value, Record)


def test_an_enumerator_is_its_number_and_shows_its_name():
    mode = codec("globals", "mode", Kind.ENUM)
    value = mode.decode(struct.pack("<I", 9))
    assert value == 9
    assert (repr(value), value.name, value + 1, json.dumps(value)) == ("ALL (9)", "ALL", 10, "9")
    assert isinstance(value, Named)
    assert mode.encode("ON", "v") == mode.encode(3, "v") == mode.encode(np.int8(3), "v") == struct.pack("<I", 3)
    assert type(mode.decode(struct.pack("<I", 4))) is int


# --- What does not fit -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        ({"kind": 2**32}, "m key.kind: 4294967296 does not fit into u32", "give a number from 0 to 4,294,967,295"),
        ({"ret": -(2**31) - 1}, "m key.ret: -2147483649 does not fit into s32", "from -2,147,483,648 to 2,147,483,647"),
        ({"kind": 1.0}, "m key.kind: 1.0 is no integer, as u32 wants", "int()"),
        ({"kind": "1"}, "m key.kind: '1' is no integer", "give a number"),
        ({"kind": None}, "m key.kind: None is no integer", "give a number"),
        ({"knid": 1}, "m key: 'knid' is no field of struct close_event", "did you mean kind?"),
        ((1, 2), "m key: (1, 2) is not struct close_event", "give kind, ret, ts as a dict or a tuple"),
        (7, "m key: 7 is not struct close_event", "what a dict leaves out is 0"),
        (b"123", "m key: b'123' is not struct close_event", "a dict or a tuple"),
        ("abc", "m key: 'abc' is not struct close_event", "a dict or a tuple"),
    ],
)
def test_what_does_not_fit_names_the_field_and_what_would(value, message, hint):
    with pytest.raises(MapError) as caught:
        CLOSE.encode(value, "m key")
    assert caught.value.what.startswith(message)
    assert hint in caught.value.hint


def test_text_that_is_too_long_or_no_text_is_refused():
    assert EXEC.encode((1, "x" * 16), "v")[4:] == b"x" * 16  # the kernel compares bytes: a full array is a good key
    for value in ("x" * 17, "é" * 9, 7, None, ["x"]):
        with pytest.raises(MapError, match=r"v.comm"):
            EXEC.encode((1, value), "v")


def test_members_of_a_union_may_not_contradict_each_other():
    made = codec("records.bpfel", "address", Kind.UNION)
    assert made.encode({"v4": 1}, "v") == struct.pack("<I12x", 1)
    assert made.encode({"v6": bytes(range(16))}, "v") == bytes(range(16))
    whole = made.decode(bytes(range(16)))
    assert made.encode(whole, "v") == bytes(range(16))
    with pytest.raises(MapError, match="contradict each other"):
        made.encode({**whole, "v4": 5}, "v")


def test_maps_without_types_take_bytes_of_their_size():
    six = sized(6)
    assert six.decode(six.encode(b"abcdef", "key")) == b"abcdef"
    assert six.encode([1, 2, 3, 4, 5, 255], "key") == b"\1\2\3\4\5\xff"
    for value in (b"abc", "abcdef", 7, [1, 2, 3, 4, 5, 256], None):
        with pytest.raises(MapError, match="is not 6 bytes"):
            six.encode(value, "key")
    assert integer(4).encode(7, "key") == struct.pack("=I", 7)


def test_padding_is_counted():
    keys = map_definitions(Btf.parse((DATA / "maps.BTF").read_bytes()))
    assert keys["counts"].key_type_id is not None
    assert CLOSE.padding == 0
    assert codec("globals", "open_event").padding == 0
    assert codec("maps", "event").padding == 4


# --- Addresses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "text", "raw"),
    [
        (4, "10.0.0.1", bytes([10, 0, 0, 1])),
        (16, "fe80::1", b"\xfe\x80" + bytes(13) + b"\1"),
        (16, "::ffff:10.0.0.1", bytes(10) + b"\xff\xff" + bytes([10, 0, 0, 1])),
        (6, "02:00:5e:10:00:01", bytes([2, 0, 0x5E, 0x10, 0, 1])),
    ],
)
def test_addresses_are_text_in_network_order(size, text, raw):
    node = AddressNode("address", size)
    into = bytearray(size)
    node.write(into, 0, text, "v")
    assert bytes(into) == raw
    assert node.read(raw, 0) == text
    node.write(into, 0, raw, "v")
    assert bytes(into) == raw
    for wrong in ("10.0.0.256", "lo", 7, b"12345", None):
        with pytest.raises(MapError, match="is no address"):
            node.write(into, 0, wrong, "v")


@pytest.mark.parametrize(
    ("size", "text", "length", "data"),
    [
        (8, "10.0.0.0/8", 8, bytes([10, 0, 0, 0])),
        (8, "0.0.0.0/0", 0, bytes(4)),
        (20, "2001:db8::/32", 32, bytes([0x20, 1, 0x0D, 0xB8]) + bytes(12)),
    ],
)
def test_prefixes_are_text_or_length_and_bytes(size, text, length, data):
    node, raw = PrefixNode("prefix", size), struct.pack("=I", length) + data
    for value in (text, (length, data), (length, text.partition("/")[0])):
        into = bytearray(size)
        node.write(into, 0, value, "key")
        assert bytes(into) == raw
    assert node.read(raw, 0) == text
    host = bytearray(size)
    node.write(host, 0, text.partition("/")[0], "key")  # an address alone is its longest prefix
    assert int.from_bytes(host[:4], "little") == 8 * (size - 4)
    for wrong in ("10.0.0.0/129", "10.0.0.0/x", "x/8", (1, b"1"), (999, data), 7):
        with pytest.raises(MapError, match="is no prefix"):
            node.write(bytearray(size), 0, wrong, "key")


def test_a_row_of_a_frame_is_written_as_the_struct_it_was():
    raw = struct.pack("<IiQ", 1, -2, 3)
    frame = pd.DataFrame([dict(CLOSE.decode(raw))])
    (row,) = frame.itertuples(index=False)
    assert CLOSE.encode(row, "v") == CLOSE.encode(np.frombuffer(raw, CLOSE.record.dtype)[0], "v") == raw


def test_a_float_keeps_its_value_and_a_number_that_is_too_large_is_refused():
    double = codec("globals", "double", Kind.FLOAT)
    assert double.decode(double.encode(0.1, "v")) == 0.1
    assert math.isinf(double.decode(double.encode(math.inf, "v")))
    single = codec("globals", "float", Kind.FLOAT)
    with pytest.raises(MapError, match="does not fit into float"):
        single.encode(1e300, "v")


@pytest.mark.parametrize(
    ("size", "text", "length"),
    [
        (8, "10.0.0.0/8", 8),
        (20, "10.0.0.0/8", 104),
        (20, "10.0.0.1", 128),
        (20, "2001:db8::/32", 32),
        (8, "10.0.0.1", 32),
    ],
)
def test_a_prefix_has_its_length_in_the_family_of_the_trie(size, text, length):
    node, raw = PrefixNode("struct key", size), bytearray(size)
    node.write(raw, 0, text, "key")
    assert int.from_bytes(raw[:4], sys.byteorder) == length
    address = ipaddress.ip_address(text.partition("/")[0])
    mapped = address if address.version == 6 or size == 8 else ipaddress.ip_address(f"::ffff:{address}")
    assert bytes(raw[4:]) == mapped.packed
    assert node.read(raw, 0) == (text if "/" in text else f"{text}/32")


def test_a_prefix_of_ipv4_cannot_be_longer_than_its_address():
    with pytest.raises(MapError):
        PrefixNode("struct key", 20).write(bytearray(20), 0, "10.0.0.0/33", "key")
