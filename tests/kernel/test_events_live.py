from __future__ import annotations

import os
import struct
import threading
import time

import cells
import numpy as np
import pandas as pd
import pytest

from ebpflab.errors import CellError, DecodeError, SessionError

RING = 4096  # bytes: the smallest there is
FLOOD = 1021  # records in one order; a prime below the sender's bound


def ring(name, struct_name=None, size=1 << 16):
    record = f"__type(value, struct {struct_name}); " if struct_name else ""
    kind = f"__uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, {size}); "
    return f'struct {{ {kind}{record}}} {name} SEC(".maps");\n'


def sender(size=1 << 20):
    return cells.SENDER.replace("SIZE", str(size))


def order(session, count, every=0):
    session.test_run("send", ctx=struct.pack("II", count, every))


KINDS = (
    """\
enum colour { RED = 1, GREEN = 5, BLUE = -3 };
struct point { s32 x; s32 y; };
union number { u32 whole; u16 halves[2]; };
struct everything {
	ktime_t when;
	duration_t took;
	s8 tiny; u8 byte; s16 small; u16 half; s32 normal; u32 word; s64 large; u64 huge;
	u32 low : 3, middle : 7, high : 22;
	s32 negative : 5;
	bool yes, no;
	enum colour colour, other, unknown;
	struct point at;
	union number number;
	u16 few[3];
	u32 many[17];
	char name[16];
	unsigned char raw[4];
	struct { u8 inner; };
	const void *pointer;
};
"""
    + ring("events", "everything")
    + """\
SEC("syscall") int send(void *ctx)
{
	struct everything *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	u32 i;
	if (!e)
		return 1;
	e->when = bpf_ktime_get_ns();
	e->took = 1500000000;
	e->tiny = -8; e->byte = 200; e->small = -1600; e->half = 60000; e->normal = -320000; e->word = 4000000000;
	e->large = -(1LL << 60); e->huge = 1ULL << 63;
	e->low = 5; e->middle = 100; e->high = 4000000;
	e->negative = -7;
	e->yes = true; e->no = false;
	e->colour = GREEN; e->other = BLUE; e->unknown = 9;
	e->at.x = 3; e->at.y = -4;
	e->number.whole = 0x00020001;
	for (i = 0; i < 3; i++)
		e->few[i] = 10 + i;
	for (i = 0; i < 17; i++)
		e->many[i] = i * i;
	__builtin_memcpy(e->name, "gr\\xc3\\xb6\\xc3\\x9f" "e\\0after", 13);
	__builtin_memcpy(e->raw, "\\x00\\x01\\xfe\\xff", 4);
	e->inner = 77;
	e->pointer = (const void *)0xffff888000000001;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
"""
)


def test_every_kind_of_member_comes_out_as_what_the_program_wrote(load):
    session = load(KINDS)
    before = time.time_ns()
    assert session.test_run("send")["retval"] == 0
    after = time.time_ns()
    frame = session.events.df()
    row = frame.iloc[0]
    assert before - 1_000_000 <= row["when"].value <= after + 1_000_000
    assert row["took"] == pd.Timedelta(seconds=1.5)
    expected = {
        "tiny": -8, "byte": 200, "small": -1600, "half": 60000, "normal": -320000, "word": 4000000000,
        "large": -(1 << 60), "huge": 1 << 63, "low": 5, "middle": 100, "high": 4000000, "negative": -7,
        "yes": True, "no": False, "colour": "GREEN", "other": "BLUE", "unknown": "9", "at.x": 3, "at.y": -4,
        "number.whole": 0x20001, "number.halves[0]": 1, "number.halves[1]": 2, "few[0]": 10, "few[1]": 11,
        "few[2]": 12, "name": "größe", "raw": b"\x00\x01\xfe\xff", "inner": 77, "pointer": 0xFFFF888000000001,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert list(row["many"]) == [i * i for i in range(17)]
    assert set(frame.columns) == {*expected, "when", "took", "many"}
    assert str(frame["when"].dtype) == "datetime64[ns, UTC]"
    assert frame["word"].dtype == np.uint32


TWO = """\
struct opened { u32 kind; u32 pid; u64 flags; };
struct closed { u32 kind; u32 pid; u64 result; };
struct summary { u32 kind; u32 count; };
"""
TWO_SENDERS = """\
SEC("syscall") int open_one(void *ctx)
{
	struct opened o = { 1, 11, 0xabc };
	return bpf_ringbuf_output(&events, &o, sizeof(o), 0);
}
SEC("syscall") int close_one(void *ctx)
{
	struct closed c = { 2, 12, 99 };
	return bpf_ringbuf_output(&events, &c, sizeof(c), 0);
}
SEC("syscall") int sum_up(void *ctx)
{
	struct summary *s = bpf_ringbuf_reserve(&events, sizeof(*s), 0);
	if (!s)
		return 1;
	s->kind = 3;
	s->count = 2;
	bpf_ringbuf_submit(s, 0);
	return 0;
}
"""


def test_the_option_names_the_record_type_of_a_buffer_that_does_not(load):
    session = load(TWO + ring("events") + TWO_SENDERS, events={"events": "closed"})
    session.test_run("close_one")
    assert session.events.df().to_dict("records") == [{"kind": 2, "pid": 12, "result": 99}]


def test_a_struct_is_found_by_the_size_of_its_records(load):
    session = load(TWO + ring("events") + TWO_SENDERS)
    session.test_run("sum_up")
    assert session.events.df().to_dict("records") == [{"kind": 3, "count": 2}]


def test_two_record_types_of_different_size_share_a_buffer_in_order(load):
    session = load(TWO + ring("events") + TWO_SENDERS, events={"events": "opened,summary"})
    for program in ("open_one", "sum_up", "sum_up", "open_one"):
        session.test_run(program)
    frame = session.events.df()
    assert frame["record"].tolist() == ["opened", "summary", "summary", "opened"]
    assert frame["kind"].tolist() == [1, 3, 3, 1]
    assert frame["pid"].dropna().tolist() == [11, 11]
    assert frame["count"].dropna().tolist() == [2, 2]


def test_two_record_types_of_one_size_are_told_apart_by_their_tag(load):
    session = load(TWO + ring("events") + TWO_SENDERS, events={"events": "opened:kind=1,closed:kind=2,summary:kind=3"})
    for program in ("close_one", "open_one", "sum_up", "close_one"):
        session.test_run(program)
    frame = session.events.df()
    assert frame["record"].tolist() == ["closed", "opened", "summary", "closed"]
    assert frame["result"].dropna().tolist() == [99, 99]
    assert frame["flags"].dropna().tolist() == [0xABC]


def test_types_of_one_size_without_a_tag_are_an_error_that_says_how_to_tell_them_apart(load):
    session = load(TWO + ring("events") + TWO_SENDERS)
    session.test_run("open_one")
    with pytest.raises(DecodeError, match="struct opened and struct closed") as caught:
        session.events.df()
    assert "--event events=opened:kind=" in caught.value.hint


def test_records_that_carry_no_known_tag_are_an_error_with_a_hint(load):
    session = load(TWO + ring("events") + TWO_SENDERS, events={"events": "opened:kind=1,summary:kind=3"})
    session.test_run("close_one")
    with pytest.raises(DecodeError, match="1 records of events carry none of the tags") as caught:
        session.events.df()
    assert caught.value.hint


def test_reserved_and_copied_records_arrive_alike(load):
    both = """\
SEC("syscall") int send(void *ctx)
{
	struct pair *reserved, copied = { 3, 4 };
	reserved = bpf_ringbuf_reserve(&events, sizeof(*reserved), 0);
	if (!reserved)
		return 1;
	reserved->a = 1;
	reserved->b = 2;
	bpf_ringbuf_submit(reserved, 0);
	return bpf_ringbuf_output(&events, &copied, sizeof(copied), 0);
}
"""
    session = load("struct pair { u32 a; u32 b; };\n" + ring("events", "pair") + both)
    for _ in range(31):
        assert session.test_run("send")["retval"] == 0
    assert session.events.df().values.tolist() == [[1, 2], [3, 4]] * 31


def test_a_flooded_ring_loses_records_and_every_one_is_accounted_for(load):
    session = load(sender(RING))
    session.events.pause()
    order(session, FLOOD)
    session.events.resume()
    frame = session.events.df()
    stats = session.events.stats()
    assert session.vars["sent"] == FLOOD
    assert stats["lost"] > 0
    assert stats["received"] > 0
    assert stats["received"] + stats["lost"] + stats["discarded"] == FLOOD
    assert frame.attrs["lost"] == stats["lost"]
    # A record takes 8 bytes and a header of 8, and the ring never fills to its last byte.
    assert frame["number"].tolist() == list(range((RING - 1) // 16))


def test_records_that_the_program_discards_are_counted_apart(load):
    session = load(sender())
    order(session, FLOOD, every=3)
    frame = session.events.df()
    stats = session.events.stats()
    assert stats["discarded"] == len(range(0, FLOOD, 3))
    assert (stats["received"], stats["lost"]) == (FLOOD - stats["discarded"], 0)
    assert frame["number"].tolist() == [n for n in range(FLOOD) if n % 3]


def test_loss_and_discards_together_still_add_up(load):
    session = load(sender(RING))
    session.events.pause()
    order(session, FLOOD, every=5)
    session.events.resume()
    order(session, 7)
    assert len(session.events.df()) == session.events.stats()["received"]
    stats = session.events.stats()
    assert min(stats["received"], stats["lost"], stats["discarded"]) > 0
    assert stats["received"] + stats["lost"] + stats["discarded"] == session.vars["sent"] == FLOOD + 7


def test_two_threads_that_flood_a_tiny_ring_are_accounted_for(load):
    source = cells.GETPPID.replace("1 << 16", str(RING))
    session = load(source, vars={"only": os.getpid()})
    threads = [threading.Thread(target=cells.call_getppid, args=(4999,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    session.detach()
    stats = session.events.stats()
    assert stats["received"] + stats["lost"] == session.vars["seen"] == 9998


def test_loss_is_counted_for_each_buffer(load):
    body = """\
SEC("syscall") int send(void *ctx)
{
	u64 i;
	for (i = 0; i < 509; i++) {
		bpf_ringbuf_output(&tight, &i, sizeof(i), 0);
		bpf_ringbuf_output(&roomy, &i, sizeof(i), 0);
	}
	return 0;
}
"""
    source = "struct event { u64 n; };\n" + ring("tight", "event", RING) + ring("roomy", "event") + body
    session = load(source)
    session.streams["tight"].pause()
    session.test_run("send")
    session.streams["tight"].resume()
    frames = {name: stream.df() for name, stream in session.streams.items()}
    assert frames["roomy"]["n"].tolist() == list(range(509))
    assert frames["roomy"].attrs["lost"] == 0
    assert frames["tight"].attrs["lost"] == 509 - len(frames["tight"]) > 0
    with pytest.raises(SessionError, match="2 ring buffers") as caught:
        _ = session.events
    assert 'streams["tight"]' in caught.value.hint


def test_a_buffer_of_a_foreign_object_has_unknown_loss_instead_of_none(load, tmp_path):
    from ebpflab.cell import Cell
    from ebpflab.compile import compile_cell

    # The prelude's wrappers are macros: undefining one gives the program that its author would have compiled.
    source = "#undef bpf_ringbuf_reserve\n" + sender(RING)
    path = tmp_path / "foreign.o"
    path.write_bytes(compile_cell(Cell(source)).object)
    session = load(path)
    order(session, 5)
    assert session.events.df().attrs["lost"] is None
    assert "unknown lost" in repr(session.events)


def test_a_cap_on_rows_keeps_exactly_the_newest(load):
    session = load(sender(), keep=101)
    order(session, 307)
    frame = session.events.df()
    assert frame["number"].tolist() == list(range(206, 307))
    assert {key: frame.attrs[key] for key in ("received", "lost", "evicted")} == {
        "received": 307,
        "lost": 0,
        "evicted": 206,
    }
    assert len(session.events) == 101


def test_a_cap_in_bytes_is_a_cap(load):
    session = load(sender(), keep="800B")
    order(session, 307)
    assert session.events.df()["number"].tolist() == list(range(207, 307))


def test_the_last_rows_and_the_first_are_those_that_were_asked_for(load):
    session = load(sender())
    order(session, 53)
    assert session.events.df(last=5)["number"].tolist() == [48, 49, 50, 51, 52]
    assert session.events.df(last=0).empty
    assert session.events.df(last=1000)["number"].tolist() == list(range(53))
    assert session.events.head(3)["number"].tolist() == [0, 1, 2]


def test_the_attrs_of_a_frame_tell_what_it_does_not_show(load):
    session = load(sender())
    before = int(time.time())
    order(session, 5)
    attrs = session.events.df().attrs
    assert set(attrs) == {"received", "lost", "evicted", "span", "gaps"}
    begin, end = (pd.Timestamp(text).timestamp() for text in attrs["span"])
    assert before - 10 <= begin <= end <= time.time()


def test_waiting_ends_when_the_count_is_there_or_the_time_is_over(load):
    session = load(sender())
    assert not session.events.wait(timeout=0.05)
    order(session, 19)
    assert session.events.wait(19, timeout=5)
    assert not session.events.wait(20, timeout=0.05)
    late = threading.Timer(0.1, order, (session, 1))
    late.start()
    assert session.events.wait(timeout=5)
    late.join()


def test_a_paused_buffer_holds_its_records_until_it_is_resumed(load):
    session = load(sender())
    session.events.pause()
    order(session, 29)
    assert session.events.stats()["received"] == 0
    assert session.events.stats()["in_ring"] == 29 * 16
    session.events.resume()
    assert session.events.wait(29, timeout=5)
    assert session.events.stats()["in_ring"] == 0


def test_clearing_forgets_the_rows_and_keeps_the_counters(load):
    session = load(sender())
    order(session, 23)
    session.events.clear()
    assert len(session.events) == 0
    order(session, 2)
    frame = session.events.df()
    assert frame["number"].tolist() == [23, 24]
    assert frame.attrs["received"] == 25


def test_batches_give_every_record_from_the_call_on_once_and_in_order(load):
    session = load(sender())
    order(session, 5)  # before the call: not part of it
    stream = session.events.batches(timeout=5)
    order(session, 307)
    numbers = []
    for batch in stream:
        numbers.extend(pd.DataFrame(batch)["number"].tolist())
        if len(numbers) >= 307:
            break
    assert numbers == list(range(session.vars["sent"] - 307, session.vars["sent"]))


def test_batches_end_when_the_session_is_closed(load):
    session = load(sender())
    stream = session.events.batches()
    threading.Timer(0.1, session.close).start()
    assert list(stream) == []


def test_an_empty_frame_has_the_columns_already(load):
    session = load(cells.GETPPID)
    session.detach()
    session.events.clear()
    frame = session.events.df()
    assert frame.empty
    assert list(frame.columns) == ["ts", "pid", "comm"]


def test_frames_and_parquet_files_hold_the_same_after_close(load, tmp_path):
    session = load(sender())
    order(session, 41)
    session.close()
    path = str(tmp_path / "events.parquet")
    session.events.to_parquet(path)
    assert pd.read_parquet(path)["number"].tolist() == list(range(41))
    assert session.events.arrow().num_rows == 41


LONGER = """\
struct event { u64 number; };
%s
SEC("syscall") int send(void *ctx)
{
	u64 right = 1, wrong[2] = { 2, 3 };
	bpf_ringbuf_output(&events, &right, sizeof(right), 0);
	bpf_ringbuf_output(&events, wrong, sizeof(wrong), 0);
	return 0;
}
SEC("syscall") int send_right(void *ctx)
{
	u64 right = 4;
	return bpf_ringbuf_output(&events, &right, sizeof(right), 0);
}
"""


def test_a_record_longer_than_its_struct_is_an_error_and_the_session_goes_on(load):
    session = load(LONGER % ring("events", "event"))
    session.test_run("send")
    with pytest.raises(DecodeError, match="holds records of 16 bytes, but struct event has 8") as caught:
        session.events.df()
    assert "sizeof(struct)" in caught.value.hint
    assert "16 bytes" in repr(session)
    session.events.clear()
    session.test_run("send_right")
    assert session.events.df()["number"].tolist() == [4]
    assert session.events.stats()["received"] == 3


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"evnts": "event"}, "no ring buffer of that name"),
        ({"events": "evnt"}, "no struct evnt"),
        ({"events": "event:nmber=1"}, "no field nmber"),
        ({"events": "event:number=x"}, "tag has to be a number"),
        ({"events": "event:"}, "expected STRUCT"),
    ],
)
def test_a_wrong_record_type_is_refused_before_anything_is_loaded(load, wanted, words):
    with pytest.raises(CellError, match=words) as caught:
        load(LONGER % ring("events"), events=wanted)
    assert caught.value.hint
