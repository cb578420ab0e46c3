"""The live view as text: what it says, that it fits, and that nothing in it is obeyed by a terminal."""

from __future__ import annotations

import io
import os
import re
import signal
import threading
import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotted import RECORDINGS
from recorded import Stream, event_bytes
from terminals import seen

import ebpflab
from ebpflab import cli
from ebpflab.errors import EbpflabError
from ebpflab.views import _lines as lines

LATENCY = next(path for path in RECORDINGS if path.stem == "latency")


@pytest.fixture
def frame():
    """The recording as pandas alone reads it."""
    found = pd.read_parquet(LATENCY)
    assert len(found) > 1000
    return found


@pytest.fixture
def session():
    with ebpflab.replay(LATENCY, speed=None) as playing:
        playing.events.wait(2, timeout=5)
        yield playing


@pytest.fixture
def going_on(tmp_path):
    """A session that sends 7 and 11 and 13 events within a second, as it was recorded."""
    path = tmp_path / "slow.parquet"
    stream = Stream()
    stream.events.record(path)
    for count in (7, 11, 13):
        stream.send(*event_bytes(count))
        time.sleep(0.4)
    stream.close()
    with ebpflab.replay(path, speed="1") as playing:
        yield playing


class Screen(io.StringIO):
    """Something that says that it is a terminal."""

    def isatty(self):
        return True

    @property
    def seen(self):
        return seen(self.getvalue().replace("\n", "\r\n"), columns=90)  # as the line discipline of a tty does


@pytest.fixture
def screen(monkeypatch):
    """Returns, when called, a terminal of 90 columns and 20 lines in the place of stdout."""
    for name, value in (("TERM", "xterm"), ("COLUMNS", "90"), ("LINES", "20")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)

    def switched_on():
        output = Screen()
        monkeypatch.setattr("sys.stdout", output)  # not before the test runs: pytest has its own until then
        return output

    return switched_on


def bars(text):
    """The labels and numbers of the bars in a text."""
    found = re.findall(r"^  (.+?) +([\d,]+) \|", text, re.MULTILINE)
    return {label: int(number.replace(",", "")) for label, number in found}


def test_one_look_has_the_numbers_and_the_newest_rows_of_the_recording(session, frame):
    text = repr(session.view(rows=7))
    head, *_ = text.splitlines()
    assert head.startswith("latency [replayed] replay, ")
    assert f"received {len(frame):,}  lost 0  evicted 0" in text
    assert f"7 rows, newest first, {len(frame):,} held" in text
    shown = [line.split() for line in text.splitlines() if re.match(r"  \d\d:\d\d:\d\d\.\d+ ", line)]
    newest = frame.iloc[::-1].head(7)
    pids = [words[3] for words in shown]
    assert pids == [str(pid) for pid in newest["pid"]]
    assert "watch()" not in text, "it is over"


def test_a_look_with_a_filter_and_an_order_says_so(session, frame):
    wanted = frame[(frame["comm"] == "ls") & (frame["took"] > pd.Timedelta("10us"))]
    assert len(wanted) > 0
    text = repr(session.view(filter="comm:ls took>10us", sort="took", rows=1))
    assert f"1 row by took, {len(wanted):,} of the newest {len(frame):,} match" in text
    assert str(int(wanted.sort_values("took")["pid"].iloc[-1])) in text


def test_the_bars_of_the_most_frequent_are_counted_right(session, frame):
    counted = Counter(frame["comm"])
    assert bars(repr(session.view(plot="top", column="comm"))) == dict(counted.most_common(10))


def test_the_buckets_of_a_histogram_are_those_of_numpy(session, frame):
    took = frame["took"].to_numpy().astype("timedelta64[ns]").astype(np.int64) // 1000
    counts, _ = np.histogram(took, bins=[2**power for power in range(12)])
    shown = bars(repr(session.view(plot="hist", column="took")))
    assert shown == {f"[{2**i}, {2 ** (i + 1)})": n for i, n in enumerate(counts) if n}


@pytest.mark.parametrize("plot", ["heatmap", "timeline"])
def test_shades_over_time_have_a_row_for_each_bucket_and_one_width(session, plot):
    text = repr(session.view(plot=plot))
    rows = re.findall(r"^ +.+ \|([ ░▒▓█]+)\|$", text, re.MULTILINE)
    assert len(rows) >= 5
    assert len({len(row) for row in rows}) == 1
    assert "█" in "".join(rows)
    assert "over 4.8" in text


def test_a_rate_that_nobody_watched_is_drawn_from_the_times_of_the_events(session):
    text = repr(session.view(plot="rate"))
    chart = [line for line in text.splitlines() if set(line) & set("▁▂▃▄▅▆▇█")]
    assert len(chart) == 8
    highest = re.search(r"highest ([\d,]+)/s", text)[1]
    assert chart[0].strip().startswith(highest)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"plot": "flame"}, "no column for plot 'flame'"),
        ({"plot": "hist", "column": "toook"}, "no column 'toook'"),
        ({"tab": "maps"}, "latency"),
        ({"tab": "code"}, "latency"),
        ({"tab": "log"}, "replay"),
    ],
)
def test_what_cannot_be_shown_is_said_in_its_place(session, options, words):
    view = session.view()
    view.look = view.look.changed(**options)  # what a page may ask for; view() itself refuses what cannot be
    assert words in repr(view)


@pytest.mark.parametrize(
    ("options", "what", "hint"),
    [
        ({"plot": "flame"}, "no column for plot 'flame'", "kernel_stack_t"),
        ({"plot": "hist", "column": "toook"}, "there is no column 'toook'", "did you mean took?"),
        ({"plot": "hist", "column": "comm"}, "plot 'hist' cannot draw comm, a column of texts", "top"),
        ({"map": "variables"}, "there is no map 'variables'", ""),
        ({"rows": "many"}, "rows='many' is not a whole number", "give a whole number"),
    ],
)
def test_a_view_of_what_is_not_there_is_refused_by_name(session, options, what, hint):
    with pytest.raises(EbpflabError, match=re.escape(what)) as caught:
        session.view(**options)
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("columns", [20, 41, 60, 80, 137])
@pytest.mark.parametrize("options", [{}, {"plot": "top"}, {"plot": "rate"}, {"plot": "timeline"}, {"tab": "log"}])
def test_nothing_is_wider_than_the_terminal(session, monkeypatch, columns, options):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = repr(session.view(**options))
    assert max(map(lines.width, text.splitlines())) <= columns
    assert len(text.splitlines()) > 3


def test_columns_that_do_not_fit_are_named_and_numbers_are_never_cut():
    names = ("time", "comm", "pid", "path", "bytes", "ret")
    row = ("12:34:56.789", "a-long-command-name", "4194304", "/usr/lib/locale/C.utf8", "1,234,567", "-2")
    kinds = ("time", "text", "number", "text", "number", "number")
    left_out = set()
    for room in range(24, 100):
        shown = [lines.rendered(line, room, colours=False) for line in lines.table(names, [row], kinds, room)]
        assert max(map(len, shown)) <= room
        words = [word for word in shown[1].split() if word[0] in "-0123456789"]
        assert words == [cell for cell, kind in zip(row, kinds, strict=True) if kind != "text"][: len(words)]
        missing = len(names) - len(shown[0].split())
        assert (f"{missing} more column" in shown[-1]) == bool(missing)
        left_out.add(missing)
    assert left_out >= {0, 1, 3}
    assert lines.table(names, [row], kinds, 40)[-1][1].text == "3 more columns: path, bytes, ret"


def test_control_characters_and_wide_letters_of_a_record_are_shown_not_obeyed():
    evil = "\x1b[2J\r\n\x07\u202e日本語"
    (_, shown) = lines.table(("path", "pid"), [(evil, "17")], ("text", "number"), 80)
    text = lines.rendered(shown, 80, colours=True)
    assert text == "  \\x1b[2J\\r\\n\\x07\\u202e日本語   17"


def test_the_width_of_a_text_is_what_terminals_make_of_it():
    wcwidth = pytest.importorskip("wcwidth", reason="the tables of wcwidth are the other source")
    for text in ("abc", "日本語", "한국어", "e\u0301te\u0301", "▁▂▃█", "naïve…", "🙂", "ﾊﾝｶｸ", "Ελλάδα"):
        assert lines.width(text) == wcwidth.wcswidth(text), text


@given(st.text(max_size=40), st.integers(0, 30))
def test_what_is_cut_fits_and_is_the_beginning(text, room):
    shown = lines.clean(text)
    kept = lines.cut(shown, room)
    assert lines.width(kept) <= room
    assert kept == shown or room == 0 or (kept.endswith("…") and shown.startswith(kept[:-1]))
    assert kept.isprintable()


def test_without_a_terminal_a_watch_prints_one_look_at_its_end(session, capsys):
    assert session.view(rows=3).follow(seconds=0.3)
    text = capsys.readouterr().out
    assert text.count("latency [replayed]") == 1
    assert "\x1b" not in text
    assert "Ctrl-C" not in text


@pytest.mark.parametrize("options", [{"seconds": 0}, {"seconds": -1}, {"every": 0}, {"every": float("nan")}])
def test_a_time_that_is_none_is_an_error_of_ours(session, options):
    with pytest.raises(EbpflabError, match="is no positive number"):
        session.view().watch(**options)


def test_a_watch_draws_over_itself_and_ends_with_the_recording(going_on, screen):
    output = screen()
    assert going_on.view().follow(every=0.1)
    assert going_on.state == "replayed"
    assert output.getvalue().count("\x1b[?25l") >= 5
    assert output.seen.cursor
    assert output.seen.text.count("received") == 1
    assert "received 31" in output.seen.text
    assert "Ctrl-C" not in output.seen.text


def test_a_watch_is_never_longer_than_the_screen_and_leaves_what_stood_above(going_on, screen, monkeypatch):
    monkeypatch.setenv("LINES", "9")
    output = screen()
    output.write("above\n")
    assert going_on.view(rows=200).follow(seconds=0.7, every=0.1)
    assert output.getvalue().count("\x1b[?25l") >= 3
    assert output.seen.lines[0] == "above"
    assert len(output.seen.lines) == 1 + 9
    assert "received" in output.seen.text


def test_a_terminal_that_changes_its_size_gets_a_fresh_look_below_the_old_one(going_on, screen, monkeypatch):
    output = screen()
    change = threading.Timer(0.35, lambda: monkeypatch.setenv("COLUMNS", "60"))
    change.start()
    assert going_on.view(rows=3).follow(seconds=0.8, every=0.1)
    change.join()
    assert output.seen.text.count("opens [replaying]") == 2


def test_an_interrupt_ends_the_watch_and_the_last_look_stays(going_on, screen):
    output = screen()
    threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    assert going_on.view().follow() is False
    assert going_on.state == "replaying"
    assert output.seen.cursor
    assert "Ctrl-C" not in output.seen.text
    assert output.seen.text.count("received") == 1


def test_an_interrupt_while_a_longer_look_is_drawn_leaves_one_look(going_on, screen, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    output = screen()
    write, sent = output.write, []

    def interrupted(text):
        write(text)
        if "received 18" in text and not sent:  # there are more rows than in the look before
            sent.append(text)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(output, "write", interrupted)
    assert going_on.view().follow(every=0.1) is False
    assert sent
    assert output.seen.text.count("received") == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_thread_that_is_not_the_main_one_can_watch(going_on, screen):
    output, answers = screen(), []
    watcher = threading.Thread(target=lambda: answers.append(going_on.view().follow(every=0.1)))
    watcher.start()
    watcher.join(20)
    assert answers == [True]
    assert "received 31" in output.seen.text


def test_the_shell_command_watches_a_recording_while_it_plays(capsys):
    assert cli.main(["replay", "--watch", "--speed", "20", str(LATENCY)]) == 0
    assert "received 2,684" in capsys.readouterr().out


def test_colours_are_for_terminals_and_for_those_who_want_them(session, screen, monkeypatch):
    output = screen()
    session.view().show()
    assert "\x1b[1mlatency\x1b[0m" in output.getvalue()
    assert "\x1b" not in repr(session.view())
    monkeypatch.setenv("NO_COLOR", "1")
    output = screen()
    session.view().show()
    assert "latency" in output.getvalue()
    assert "\x1b" not in output.getvalue()


def test_a_terminal_without_our_letters_gets_others(session, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="latin-1"))
    session.view(plot="rate").show()
    assert b"events per second" in raw.getvalue()
