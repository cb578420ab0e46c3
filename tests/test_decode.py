"""Records that clang and ctypes have written, decoded: places from clang's offsetof, values from the C source."""

import ctypes
import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflab import decode, rules
from ebpflab.btf import Btf, Kind
from ebpflab.decode import RecordType, to_frame
from ebpflab.errors import DecodeError

DATA = Path(__file__).parent / "data" / "btf"
needs_clang = pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")


class Compiled(NamedTuple):
    """What a compiler made of records.c: BTF, the bytes of two records, and where members are."""

    btf: Btf
    samples: np.ndarray
    places: dict

    @property
    def event(self):
        return RecordType.from_btf(self.btf, self.btf.find("event", Kind.STRUCT).id)


def compiled(target, read):
    order = "<" if target == "bpfel" else ">"
    rows = struct.iter_unpack(f"{order}24sII", read("places"))
    places = {path.rstrip(b"\0").decode(): (offset, size) for path, offset, size in rows}
    _, size = places.pop("")
    samples = np.frombuffer(read("samples"), np.uint8).reshape(-1, size)
    return Compiled(Btf.parse(read("BTF")), samples, places)


@pytest.fixture(
    scope="module",
    params=[
        "committed bpfel",
        "committed bpfeb",
        pytest.param("clang bpfel", marks=needs_clang),
        pytest.param("clang bpfeb", marks=needs_clang),
    ],
)
def records(request, tmp_path_factory):
    how, target = request.param.split()
    if how == "committed":
        return compiled(target, lambda section: (DATA / f"records.{target}.{section}").read_bytes())
    output = tmp_path_factory.mktemp("records") / "records.o"
    command = ["clang", "-target", target, "-g", "-O2", "-c", DATA / "records.c", "-o", output]
    subprocess.run(command, check=True, timeout=60)
    with output.open("rb") as file:
        elf = ELFFile(file)
        return compiled(target, lambda section: elf.get_section_by_name(f".{section}").data())


@pytest.fixture(scope="module")
def little():
    return compiled("bpfel", lambda section: (DATA / f"records.bpfel.{section}").read_bytes())


def made(*types, strings=b"\0char\0u8\0x\0"):
    # BTF by hand: type 1 is char, type 2 is u8.
    body = struct.pack("<IIIIIIII", 1, 1 << 24, 1, 1 << 24 | 8, 6, 1 << 24, 1, 8) + b"".join(types)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(strings))
    return Btf.parse(header + body + strings)


def array_of(element, *lengths):
    # An array as type 3 (its elements are arrays of the next length, and so on).
    tables = []
    for i, length in enumerate(lengths):
        target = element if i + 1 == len(lengths) else 4 + i
        tables.append(struct.pack("<IIIIII", 0, 3 << 24, 0, target, 2, length))
    return RecordType.from_btf(made(*tables), 3)


def rows_of(*items, width):
    return np.frombuffer(b"".join(i.ljust(width, b"\0") for i in items), np.uint8).reshape(-1, width)


# --- Places --------------------------------------------------------------------------------------------


def test_every_column_is_where_clang_put_it(records):
    bits = {c.name for c in records.event.columns if ":" in c.c_type}
    halves = {"huge.lo", "huge.hi", "vast.lo", "vast.hi"}
    found = {c.name: (c.offset, c.size) for c in records.event.columns if c.name not in bits | halves}
    assert found == records.places
    assert bits == {
        *("three", "twenty", "minus", "state_bits", "yes_bit", "across", "full"),
        *("packed.lead", "packed.wide", "packed.tail"),
    }


def follow(found, path):
    # The value at a path such as "shape.at[1].x" of an array of records.
    for step in path.replace("[", ".[").split("."):
        found = found[:, int(step[1:-1])] if step.startswith("[") else found[step]
    return found


def test_the_dtype_has_every_member_where_clang_put_it(records):
    table = np.zeros(1, records.event.dtype)
    assert table.itemsize == records.event.size == records.samples.shape[1]
    found = {path: follow(table, path) for path in records.places}
    start = table.ctypes.data
    assert {path: (f.ctypes.data - start, f.nbytes) for path, f in found.items()} == records.places


def test_the_name_of_a_record_type_is_what_c_calls_it(little):
    assert little.event.name == "struct event"
    members = {m.name: m.type_id for m in little.btf.find("event", Kind.STRUCT).members}
    assert RecordType.from_btf(little.btf, members["never"]).name == "ktime_t"


# --- Values --------------------------------------------------------------------------------------------

OFFSET = 1_700_000_000_000_000_000
FIRST = {  # what records.c puts into its first record
    "when": np.datetime64(OFFSET + 1000000007, "ns"),
    "took": np.timedelta64(5000000011, "ns"),
    "slipped": -6000000029,
    "a": -1,
    "b": 255,
    "c": -300,
    "d": 65000,
    "e": -70000,
    "f": 4000000000,
    "g": 0xFEDCBA9876543210,
    "yes": True,
    "flags[0]": False,
    "flags[1]": True,
    "flags[2]": False,
    "half": 1.5,
    "third": -0.1,
    "letter": ord("x"),
    "comm": b"sixteen letters!",
    "path": "/etc/été".encode(),
    "argv[0]": b"ls",
    "argv[1]": b"-l",
    "state": 5,
    "states[0]": 200,
    "states[1]": 77,
    "tiny": 1,
    "ports[0]": 80,
    "ports[1]": 443,
    "ports[2]": 65535,
    "grid[0][0]": -1,
    "grid[0][1]": 2,
    "grid[1][0]": 3,
    "grid[1][1]": -4,
    "shape.at[0].x": 1,
    "shape.at[0].y": -2,
    "shape.at[1].x": 3,
    "shape.at[1].y": -4,
    "shape.name": b"square",
    "pointer": 0xFFFF888012345678,
    "whole": 0x00020001,
    "three": 5,
    "twenty": 0xABCDE,
    "minus": -9,
    "state_bits": 200,
    "yes_bit": True,
    "across": 0xFEDCBA9876,
    "full": 0x8000000000000001,
    "packed.lead": 21,
    "packed.wide": 0xABCDEF012345678,
    "packed.tail": -33,
    "huge.lo": (1 << 64) - 5,
    "huge.hi": -1,
    "vast.lo": 9,
    "vast.hi": 7,
}
ARRAYS = {
    "mac": [2, 0, 0, 0xAB, 0xCD, 0xEF],
    "macs[0]": [1, 2, 3],
    "macs[1]": [4, 5, 6],
    "addr.v6": [127, 0, 0, 1, 5, *[0] * 11],
    "many": [10, -11, *[0] * 17, 19],
    "matrix": [[1, *[0] * 6], [0, 2, *[0] * 5], [*[0] * 6, 3000000000]],
    "bits": [True, *[False] * 15, True],
}
ELSEWHERE = {"never", "level", "crowd", "addr.v4", "low", "high"}  # tested on their own


def test_a_record_filled_by_clang_decodes_to_the_values_of_its_source(records):
    values = records.event.decode(records.samples, OFFSET)
    assert set(FIRST) | set(ARRAYS) | ELSEWHERE == set(values)
    assert {name: values[name][0] for name in FIRST} == FIRST
    assert {name: values[name][0].tolist() for name in ARRAYS} == ARRAYS
    assert np.isnat(values["never"][0])
    big = records.btf.byteorder == "big"
    assert values["addr.v4"][0] == (0x7F000001 if big else 0x0100007F)
    assert (values["low"][0], values["high"][0]) == ((2, 1) if big else (1, 2))
    assert values["crowd"][0].tobytes()[64:] == struct.pack(">hh" if big else "<hh", 3, -3)


def test_the_second_record_decodes_too(records):
    values = records.event.decode(records.samples, 0)
    expected = {"when": np.datetime64(1, "ns"), "comm": b"bash", "path": b"bad \xff utf8", "tiny": 0, "minus": 15}
    expected |= {"packed.wide": 1, "packed.tail": 31, "huge.lo": 0, "huge.hi": 1, "took": np.timedelta64(0, "ns")}
    assert {name: values[name][1] for name in expected} == expected


def test_decoded_columns_have_the_width_and_sign_of_c_in_native_order(records):
    dtypes = {name: v.dtype.str for name, v in records.event.decode(records.samples).items()}
    native = np.dtype(np.int16).str[0]
    numbers = {"a": "i1", "b": "u1", "c": "i2", "d": "u2", "e": "i4", "f": "u4", "slipped": "i8", "g": "u8"}
    numbers |= {"half": "f4", "third": "f8", "pointer": "u8", "twenty": "u4", "minus": "i4", "across": "u8"}
    for name, code in numbers.items():
        assert dtypes[name] == (code if code[1] == "1" else native + code).replace("i1", "|i1").replace("u1", "|u1")
    assert (dtypes["yes"], dtypes["yes_bit"], dtypes["comm"]) == ("|b1", "|b1", "|S16")


def test_decoded_columns_are_copies(little):
    raw = little.samples.copy()
    values = little.event.decode(raw)
    before = {name: v.copy() for name, v in values.items()}
    raw[:] = 0xAA
    for name, value in values.items():
        assert not np.may_share_memory(value, raw), name
        np.testing.assert_array_equal(value, before[name])


# --- Frames --------------------------------------------------------------------------------------------


def test_a_frame_shows_names_text_and_time(records):
    frame = to_frame(records.event, [(records.samples, OFFSET)])
    first, second = frame.iloc[0], frame.iloc[1]
    assert first["when"] == pd.Timestamp(OFFSET + 1000000007, tz="UTC")
    assert first["never"] is pd.NaT
    assert first["took"] == pd.Timedelta(5000000011, "ns")
    assert (first["comm"], first["path"], first["argv[1]"]) == ("sixteen letters!", "/etc/été", "-l")
    assert (second["comm"], second["path"]) == ("bash", "bad \ufffd utf8")
    assert (first["state"], first["states[1]"], first["state_bits"]) == ("BUSY", "77", "DONE")
    assert (first["level"], second["level"], first["tiny"], second["tiny"]) == ("LOW", "HIGH", "ON", "OFF")
    assert (first["mac"], first["addr.v6"]) == (b"\2\0\0\xab\xcd\xef", bytes([127, 0, 0, 1, 5, *[0] * 11]))
    assert frame["many"].tolist()[0] == ARRAYS["many"]
    assert [list(row) for row in frame["matrix"].tolist()[0]] == ARRAYS["matrix"]
    assert frame["bits"].tolist()[0] == ARRAYS["bits"]


def test_a_frame_has_the_promised_dtypes(records):
    dtypes = to_frame(records.event, [(records.samples, 0)]).dtypes
    assert str(dtypes["when"]) == "datetime64[ns, UTC]"
    assert str(dtypes["took"]) == "timedelta64[ns]"
    assert dtypes["mac"] == pd.ArrowDtype(pa.large_binary())
    assert dtypes["crowd"] == pd.ArrowDtype(pa.large_binary())
    assert dtypes["many"] == pd.ArrowDtype(pa.list_(pa.int16(), 20))
    assert dtypes["matrix"] == pd.ArrowDtype(pa.list_(pa.list_(pa.uint32(), 7), 3))
    assert dtypes["bits"] == pd.ArrowDtype(pa.list_(pa.bool_(), 17))
    assert list(dtypes["comm"].categories) == ["bash", "sixteen letters!"]
    assert list(dtypes["state"].categories) == ["IDLE", "BUSY", "DONE"]
    assert list(dtypes["states[1]"].categories) == ["IDLE", "BUSY", "DONE", "77"]


def test_a_frame_of_no_chunks_has_all_columns_and_their_types(little):
    empty, full = to_frame(little.event, []), to_frame(little.event, [(little.samples, 0)])
    assert len(empty) == 0
    assert list(empty.columns) == [c.name for c in little.event.columns] == list(full.columns)
    categorical = full.dtypes == "category"
    assert (empty.dtypes[~categorical] == full.dtypes[~categorical]).all()
    assert (empty.dtypes[categorical] == "category").all()


def test_chunks_follow_each_other_each_with_its_own_clock(little, monkeypatch):
    monkeypatch.setattr(decode, "_BLOCK", 5 * little.event.size)  # several blocks, the last one short
    raw = np.repeat(little.samples[:1], 13, axis=0)
    a, b = little.event.columns[4], little.event.columns[5]
    assert (a.name, b.name) == ("a", "b")
    raw[:, b.offset] = np.arange(13)
    frame = to_frame(little.event, [(raw[:6], 100), (raw[6:6], 9), (raw[6:], np.arange(7) * 1000)])
    assert frame["b"].tolist() == list(range(13))
    start = pd.Timestamp(1000000007, tz="UTC")
    offsets = [100] * 6 + [i * 1000 for i in range(7)]
    assert frame["when"].tolist() == [start + pd.Timedelta(o, "ns") for o in offsets]


def test_rows_may_lie_apart_in_memory(little):
    wide = np.full((2, little.event.size + 11), 0xAA, np.uint8)
    wide[:, : little.event.size] = little.samples
    apart, together = (little.event.decode(r) for r in (wide[:, : little.event.size], little.samples))
    for name, value in together.items():
        np.testing.assert_array_equal(apart[name], value)


@pytest.mark.parametrize("raw", [np.zeros((2, 495), np.uint8), np.zeros(496, np.uint8), np.zeros((2, 496), np.int8)])
def test_bytes_of_another_shape_are_refused(little, raw):
    with pytest.raises(DecodeError, match="no records of struct event, which has 496 bytes"):
        little.event.decode(raw)


# --- Text, enums, time ---------------------------------------------------------------------------------


@given(st.integers(1, 40).flatmap(lambda w: st.lists(st.binary(min_size=w, max_size=w), max_size=20)))
def test_text_ends_at_its_first_nul_whatever_follows(items):
    width = len(items[0]) if items else 16
    record = array_of(1, width)
    raw = rows_of(*items, width=width)
    expected = [i.split(b"\0")[0] for i in items]
    assert record.decode(raw)["value"].tolist() == expected
    shown = to_frame(record, [(raw, 0)])["value"]
    assert shown.tolist() == [e.decode("utf-8", "replace") for e in expected]
    assert list(shown.cat.categories) == sorted({e.decode("utf-8", "replace") for e in expected})


def test_two_spellings_that_are_shown_alike_are_one_category():
    shown = to_frame(array_of(1, 4), [(rows_of(b"a\xff", b"a\xfe", b"b", width=4), 0)])["value"]
    assert shown.tolist() == ["a\ufffd", "a\ufffd", "b"]
    assert list(shown.cat.categories) == ["a\ufffd", "b"]


def test_many_different_strings_stay_different():
    names = [b"/proc/%d/status" % i for i in range(20011)]
    shown = to_frame(array_of(1, 24), [(rows_of(*names, width=24), 0)])["value"]
    assert shown.tolist() == [n.decode() for n in names]


def test_arrays_of_text_have_a_column_per_element_however_many():
    record = array_of(1, 20, 3)
    raw = rows_of(b"".join(b"a%02d" % i for i in range(20)), width=60)
    assert [c.name for c in record.columns] == [f"value[{i}]" for i in range(20)]
    assert to_frame(record, [(raw, 0)]).iloc[0].tolist() == [f"a{i:02}" for i in range(20)]


def test_signed_and_64_bit_enums_have_their_names():
    btf = Btf.parse((DATA / "kinds.BTF").read_bytes())
    walk = RecordType.from_btf(btf, btf.find("walk", Kind.STRUCT).id)
    rows = [
        struct.pack("<Qqii", 0xFFFFF << 32, -(1 << 40), -5, 0b1011),
        struct.pack("<Qqii", (1 << 64) - 1, -7, -6, 0b1010),
    ]
    frame = to_frame(walk, [(rows_of(*rows, width=24), 0)])
    assert frame["flags"].tolist() == ["F_HIGH", str((1 << 64) - 1)]
    assert frame["depth"].tolist() == ["D_DOWN", "-7"]
    assert frame["errors"].tolist() == ["E_LOST", "-6"]
    assert frame["minus"].tolist() == ["E_LOST", "-6"]


def test_a_negative_enumerator_of_an_old_compiler_has_its_name():
    # clang 14 writes the -1 of a packed enum as 4294967295, though a value has one byte, or three bits.
    small = struct.pack("<IIIIi", 9, 6 << 24 | 1, 1, 9, -1)
    holder = struct.pack("<IIIIIIIII", 0, 1 << 31 | 4 << 24 | 2, 2, 6, 3, 0, 1, 3, 3 << 24 | 9)
    record = RecordType.from_btf(made(small, holder), 4)
    frame = to_frame(record, [(rows_of(bytes([0xFF, 0b1110]), bytes([7, 0b0110]), width=2), 0)])
    assert frame["u8"].tolist() == ["x", "7"]
    assert frame["char"].tolist() == ["x", "3"]


def test_a_duration_that_went_below_zero_is_negative(little):
    took = next(m.type_id for m in little.btf.find("event", Kind.STRUCT).members if m.name == "took")
    record = RecordType.from_btf(little.btf, took)
    raw = rows_of(struct.pack("<Q", 2**64 - 7), struct.pack("<Q", 7), width=8)
    assert to_frame(record, [(raw, 0)])["value"].tolist() == [pd.Timedelta(-7, "ns"), pd.Timedelta(7, "ns")]


def test_a_meaning_that_does_not_fit_leaves_the_plain_value():
    ktime = struct.pack("<III", 6, 8 << 24, 2)  # typedef u8 ktime_t
    record = RecordType.from_btf(made(ktime, strings=b"\0char\0ktime_t\0"), 3)
    assert record.decode(rows_of(b"\7", width=1))["value"].tolist() == [7]


def test_a_meaning_can_be_added(monkeypatch):
    def reversed_bytes(rule):
        assert rule.shape == (6,)
        return rules.Rule("mac", rule.dtype, lambda cells, _: cells[:, ::-1], rule.present, rule.shape)

    monkeypatch.setitem(rules.MEANINGS, "x", reversed_bytes)
    array = struct.pack("<IIIIII", 0, 3 << 24, 0, 2, 2, 6)
    typedef = struct.pack("<III", 9, 8 << 24, 3)
    record = RecordType.from_btf(made(array, typedef), 4)
    assert to_frame(record, [(rows_of(b"\1\2\3\4\5\6", width=6), 0)])["value"].tolist() == [b"\6\5\4\3\2\1"]


# --- ctypes as another writer ---------------------------------------------------------------------------


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int16), ("y", ctypes.c_int16)]


class Shape(ctypes.Structure):
    _fields_ = [("at", Point * 2), ("name", ctypes.c_char * 6)]


class Address(ctypes.Union):
    _fields_ = [("v4", ctypes.c_uint32), ("v6", ctypes.c_uint8 * 16)]


u8, u16, u32, u64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64
s8, s16, s32, s64 = ctypes.c_int8, ctypes.c_int16, ctypes.c_int32, ctypes.c_int64
flag, char = ctypes.c_bool, ctypes.c_char


class Event(ctypes.Structure):
    """The members of struct event in records.c before its first bitfield."""

    _fields_ = [
        *[("when", s64), ("never", s64), ("took", u64), ("slipped", s64), ("a", s8), ("b", u8), ("c", s16)],
        *[("d", u16), ("e", s32), ("f", u32), ("g", u64), ("yes", flag), ("flags", flag * 3)],
        *[("half", ctypes.c_float), ("third", ctypes.c_double), ("letter", s8), ("comm", char * 16)],
        *[("path", char * 21), ("argv", char * 5 * 2), ("state", u32), ("states", u32 * 2), ("level", u32)],
        *[("tiny", u8), ("mac", u8 * 6), ("macs", u8 * 3 * 2), ("ports", u16 * 3), ("grid", s32 * 2 * 2)],
        *[("many", s16 * 20), ("matrix", u32 * 7 * 3), ("bits", flag * 17), ("crowd", Point * 17)],
        *[("shape", Shape), ("pointer", u64), ("addr", Address), ("whole", u32)],
    ]


def read_by_ctypes(record, path):
    found = record
    for step in path.replace("[", ".[").split("."):
        found = found[int(step[1:-1])] if step.startswith("[") else getattr(found, step)
    if isinstance(found, ctypes.Array):
        if found._type_ is char:
            return found.value
        return bytes(found) if found._type_ is Point else plain(found)
    return found


def plain(array):
    return [plain(item) if isinstance(item, ctypes.Array) else item for item in array]


def bitfields():
    # Name, bit offset, width and sign of each bitfield of the event, as bpftool reads them.
    types = {t["id"]: t for t in json.loads((DATA / "records.json").read_text())["types"]}

    def signed(t):
        return signed(types[t["type_id"]]) if t["kind"] == "TYPEDEF" else t["encoding"] == "SIGNED"

    def walk(t, prefix, start):
        for m in t["members"]:
            at = start + m["bits_offset"]
            if "bitfield_size" in m:
                yield prefix + m["name"], at, m["bitfield_size"], signed(types[m["type_id"]])
            elif m["name"] == "packed":
                yield from walk(types[m["type_id"]], "packed.", at)

    event = next(t for t in types.values() if t["name"] == "event")
    return list(walk(event, "", 0))


@settings(deadline=None)
@given(st.lists(st.binary(min_size=496, max_size=496), min_size=1, max_size=3))
def test_any_bytes_decode_to_what_ctypes_reads_in_them(little, rows):
    raw = rows_of(*rows, width=496)
    values = little.event.decode(raw)
    times = {"when": "M8[ns]", "never": "M8[ns]", "took": "m8[ns]"}
    for i, row in enumerate(rows):
        record = Event.from_buffer_copy(row)
        for path in set(little.places) - {"low", "high"}:
            expected = read_by_ctypes(record, path)
            if path in times:
                ticks = expected if path == "took" or expected else -(2**63)
                expected = np.array(ticks % 2**64, np.uint64).view(times[path])
            found = values[path][i].tobytes() if path == "crowd" else values[path][i]
            np.testing.assert_array_equal(found, expected, err_msg=path)


@settings(deadline=None)
@given(st.lists(st.binary(min_size=496, max_size=496), min_size=1, max_size=5))
def test_any_bytes_decode_to_the_bitfields_that_arithmetic_finds(little, rows):
    values = little.event.decode(rows_of(*rows, width=496))
    names = [name for name, *_ in bitfields()]
    assert len(names) == 10
    for name, at, bits, signed in bitfields():
        expected = [(int.from_bytes(row, "little") >> at) % 2**bits for row in rows]
        if signed:
            expected = [v - 2**bits if v >= 2 ** (bits - 1) else v for v in expected]
        assert values[name].tolist() == expected, name


# --- Damage --------------------------------------------------------------------------------------------


def struct_of(size, *members):
    body = b"".join(struct.pack("<III", *member) for member in members)
    return struct.pack("<III", 9, 4 << 24 | len(members), size) + body


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ([struct_of(1, (9, 2, 8))], "misplaced"),
        ([struct_of(2, (9, 2, 4))], "misplaced"),
        ([struct_of(2, (9, 2, 0), (9, 2, 8))], "one name"),
        ([struct_of(8, (9, 3, 0))], "contains itself"),
        ([struct_of(8, (9, 0, 0))], "void .* has no size"),
        ([struct_of(0)], "of 0 bytes cannot be a record"),
        ([struct.pack("<IIIIII", 0, 3 << 24, 0, 2, 2, 0xFFFFFFFF)], "4294967295 bytes cannot be a record"),
        ([struct.pack("<IIII", 9, 1 << 24, 3, 24)], "x of 3 bytes cannot be in a record"),
        (
            [struct.pack("<IIIIII", 0, 3 << 24, 0, 4, 2, 5000), struct.pack("<IIIIII", 0, 3 << 24, 0, 1, 2, 2)],
            "more than 4096",
        ),
        ([struct.pack("<IIIIII", 9, 1 << 31 | 4 << 24 | 1, 8, 9, 2, 9 << 24)], "bitfield of 9 bits"),
    ],
)
def test_types_that_contradict_themselves_are_refused(types, message):
    with pytest.raises(DecodeError, match=message):
        RecordType.from_btf(made(*types), 3)


def test_structs_that_fan_out_without_end_take_no_time():
    # Each struct holds the next one twice, 60 deep; the last one is empty.
    deep = [struct_of(8, (9, i + 4, 0), (9, i + 4, 0)) for i in range(60)]
    with pytest.raises(DecodeError):
        RecordType.from_btf(made(*deep, struct_of(8, (9, 2, 0))), 3)


@st.composite
def damaged(draw):
    data = bytearray(
        (DATA / draw(st.sampled_from(["records.bpfel.BTF", "records.bpfeb.BTF", "kinds.BTF"]))).read_bytes()
    )
    strings = len(data) - 700  # types come first, and a changed name matters little
    for _ in range(draw(st.integers(1, 6))):
        data[draw(st.integers(24, max(24, strings)))] = draw(st.integers(0, 255))
    return bytes(data)


@settings(deadline=None)
@given(damaged())
def test_damaged_btf_decodes_or_raises_decode_error(data):
    try:
        btf = Btf.parse(data)
    except DecodeError:
        return
    for type_id in range(1, len(btf) + 1):
        try:
            record = RecordType.from_btf(btf, type_id)
        except DecodeError:
            continue
        if record.size < 10_000:
            frame = to_frame(record, [(np.full((2, record.size), 0x81, np.uint8), 0)])
            assert frame.shape == (2, len(record.columns))
