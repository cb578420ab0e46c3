"""What typedefs mean: expected values are those of other modules, of the system's headers and of libseccomp."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import ipaddress
import platform
import re
import signal
import socket
import struct
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_btf import Types, meant

from ebpflab import decode, tables
from ebpflab.btf import Btf, Kind
from ebpflab.decode import RecordType, to_arrow, to_frame

DATA = Path(__file__).parent / "data" / "btf"
UNISTD = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
linux = pytest.mark.skipif(sys.platform != "linux", reason="the numbers of Linux")


def cells(*values):
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)


def packed(code, *numbers):
    return cells(*(struct.pack(code, number) for number in numbers))


def shown(record, raw, lookup=None):
    column = to_frame(record, [(raw, 0)], lookup)["value"]
    table = to_arrow(record, [(raw, 0)], lookup)
    assert table["value"].to_pylist() == column.tolist()
    return column


# --- Addresses -----------------------------------------------------------------------------------------


@given(st.lists(st.ip_addresses(v=4), max_size=30))
def test_an_ipv4_address_is_shown_as_dotted_text(addresses):
    record = meant("ipv4_t", "__be32")
    raw = cells(*(a.packed for a in addresses)) if addresses else np.zeros((0, 4), np.uint8)
    assert shown(record, raw).tolist() == [str(a) for a in addresses]
    assert [ipaddress.ip_address(n) for n in record.decode(raw)["value"].tolist()] == addresses


@given(st.lists(st.ip_addresses(v=6) | st.ip_addresses(v=4), min_size=1, max_size=30))
def test_an_ipv6_address_is_shown_by_rfc_5952_and_means_the_same(addresses):
    whole = [a if a.version == 6 else ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + a.packed) for a in addresses]
    texts = shown(meant("ipv6_t", base="u8[16]"), cells(*(a.packed for a in whole))).tolist()
    assert [ipaddress.ip_address(t) for t in texts] == whole
    for text, address in zip(texts, whole, strict=True):
        assert text == (f"::ffff:{address.ipv4_mapped}" if address.ipv4_mapped else str(address))


def test_an_address_of_either_family_is_shown_as_its_own_family_has_it():
    found = [ipaddress.ip_address(text) for text in ("::ffff:10.0.0.1", "2001:db8::1", "::ffff:0:0:1", "::")]
    texts = shown(meant("ip_t", base="u8[16]"), cells(*(a.packed for a in found))).tolist()
    assert texts == ["10.0.0.1", "2001:db8::1", "::ffff:0:0:1", "::"]


@pytest.mark.parametrize(
    ("address", "text"),
    [  # RFC 5952, sections 2 to 5
        ("2001:0db8:0000:0000:0001:0000:0000:0001", "2001:db8::1:0:0:1"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("2001:DB8::", "2001:db8::"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("0:0:0:0:0:ffff:192.0.2.1", "::ffff:192.0.2.1"),
    ],
)
def test_the_examples_of_rfc_5952(address, text):
    record = meant("ipv6_t", base="u8[16]")
    assert shown(record, cells(socket.inet_pton(socket.AF_INET6, address))).tolist() == [text]


def test_addresses_are_ordered_as_numbers_and_kept_to_the_last_zero_byte():
    texts = ["10.0.0.0", "9.255.0.1", "127.0.0.0", "9.255.0.1", "0.0.0.0"]
    column = shown(meant("ipv4_t", "__be32"), cells(*(socket.inet_aton(t) for t in texts)))
    assert column.tolist() == texts
    assert list(column.cat.categories) == ["0.0.0.0", "9.255.0.1", "10.0.0.0", "127.0.0.0"]
    hard = shown(meant("mac_t", base="u8[6]"), cells(b"\2\0^\x10\0\0", b"\0" * 6, b"\xff" * 6))
    assert hard.tolist() == ["02:00:5e:10:00:00", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"]


def test_the_kernels_own_address_structs_are_addresses():
    types = Types()
    four, six = types.integer("unsigned int", 4), types.integer("unsigned char", 1)
    v4 = types.struct("in_addr", 4, ("s_addr", four, 0))
    v6 = types.struct("in6_addr", 16, ("u6_addr8", types.array(six, 16), 0))
    record = types.record(types.struct("event", 20, ("source", v4, 0), ("target", v6, 4)))
    frame = to_frame(record, [(cells(b"\x7f\0\0\1" + b"\0" * 15 + b"\1"), 0)])
    assert frame.iloc[0].to_dict() == {"source": "127.0.0.1", "target": "::1"}


@given(st.lists(st.integers(0, 65535), min_size=1))
def test_a_port_is_shown_in_host_order(ports):
    raw = packed("=H", *(socket.htons(port) for port in ports))
    assert shown(meant("port_t", "__be16", base="u16"), raw).tolist() == ports
    assert shown(meant("port_t", "__be16", base="u16", order=">"), raw).tolist() == ports  # of a big-endian machine


def test_a_port_that_nobody_says_is_in_network_order_stays_as_it_is():
    assert shown(meant("port_t", "u16", base="u16"), packed("<H", 443)).tolist() == [443]


def test_an_address_of_another_size_stays_a_number():
    assert shown(meant("ipv4_t", base="u64"), packed("<Q", 7)).tolist() == [7]
    assert shown(meant("mac_t", base="u8[8]"), cells(b"12345678")).tolist() == [b"12345678"]
    assert shown(meant("errno_t", base="u8[5]"), cells(b"12345")).tolist() == [b"12345"]


# --- Names ---------------------------------------------------------------------------------------------


@linux
def test_error_numbers_have_the_names_of_the_system():
    numbers = sorted(errno.errorcode)
    for record, raw in (
        (meant("errno_t", base="s32"), packed("<i", *numbers)),
        (meant("errno_t", base="s64"), packed("<q", *(-n for n in numbers))),
        (meant("gadget_errno"), packed("<I", *(2**32 - n for n in numbers))),
    ):
        names = shown(record, raw).tolist()
        assert [getattr(errno, name) for name in names] == numbers
    # EHWPOISON came to Python in 3.14; those from 512 on are the kernel's own.
    assert set(tables.errors()) - set(numbers) <= {133, *range(512, 532)}


def test_no_error_is_ok_and_a_number_that_is_no_error_stays_one():
    assert shown(meant("errno_t", base="s32"), packed("<i", 0, -2, 4095, -100000)).tolist() == [
        "OK",
        "ENOENT",
        "4095",
        "-100000",
    ]


@linux
def test_signals_have_the_names_of_the_system():
    numbers = [*range(1, 32), signal.SIGRTMIN, signal.SIGRTMAX]
    names = shown(meant("signal_t", base="s32"), packed("<i", *numbers)).tolist()
    assert [signal.Signals[name] for name in names] == numbers
    assert shown(meant("gadget_signal"), packed("<I", 0, signal.SIGRTMIN + 3)).tolist() == ["0", "SIGRTMIN+3"]


@pytest.mark.skipif(not UNISTD.exists(), reason="linux-libc-dev is not installed")
def test_system_calls_have_the_names_of_the_systems_headers():
    found = {int(n): name for name, n in re.findall(r"#define __NR_(\w+) (\d+)$", UNISTD.read_text(), re.MULTILINE)}
    known = tables.system_calls("x86_64")
    assert {n: known.get(n) for n in found} == found


@pytest.mark.parametrize(("machine", "code"), [("x86_64", 0xC000003E), ("aarch64", 0xC00000B7)])
def test_system_calls_have_the_names_that_libseccomp_knows(machine, code):
    library = ctypes.util.find_library("seccomp")
    if library is None:
        pytest.skip("libseccomp is not installed")
    resolve = ctypes.CDLL(library).seccomp_syscall_resolve_num_arch
    resolve.restype = ctypes.c_char_p
    known = tables.system_calls(machine)
    theirs = {n: name.decode() for n in range(600) if (name := resolve(ctypes.c_uint32(code), n))}
    assert len(theirs) > 300
    assert {n: known.get(n) for n in theirs} == theirs
    assert all(number > 300 for number in set(known) - set(theirs))  # those are newer than the library


def test_system_calls_of_both_architectures_have_the_same_new_numbers():
    here, there = (tables.system_calls(machine) for machine in ("x86_64", "aarch64"))
    assert {n: name for n, name in here.items() if n >= 424} == {n: name for n, name in there.items() if n >= 424}
    assert len(set(here.values())) == len(here)
    assert tables.system_calls("sparc") == {}


class Machine:
    """A lookup that answers with what it was asked."""

    def __init__(self, machine="aarch64"):
        self.machine, self.asked = machine, []

    def stacks(self, space, ids, pids):
        self.asked.append((space, ids.tolist(), None if pids is None else pids.tolist()))
        return [f"{space};{n};{p}" for n, p in zip(ids, pids if pids is not None else ids, strict=True)]

    def addresses(self, space, values, pids):
        return [f"{space}+{v:#x}" for v in values.tolist()]

    def remember(self, space, ids, pids):
        self.asked.append((space, ids.tolist(), None if pids is None else pids.tolist()))


def test_system_calls_are_named_for_the_machine_that_the_record_came_from():
    record, raw = meant("syscall_t", base="s32"), packed("<i", 56, 1000, -1)
    assert shown(record, raw, Machine("aarch64")).tolist() == ["openat", "1000", "-1"]
    assert shown(record, raw, Machine("x86_64")).tolist() == ["clone", "1000", "-1"]
    if platform.machine() in ("x86_64", "aarch64"):
        assert shown(record, raw).tolist() == shown(record, raw, Machine(platform.machine())).tolist()


# --- Stacks and symbols --------------------------------------------------------------------------------


def stack_event():
    types = Types()
    u32, u64 = types.integer("unsigned int", 4), types.integer("unsigned long long", 8)
    kernel, user = (
        types.typedef("kernel_stack_t", types.integer("int", 4, signed=True)),
        types.typedef("user_stack_t", u32),
    )
    members = ("kernel", kernel, 0), ("user", user, 4), ("pid", u32, 8), ("tgid", u32, 12)
    return types.record(types.struct("event", 24, *members, ("where", types.typedef("ksym_t", u64), 16)))


def stack_rows(*rows):
    return cells(*(struct.pack("<iIIIQ", *row) for row in rows))


ROWS = stack_rows((7, 3, 11, 100, 0xFFFFFFFF81000000), (7, 3, 12, 200, 16), (-17, 2**32 - 14, 11, 100, 16))


def test_without_a_lookup_stacks_and_symbols_are_plain_numbers():
    frame = to_frame(stack_event(), [(ROWS, 0)])
    assert frame["kernel"].tolist() == [7, 7, -17]
    assert frame["user"].tolist() == [3, 3, 2**32 - 14]
    assert frame["where"].tolist() == [0xFFFFFFFF81000000, 16, 16]


def test_a_lookup_is_asked_once_for_each_stack_and_process():
    machine = Machine()
    raw = np.concatenate([ROWS] * 1009)
    frame = to_frame(stack_event(), [(raw, 0)], machine)
    assert machine.asked == [("kernel", [7, -17], None), ("user", [3, 3, -14], [100, 200, 100])]
    assert frame["user"].tolist()[:3] == ["user;3;100", "user;3;200", "user;-14;100"]
    assert frame["where"].tolist()[:3] == ["kernel+0xffffffff81000000", "kernel+0x10", "kernel+0x10"]
    assert list(frame["kernel"].cat.categories) == ["kernel;-17;-17", "kernel;7;7"]


def test_stacks_are_remembered_with_their_processes():
    machine = Machine()
    decode.remember(stack_event(), ROWS, machine)
    decode.remember(stack_event(), ROWS[:0], machine)
    decode.remember(meant("errno_t"), packed("<I", 1), machine)
    assert machine.asked == [("kernel", [7, -17], None), ("user", [3, 3, -14], [100, 200, 100])]


# --- Arrow and Parquet ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def event():
    btf = Btf.parse((DATA / "records.bpfel.BTF").read_bytes())
    return RecordType.from_btf(btf, btf.find("event", Kind.STRUCT).id)


@pytest.fixture(scope="module")
def samples(event):
    raw = np.frombuffer((DATA / "records.bpfel.samples").read_bytes(), np.uint8).reshape(-1, event.size)
    return [(np.repeat(raw, 503, axis=0), 1_700_000_000_000_000_000)]


def test_an_arrow_table_has_times_durations_and_dictionaries(event, samples):
    types = {field.name: field.type for field in to_arrow(event, samples).schema}
    assert types["when"] == pa.timestamp("ns", "UTC")
    assert types["took"] == pa.duration("ns")
    assert types["comm"] == types["state"] == pa.dictionary(pa.int32(), pa.large_string())
    assert types["mac"] == pa.binary(6)
    assert types["many"] == pa.list_(pa.int16(), 20)
    assert to_arrow(event, samples)["never"][0].as_py() is None


LISTS = ["many", "matrix", "bits"]  # pandas has no name for these types that it can read again


def test_an_arrow_table_and_a_parquet_file_are_read_by_pandas_as_the_same_frame(event, samples, tmp_path):
    frame, table = to_frame(event, samples), to_arrow(event, samples)
    pd.testing.assert_frame_equal(table.to_pandas().drop(columns=LISTS), frame.drop(columns=LISTS))
    pq.write_table(table, tmp_path / "events.parquet", row_group_size=311)
    again = pd.read_parquet(tmp_path / "events.parquet")
    pd.testing.assert_frame_equal(again.drop(columns=LISTS), frame.drop(columns=LISTS))
    for name in LISTS:
        assert [np.stack(row).tolist() if name == "matrix" else row.tolist() for row in again[name]] == [
            np.stack(row).tolist() if name == "matrix" else list(row) for row in frame[name]
        ]


def test_a_frame_that_pandas_writes_is_one_that_pandas_reads(event, samples, tmp_path):
    frame = to_frame(event, samples).drop(columns=LISTS)
    frame.to_parquet(tmp_path / "events.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "events.parquet"), frame)


def test_a_table_of_no_records_has_the_types_of_one_of_many(event, samples):
    assert to_arrow(event, []).schema == to_arrow(event, samples).schema
