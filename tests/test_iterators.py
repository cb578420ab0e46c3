"""What an iterator wrote, as a frame. The BTF is clang's for ``data/btf/globals.c``; pandas checks tables."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflab import iterators, toolchain
from ebpflab.btf import Btf
from ebpflab.errors import CellError, DecodeError

PRINTF, WRITE = 126, 127
DATA = Path(__file__).parent / "data" / "btf"


@pytest.fixture(scope="module")
def btf():
    return Btf.parse((DATA / "globals.BTF").read_bytes())


def table(text, names=None):
    return iterators.frame("lister", text.encode(), None, names)


def test_the_numbers_of_the_helpers_are_those_of_libbpf_s_header():
    text = (toolchain.find_libbpf_headers() / "bpf/bpf_helper_defs.h").read_text()
    numbers = {name: int(number) for name, number in re.findall(r"\(\*(bpf_seq_\w+)\).*= \(void \*\) (\d+);", text)}
    assert numbers == {"bpf_seq_printf": PRINTF, "bpf_seq_write": WRITE, "bpf_seq_printf_btf": 150}


def test_a_program_that_only_writes_has_rows_of_the_only_struct(btf):
    assert iterators.row_type("lister", btf, ["open_event"], None, {WRITE, 1}).name == "struct open_event"


@pytest.mark.parametrize("calls", [{PRINTF}, {PRINTF, WRITE}, {150, WRITE}, set()])
def test_a_program_that_prints_writes_text(btf, calls):
    assert iterators.row_type("lister", btf, ["open_event"], None, calls) is None


def test_a_struct_that_is_named_decides(btf):
    row = iterators.row_type("lister", btf, ["open_event", "close_event"], "close_event", {PRINTF})
    assert row.name == "struct close_event"


def test_names_that_are_no_structs_of_the_object_are_passed_over(btf):
    assert iterators.row_type("lister", btf, ["alloc_t", "no_such_type"], None, {WRITE}).name == "alloc_t"
    assert iterators.row_type("lister", btf, ["no_such_type"], None, {WRITE}) is None


def test_of_several_structs_one_has_to_be_named(btf):
    with pytest.raises(DecodeError, match="open_event, struct close_event: which one does lister write") as caught:
        iterators.row_type("lister", btf, ["open_event", "close_event"], None, {WRITE})
    assert "--event lister=STRUCT" in caught.value.hint


def test_rows_have_one_type_and_no_tag(btf):
    for wanted in ("open_event,close_event", "open_event:pid=1"):
        with pytest.raises(CellError, match="one type, and no tag") as caught:
            iterators.row_type("lister", btf, ["open_event", "close_event"], wanted, {WRITE})
        assert caught.value.hint == "write --event lister=open_event"


def test_records_become_rows_in_order(btf):
    row = iterators.row_type("lister", btf, ["close_event"], None, {WRITE})
    rows = [(i, -i, i << 40) for i in range(7)]
    output = b"".join(struct.pack("<IiQ", *each) for each in rows)
    frame = iterators.frame("lister", output, row)
    assert frame.columns.tolist() == ["kind", "ret", "ts"]
    assert list(frame.itertuples(index=False, name=None)) == rows
    assert iterators.frame("lister", output, row, ["a", "b", "c"])["c"].tolist() == [ts for _, _, ts in rows]


def test_a_cut_record_is_refused(btf):
    row = iterators.row_type("lister", btf, ["close_event"], None, {WRITE})
    with pytest.raises(DecodeError, match="wrote 17 bytes, which is no whole number of struct close_event"):
        iterators.frame("lister", bytes(17), row)


def test_bytes_that_are_no_text_ask_for_a_struct():
    with pytest.raises(DecodeError, match="lister wrote records and not text") as caught:
        iterators.frame("lister", struct.pack("<I", 5), None)
    assert "--event lister=STRUCT" in caught.value.hint


def test_a_table_reads_as_pandas_reads_it():
    text = "pid   load   name\n1  0.5  systemd\n\n 4711 1e3 sh \n18446744073709551615 -2 x\n"
    pd.testing.assert_frame_equal(table(text), pd.read_csv(io.StringIO(text), sep=r"\s+"), check_dtype=False)
    assert [dtype.kind for dtype in table(text).dtypes] == ["u", "f", "O"]


def test_only_the_last_column_may_hold_blanks():
    assert table("pid comm\n7 Web Content\n")["comm"].tolist() == ["Web Content"]


def test_a_short_line_lacks_its_last_values():
    frame = table("pid comm\n7\n8 sh\n")
    assert frame["pid"].tolist() == [7, 8]
    assert frame["comm"].isna().tolist() == [True, False]


def test_with_names_the_first_line_is_a_row():
    assert table("1 a\n2 b\n", ["n", "letter"])["n"].tolist() == [1, 2]


@pytest.mark.parametrize(("text", "columns"), [("", []), ("\n\n", []), ("pid comm\n", ["pid", "comm"])])
def test_no_rows_are_an_empty_frame(text, columns):
    frame = table(text)
    assert (len(frame), frame.columns.tolist()) == (0, columns)


def test_two_columns_of_one_name_are_both_there():
    assert table("x x\n1 a\n").to_numpy().tolist() == [[1, "a"]]


@given(st.binary(max_size=200))
def test_any_output_is_a_frame_or_an_error_of_ours(output):
    try:
        frame = iterators.frame("lister", output, None)
    except DecodeError:
        assert b"\0" in output
    else:
        assert len(frame) <= len(output)
