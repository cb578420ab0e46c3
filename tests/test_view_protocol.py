"""Frames of the live view: what they look like on the wire, how large they are, and how often they go."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest

from ebpflab.errors import EbpflabError
from ebpflab.jupyter import protocol
from ebpflab.jupyter.actions import act, looked
from ebpflab.jupyter.pace import BUSY_SECONDS, UNSEEN_FRAMES, Budget, Pace, TwinPace
from ebpflab.jupyter.wire import Wire
from ebpflab.views import Look
from ebpflab.views.cells import Column
from ebpflab.views.code import Listing, Row
from ebpflab.views.entries import Entries
from ebpflab.views.history import History
from ebpflab.views.log import Line
from ebpflab.views.picture import Picture
from ebpflab.views.rows import Rows

session = pytest.importorskip("jupyter_client.session", reason="the size of a message is asked of jupyter_client")
HEAD = dict.fromkeys(("name", "state", "tone", "engine", "age", "problem"), "x" * 60)
TILES = [[f"key{i}", "label", "1,234,567", "error", "t" * 400] for i in range(8)]


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def message_bytes(content, buffers):
    """What jupyter_client makes of it: with headers, those of the parent, signature and comm."""
    wire = session.Session(key=b"0" * 32)
    parent = wire.msg("execute_request", {"code": "view"})
    data = {"comm_id": "f" * 32, "data": {"method": "custom", "content": content}}
    message = wire.msg("comm_msg", data, parent=parent)
    return sum(map(len, wire.serialize(message, ident=b"comm-" + b"f" * 32))) + sum(map(len, buffers))


def frame_of(*parts, look=None, choices=None):
    content, buffers = protocol.frame(1_000_003, HEAD, TILES, look or Look(), choices, list(parts))
    assert message_bytes(content, buffers) <= 50_000
    assert len(buffers) == len(content["parts"])
    return content, buffers


def table_of(buffer):
    """Unpack a buffer as the page does."""
    text = buffer.decode("utf-8")
    return [row.split("\x1f") for row in text.split("\x1e")] if text else []


def history(steps=300):
    rng = np.random.default_rng(7)
    rate, lost = rng.random((2, steps), np.float32) * 1e6
    return History(rate, lost, 0.2, 1.7e9)


def rows(count, columns, text):
    cells = tuple(tuple(f"{i:03}{text}"[:60] for _ in range(columns)) for i in range(count))
    names = tuple(Column(f"a_rather_long_name_of_column_{i}", "text") for i in range(columns))
    return Rows("events", names, cells, shown=count, matched=count, held=1_000_003, looked=20_000)


# --- what is in a frame, and how large it is


@pytest.mark.parametrize(("count", "columns"), [(200, 20), (200, 1), (199, 64), (200, 331), (1, 331)])
@pytest.mark.parametrize("text", ["x" * 60, "ö" * 60, "\N{HONEYBEE}" * 60, '"\\' * 30])
def test_a_frame_has_at_most_50_kb_and_whole_rows_from_the_top(count, columns, text):
    found = rows(count, columns, text)
    names = [(f"c{i}", "number") for i in range(columns)]
    choices = protocol.choices(streams=["events"], plots=["rate"], columns=names, maps=["m"] * 41, programs=["p"] * 41)
    look = Look(filter="f" * 300)
    content, buffers = frame_of(
        protocol.history(history()), protocol.rows(found, look), look=look, choices=choices
    )  # fmt: skip
    meta, shown = content["parts"][1], table_of(buffers[1])
    assert 1 <= len(shown) == meta["shown"] <= count
    width = min(columns, 64)
    assert shown == [list(row[:width]) for row in found.cells[: len(shown)]]
    assert len(meta["columns"]) == width
    assert (meta["matched"], meta["held"], meta["looked"]) == (count, 1_000_003, 20_000)
    assert ("64 of 331" in meta["problem"]) == (columns == 331)


def test_what_fits_is_sent_whole():
    found = rows(20, 5, "text")
    content, buffers = frame_of(protocol.rows(found, Look()))
    assert table_of(buffers[0]) == [list(row) for row in found.cells]
    assert content["parts"][0]["shown"] == 20
    assert content["look"]["tab"] == "table"
    assert "choices" not in content


def test_separators_and_bytes_that_are_no_unicode_stay_inside_their_cells():
    found = Rows("events", (Column("a", "text"), Column("b", "text")), (("x\x1ey\x1fz", "\udcff"),), 1, 1, 1, 1)
    _, buffers = frame_of(protocol.rows(found, Look()))
    assert table_of(buffers[0]) == [["x y z", "?"]]
    head = protocol.choices(maps=["\udcff"])
    assert json.dumps(head, ensure_ascii=False).encode("utf-8") == b'{"maps": ["?"]}'


def test_the_history_is_little_endian_floats_rates_before_losses():
    told = history(7)
    content, buffers = frame_of(protocol.history(told))
    assert content["parts"] == [{"name": "history", "step": 0.2, "n": 7}]
    assert np.frombuffer(buffers[0], "<f4").tolist() == [*told.rate.tolist(), *told.lost.tolist()]


def test_a_picture_that_is_too_large_is_left_out_and_says_so():
    small, large = (Picture(b"p" * size, 760, 320, "a plot") for size in (40_000, 49_000))
    content, buffers = frame_of(protocol.history(history()), protocol.picture(small))
    assert (len(buffers[1]), content["parts"][1]["problem"]) == (40_000, "")
    content, buffers = frame_of(protocol.picture(large))
    assert (buffers[0], content["parts"][0]["problem"]) == (b"", "the picture is too large")


def test_a_picture_with_a_problem_has_no_bytes():
    content, buffers = frame_of(protocol.picture(Picture(b"", 760, 0, "", "no column suits")))
    assert (buffers, content["parts"][0]["problem"]) == ([b""], "no column suits")


def test_of_a_long_log_the_newest_lines_are_sent_with_their_numbers():
    lines = [Line(i, 1_700_000_000 + i, "ok", f"{i} " + "l" * 400) for i in range(11, 211)]
    content, buffers = frame_of(protocol.log(lines))
    shown = table_of(buffers[0])
    first = content["parts"][0]["first"]
    assert first > 11
    assert [int(text.split()[0]) for _, _, text in shown] == list(range(first, 211))
    assert shown[-1][:2] == ["22:16:50", "ok"]


def test_of_a_long_listing_the_first_rows_are_sent_and_the_other_instructions_counted():
    listed = tuple(Row(i, f"line {i}", 23, tuple(f"{k}: r1 = {k}" for k in range(23))) for i in range(1, 401))
    content, buffers = frame_of(protocol.code(Listing("prog", ("prog",), listed, cut=5)))
    shown = table_of(buffers[0])
    assert [row[0] for row in shown] == [str(i) for i in range(1, len(shown) + 1)]
    assert content["parts"][0]["cut"] == 5 + 23 * (400 - len(shown)) > 5
    assert shown[0][3].split("\n") == list(listed[0].text)


def test_entries_travel_with_what_a_page_needs_to_edit_them():
    found = Entries(
        "m", "hash", (Column("key", "number"), Column("value", "text")), (("1", "a"), ("2", "b")), 2, True, ("2",)
    )
    content, buffers = frame_of(protocol.entries(found))
    assert table_of(buffers[0]) == [["1", "a"], ["2", "b"]]
    expected = {"name": "entries", "map": "m", "type": "hash", "count": 2, "editable": True, "problem": ""}
    expected["constants"] = ["2"]
    assert content["parts"][0] == {**expected, "columns": [["key", "number"], ["value", "text"]]}


def test_lists_to_choose_from_are_cut_before_they_fill_a_frame():
    many = [f"a_map_with_a_name_{i}" for i in range(4999)]
    made = protocol.choices(maps=many, streams=["events"], programs=many)
    assert len(json.dumps(made)) <= 10_000
    assert made["streams"] == ["events"]
    assert made["maps"] == many[: len(made["maps"])] != []


# --- how often


def test_no_second_has_more_than_ten_messages_however_many_want_to_go(clock):
    budget, rng, sent = Budget(clock=clock), random.Random(11), []
    for _ in range(20_011):
        clock.now += rng.expovariate(200)
        if not budget.take(spare=rng.choice((0, 2))):
            sent.append(clock.now)
    assert len(sent) > 500
    assert max(sum(start <= other < start + 1 for other in sent) for start in sent) == 10


def test_frames_leave_room_for_two_other_messages(clock):
    budget = Budget(clock=clock)
    assert [budget.take(spare=2) for _ in range(8)] == [0.0] * 8
    assert budget.take(spare=2) == budget.wait(spare=2) > 1.0
    assert [budget.take() for _ in range(2)] == [0.0] * 2
    assert budget.take() > 1.0
    clock.now += 1.03
    assert budget.take(spare=2) == 0.0


def test_what_cannot_wait_counts_all_the_same(clock):
    wire, sent = Wire(Budget(clock=clock)), []
    for number in range(10):
        wire.now(lambda number=number: sent.append(number))
    assert sent == list(range(10))
    wire.stopping.set()  # as closing does: who waits for the budget gives up at once
    assert wire.send(lambda: sent.append("late")) is False
    assert sent == list(range(10))


def test_a_closed_wire_sends_nothing():
    wire, sent = Wire(), []
    assert wire.send(lambda: sent.append(1)) is True
    wire.close()
    assert wire.send(lambda: sent.append(2)) is False
    assert sent == [1]


def test_frames_go_five_times_a_second_and_once_while_only_the_age_changes(clock):
    pace = Pace(clock)
    assert pace.until_frame(changing=True) == 0.0
    pace.seen(pace.frame())
    assert pace.until_frame(changing=True) == pytest.approx(0.2)
    assert pace.until_frame(changing=False) == pytest.approx(1.0)
    clock.now += 0.2
    assert pace.until_frame(changing=True) == pytest.approx(0.0)
    assert pace.until_frame(changing=False) == pytest.approx(0.8)


def test_the_interval_doubles_with_every_25_unseen_frames_up_to_30_seconds(clock):
    pace, intervals = Pace(clock), []
    for number in range(1, 401):
        assert pace.frame() == number
        intervals.append(pace.interval)
    assert intervals[23::25][:8] == [0.2 * 2**i for i in range(8)]
    assert intervals[24] == 0.4
    assert intervals[-1] == 30.0
    pace.seen(400)
    assert pace.interval == 0.2


def test_a_page_that_says_now_and_then_what_it_drew_gets_all_frames():
    text = (Path(protocol.__file__).parent / "page" / "tools.js").read_text()
    between = int(re.search(r"const ACKNOWLEDGED = (\d+);", text)[1]) / 1000
    assert 2 * between / BUSY_SECONDS < UNSEEN_FRAMES


def test_who_leaves_a_frame_unseen_for_a_minute_is_away_until_the_next_word(clock):
    pace = Pace(clock)
    clock.now += 3600
    pace.seen(pace.frame())
    clock.now += 3600
    assert not pace.away  # nothing was sent that could have been answered
    for _ in range(6):
        pace.frame()
        clock.now += 9.9
        assert not pace.away
    clock.now += 0.7
    assert pace.away
    pace.seen(7)
    assert not pace.away
    pace.frame()
    clock.now += 61
    assert pace.away
    pace.arrived()
    assert not pace.away


def test_an_answer_to_a_frame_that_was_never_sent_does_not_count(clock):
    pace = Pace(clock)
    for _ in range(50):
        pace.frame()
    pace.seen(10**9)
    for _ in range(25):
        pace.frame()
    assert pace.interval == 0.4


def test_a_part_that_costs_much_is_drawn_less_often(clock):
    pace = Pace(clock)
    pace.drawn("picture", 0.01)
    pace.drawn("rows", 0.05)
    clock.now += 0.39
    assert (pace.due("rows"), pace.due("picture"), pace.due("history")) == (False, False, True)
    clock.now += 0.02
    assert (pace.due("rows"), pace.due("picture")) == (True, False)
    clock.now += 0.1
    assert pace.due("picture")
    pace.drawn("picture", 0.25)
    clock.now += 1.99
    assert not pace.due("picture")
    pace.ask()
    assert pace.due("picture")


def test_the_twin_is_looked_at_soon_twice_and_then_ever_less_often_but_once_a_minute(clock):
    pace = TwinPace(clock)
    for seconds in (200, 8):  # what is shown in it changed: from the beginning
        start, times = clock.now, []
        pace.shown()
        while clock.now < start + seconds:
            clock.now += 0.01
            if not pace.until():
                times.append(clock.now - start)
                pace.looked()
        expected = [0.4, 1.6, 6.6, 16.6, 36.6, 76.6, 136.6, 196.6]
        assert times == pytest.approx([at for at in expected if at < seconds], abs=0.09)


# --- what pages ask for


def test_numbers_of_javascript_become_whole_where_they_have_to_be():
    look = looked(Look(), {"width": 759.6, "scale": 2, "rows": 50.0, "dark": True})
    assert (look.width, look.scale, look.rows, look.dark) == (760, 2.0, 50, True)


@pytest.mark.parametrize(
    "options", [{"filter": "x" * 301}, {"tab": "tabel"}, {"no_such": 1}, {"rows": "many"}, {"dark": 1}, {"width": None}]
)
def test_a_page_that_asks_for_nonsense_gets_an_error_that_says_so(options):
    (name,) = options
    with pytest.raises(EbpflabError, match=name):
        looked(Look(), options)


def test_an_unknown_action_names_the_nearest():
    with pytest.raises(EbpflabError) as caught:
        act(None, Look(), {"do": "puase"})
    assert "pause" in caught.value.hint
