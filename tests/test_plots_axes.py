"""Timelines, and what all plots share: empty frames, axes, errors, labels."""

from __future__ import annotations

import collections
import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from plotted import COUNT, SECOND, START, made, nanoseconds, texts

from ebpflab.errors import EbpflabError
from ebpflab.plots import Plots, data, rate, style, timeline, top


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture
def frame():
    return made(COUNT)


# Timeline


def test_a_timeline_has_a_point_for_each_event_in_the_lane_of_its_cpu(frame):
    found = timeline.points(frame)
    assert found.lanes == tuple("0123456")
    assert found.at.tolist() == nanoseconds(frame["time"]).tolist()
    assert found.y.tolist() == frame["cpu"].tolist()
    assert (found.total, found.exact) == (COUNT, True)


def test_numbers_of_which_there_are_many_are_heights(frame):
    found = timeline.points(frame, "took")
    assert (found.lanes, found.kind) == ((), "time")
    assert found.y.tolist() == frame["took"].to_numpy().astype("i8").tolist()


def test_without_a_cpu_the_process_tells_events_apart(frame):
    assert timeline.usual(frame.rename(columns={"cpu": "pid"})) == "pid"
    assert timeline.usual(frame.drop(columns="cpu")) == "comm"


def test_names_beyond_the_lanes_share_the_last_one():
    events = made(31).assign(path=[f"/{i:02}" for i in range(31)])
    found = timeline.points(events, "path")
    assert (found.lanes[-1], len(found.lanes)) == ("others (8)", 24)
    assert collections.Counter(found.y.tolist())[23] == 8


@pytest.mark.parametrize("lanes", [True, False])
def test_thinning_leaves_a_point_on_every_pixel_that_had_one(lanes):
    random = np.random.default_rng(3)
    at = np.sort(random.integers(0, 10**9, 200_003))
    y = random.integers(0, 5, len(at)) if lanes else random.integers(0, 30, len(at)) / 7
    codes = random.integers(0, 3, len(at))
    kept, exact = timeline.thin(at, y, codes, lanes=lanes, most=150_000)

    def pixels(which):
        x = ((at[which] - at.min()) * 2000 // (at.max() - at.min())).clip(max=1999)
        rows = y[which] if lanes else ((y[which] - y.min()) / (y.max() - y.min()) * 500).astype(int).clip(max=499)
        return set(zip(x.tolist(), rows.tolist(), codes[which].tolist(), strict=True))

    assert exact
    assert len(kept) < len(at)
    assert (np.diff(kept) > 0).all()
    assert len(pixels(kept) ^ pixels(np.arange(len(at)))) <= len(kept) // 1000  # rounding at the edges of pixels


def test_what_is_not_drawn_is_told():
    events = made(120_011)
    ax = Plots(lambda: events).timeline()
    drawn = sum(len(points.get_offsets()) for points in ax.collections)
    assert drawn < 120_011
    assert f"120,011 events, {drawn:,} drawn, the others lie behind them" in texts(ax)


def test_too_many_pixels_give_an_even_choice_that_is_called_so():
    at, y = np.arange(1009) * 10**6, np.arange(1009.0)
    kept, exact = timeline.thin(at, y, np.zeros(1009, "i8"), lanes=False, most=101)
    assert not exact
    assert len(kept) <= 101


def test_colours_of_a_timeline_are_those_of_the_most_frequent_values(frame):
    ax = Plots(lambda: frame).timeline(colour="comm")
    common = [name for name, _ in collections.Counter(frame["comm"]).most_common(5)]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [*common, "others (7)"]
    counts = [len(points.get_offsets()) for points in ax.collections]
    assert counts[:5] == [collections.Counter(frame["comm"])[name] for name in common]


# All of them

EACH = {
    "rate": lambda plots, **more: plots.rate(**more),
    "hist": lambda plots, **more: plots.hist("took", **more),
    "top": lambda plots, **more: plots.top("comm", **more),
    "timeline": lambda plots, **more: plots.timeline(**more),
}


@pytest.mark.parametrize("kind", EACH)
@pytest.mark.parametrize("empty", [pd.DataFrame(), made(1).iloc[:0]], ids=["no columns", "no rows"])
def test_no_events_give_titled_axes_that_say_so(kind, empty):
    ax = EACH[kind](Plots(lambda: empty))
    assert "no events yet" in texts(ax)
    assert ax.get_title(loc="left")
    ax.figure.canvas.draw()


@pytest.mark.parametrize("kind", EACH)
@pytest.mark.parametrize("count", [1, 2, COUNT])
def test_the_axes_are_the_users_and_draw_without_a_warning(kind, count):
    _, mine = plt.subplots()
    before = dict(mpl.rcParams)
    assert EACH[kind](Plots(lambda: made(count)), ax=mine) is mine
    mine.figure.canvas.draw()
    assert dict(mpl.rcParams) == before
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize("kind", EACH)
def test_on_a_dark_ground_the_words_are_light(kind, frame):
    with plt.style.context("dark_background"):
        ax = EACH[kind](Plots(lambda: frame))
        assert ax.get_facecolor()[:3] == (0, 0, 0)
        words = [ax.title, ax.xaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels()]
        assert {mpl.colors.to_hex(word.get_color()) for word in words} == {"#ffffff"}


@pytest.mark.parametrize(
    "draw",
    [
        lambda plots: plots.rate(by="com"),
        lambda plots: plots.hist("com"),
        lambda plots: plots.hist("took", by="com"),
        lambda plots: plots.top("com"),
        lambda plots: plots.top("cpu", weight="com"),
        lambda plots: plots.timeline("com"),
        lambda plots: plots.timeline(colour="com"),
    ],
)
def test_an_unknown_column_is_refused_with_the_nearest_and_no_figure_is_left(frame, draw):
    with pytest.raises(EbpflabError, match="no column 'com'") as caught:
        draw(Plots(lambda: frame))
    assert caught.value.hint == "did you mean comm?"
    assert plt.get_fignums() == []


def test_events_without_times_are_refused_with_how_to_get_them(frame):
    with pytest.raises(EbpflabError, match="no column of times") as caught:
        Plots(lambda: frame.drop(columns="time")).rate()
    assert "bpf_ktime_get_ns" in caught.value.hint


def test_a_column_of_times_by_another_name_is_found(frame):
    assert rate.counts(frame.rename(columns={"time": "at"})).counts.sum() == COUNT


def test_each_call_draws_the_events_of_its_time():
    counts = iter([11, 13])
    plots = Plots(lambda: made(next(counts)))
    assert [texts(plots.rate())[0].split(",")[0] for _ in range(2)] == ["11 events", "13 events"]


@pytest.mark.parametrize(
    ("seconds", "labels", "where"),
    [
        (0.01, "0 2 4 6 8 10", "ms since 2023-11-14 22:13:20.123 UTC"),
        (600, "22:14 22:16", "time (UTC), from 2023-11-14 22:13:20"),
    ],
)
def test_short_plots_count_from_their_start_and_long_ones_show_the_clock(seconds, labels, where):
    _, ax = plt.subplots(figsize=style.SIZE)
    style.time_axis(ax, START, START + round(seconds * SECOND))
    ax.figure.canvas.draw()
    shown = [label.get_text() for label in ax.get_xticklabels()]
    assert set(labels.split()) <= set(shown)
    assert ax.get_xlabel() == where


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0, "time", "0 ns"),
        (999, "time", "999 ns"),
        (12_345_678, "time", "12.3 ms"),
        (4_711 * SECOND, "time", "4,711 s"),
        (512, "bytes", "512 B"),
        (3 << 20, "bytes", "3 MiB"),
        (1_234_567, "", "1,234,567"),
        (0.125, "", "0.125"),
    ],
)
def test_amounts_are_written_with_their_unit(value, kind, text):
    assert style.amount(value, kind) == text


def test_groups_of_equal_frequency_are_in_the_order_of_the_alphabet():
    found = data.groups(pd.Series(["b", "a", "c", "a", "b", "d"]), 3)
    assert found.names == ("a", "b", "c", "others (1)")
    assert found.codes.tolist() == [1, 0, 2, 0, 1, 3]


def test_what_happened_within_a_microsecond_is_still_drawn():
    events = pd.DataFrame({"time": pd.to_datetime(START + np.array([0, 3, 700]), utc=True), "cpu": [0, 1, 1]})
    for ax in (Plots(lambda: events).rate(), Plots(lambda: events).rate(every="1us"), Plots(lambda: events).timeline()):
        ax.figure.canvas.draw()
        assert texts(ax)[0].startswith("3 events")


def test_a_value_called_others_is_not_taken_for_the_rest():
    found = rate.counts(made(7).assign(comm="others"), by="comm")
    assert (found.names, found.others) == (("others",), 0)
    assert rate.counts(made(COUNT), by="comm", top=5).others == 7


def test_lists_are_counted_by_how_they_read():
    events = pd.DataFrame({"args": [["ls", "-l"], ["ls"], None, ["ls", "-l"]]})
    found = top.largest(events, "args")
    assert (found.names, found.amounts.tolist()) == (("['ls', '-l']", "['ls']", "(none)"), [2, 1, 1])


def test_sums_of_bytes_are_drawn_in_their_unit():
    events = pd.DataFrame({"comm": ["ls", "sh"], "bytes": np.array([3 << 20, 1 << 19], "u8")})
    ax = Plots(lambda: events).top("comm", weight="bytes")
    assert [bar.get_width() for bar in ax.patches] == [3, 0.5]
    assert ax.get_xlabel() == "sum of bytes, MiB"


def test_the_other_plots_are_called_the_same_way(frame):
    frame["verdict"] = np.where(frame["cpu"] == 3, "XDP_DROP", "XDP_PASS")
    _, (left, right) = plt.subplots(1, 2)
    plots = Plots(lambda: frame)
    assert plots.heatmap("took", bins=7, ax=left) is left
    assert plots.verdicts(size="bytes", ax=right) is right
    for draw in (plots.flame, plots.flame_svg):
        with pytest.raises(EbpflabError, match="kernell"):
            draw("kernell")
    for name in ("rate", "hist", "top", "timeline", "heatmap", "flame", "flame_svg", "verdicts"):
        assert f"{name}()" in repr(plots)


@pytest.mark.parametrize("kind", EACH)
def test_labels_do_not_overlap_even_on_narrow_axes(kind, frame):
    figure, ((ax, _), _) = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
    EACH[kind](Plots(lambda: frame), ax=ax)
    figure.canvas.draw()
    labels = [label for label in ax.get_xticklabels() if label.get_text()]
    low, high = sorted(ax.get_xlim())
    boxes = [label.get_window_extent() for label in labels if low <= label.get_position()[0] <= high]
    assert len(boxes) >= 2
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
