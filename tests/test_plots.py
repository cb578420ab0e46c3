"""Rates, histograms and most frequent values: what is drawn is what numpy counts."""

from __future__ import annotations

import collections

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.dates import date2num
from plotted import COUNT, RECORDINGS, SECOND, captured, made, nanoseconds, texts

from ebpflab.errors import EbpflabError
from ebpflab.plots import Plots, histogram, rate, top


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture
def frame():
    return made(COUNT)


# Rate


def test_the_bins_of_a_rate_hold_what_numpy_counts_in_them(frame):
    found = rate.counts(frame)
    expected, _ = np.histogram(nanoseconds(frame["time"]), found.edges)
    assert found.counts.tolist() == [expected.tolist()]
    assert found.counts.sum() == COUNT
    assert found.width == SECOND
    assert found.start % found.width == 0


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_the_rate_of_a_recording_counts_every_event_by_its_value(path):
    events = captured(path)
    found = rate.counts(events, by="comm", top=100)
    at = nanoseconds(events["time"])
    for name, row in zip(found.names, found.counts, strict=True):
        mine = at[(events["comm"] == name).to_numpy()]
        assert row.tolist() == np.histogram(mine, found.edges)[0].tolist()
    assert found.counts.sum() == len(events)
    assert set(found.names) == set(events["comm"])


def test_a_rate_tells_the_most_frequent_values_apart_and_adds_up_the_others(frame):
    found = rate.counts(frame, by="comm", top=3)
    common = collections.Counter(frame["comm"]).most_common()
    assert found.names == (*[name for name, _ in common[:3]], "others (9)")
    assert found.counts.sum(axis=1).tolist() == [*[n for _, n in common[:3]], sum(n for _, n in common[3:])]


@pytest.mark.parametrize(
    ("span", "events", "width"),
    [
        (90 * SECOND, 10_007, SECOND),
        (20_000, 5, 1_000),
        (0, 1, SECOND),
        (3600 * SECOND, 1_000_003, 60 * SECOND),
        (7 * SECOND, 11, SECOND // 2),
    ],
)
def test_bins_have_round_widths_that_suit_the_span(span, events, width):
    assert rate.bin_width(span, events) == width


def test_years_of_events_still_give_at_most_a_hundred_bins():
    span = 3 * 365 * 86_400 * SECOND
    width = rate.bin_width(span, 10**6)
    assert span / 100 <= width < span / 50


def test_the_width_of_bins_can_be_given_as_seconds_or_text(frame):
    assert rate.counts(frame, every=0.5).width == rate.counts(frame, every="500ms").width == SECOND // 2


@pytest.mark.parametrize("every", ["soon", 0, -1, "1ns", "nan"])
def test_a_width_that_cannot_be_is_refused_with_a_hint(frame, every):
    with pytest.raises(EbpflabError) as caught:
        rate.counts(frame, every=every)
    assert caught.value.hint


def test_the_axis_shows_events_per_second_whatever_the_bins_are(frame):
    ax = Plots(lambda: frame).rate(every=0.5)
    (steps,) = ax.patches
    assert steps.get_data().values.tolist() == (2 * rate.counts(frame, every=0.5).counts[0]).tolist()
    assert ax.get_ylabel() == "events/s"
    assert "10,007 events, bins of 500 ms" in texts(ax)


def test_gaps_are_shaded_and_say_what_was_lost(frame):
    frame.attrs |= {"lost": 4711, "gaps": [["2023-11-14T22:13:40Z", "2023-11-14T22:13:44Z", 4000]]}
    frame.attrs["gaps"].append(["2023-11-14T22:14:10.250Z", "2023-11-14T22:14:10.750Z", 711])
    ax = Plots(lambda: frame).rate()
    shades = [patch for patch in ax.patches if isinstance(patch, mpl.patches.Rectangle)]
    ends = [(shade.get_x(), shade.get_x() + shade.get_width()) for shade in shades]
    # A time in whole seconds may be any within it; one in milliseconds is what it says.
    expected = [("22:13:40", "22:13:45"), ("22:14:10.250", "22:14:10.750")]
    days = [[date2num(np.datetime64(f"2023-11-14T{text}")) for text in pair] for pair in expected]
    assert np.allclose(ends, days, rtol=0, atol=1e-3 / 86_400)
    assert {"4,000 lost", "711 lost", "10,007 events, bins of 1 s, 4,711 lost"} <= set(texts(ax))


def test_a_rate_reaches_to_the_end_of_a_loss_after_the_last_event(frame):
    frame.attrs["gaps"] = [["2023-11-14T22:16:00Z", "2023-11-14T22:17:00Z", 13]]
    found = rate.counts(frame)
    assert found.edges[-1] > np.datetime64("2023-11-14T22:17:00", "ns").astype("i8")
    assert found.counts.sum() == COUNT


def test_events_without_a_time_are_counted_apart(frame):
    frame.loc[[3, 5, 8], "time"] = pd.NaT
    found = rate.counts(frame, by="comm")
    assert (found.counts.sum(), found.undated) == (COUNT - 3, 3)


# Histogram


def test_log2_buckets_hold_what_numpy_counts_between_powers_of_two(frame):
    found = histogram.counts(frame, "bytes")
    assert found.log2
    assert found.edges.tolist() == [0, *(2.0**i for i in range(23))]
    assert found.counts[0].tolist() == np.histogram(frame["bytes"], found.edges)[0].tolist()
    assert found.counts[0][0] == (frame["bytes"] == 0).sum()


def test_the_largest_integers_are_in_the_right_buckets():
    numbers = [0, 1, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1]
    found = histogram.counts(pd.DataFrame({"x": np.array(numbers, "u8")}), "x", log2=True)
    filled = {int(found.edges[i]): int(n) for i, n in enumerate(found.counts[0]) if n}
    expected = collections.Counter(1 << (n.bit_length() - 1) if n else 0 for n in numbers)
    assert filled == expected


def test_durations_are_in_powers_of_two_of_a_unit_that_suits_them(frame):
    found = histogram.counts(frame, "took")
    took = frame["took"].to_numpy().astype("i8")
    assert (found.log2, found.kind, found.unit, found.scale) == (True, "time", "ns", 1)
    assert found.counts[0].tolist() == np.histogram(took, found.edges * found.scale)[0].tolist()
    assert (found.median, found.p99) == (np.quantile(took, 0.5), np.quantile(took, 0.99))


def test_numbers_called_us_are_durations_in_microseconds_at_least(frame):
    found = histogram.counts(frame, "wait_us")
    assert (found.kind, found.unit, found.scale) == ("time", "us", 1000)
    assert found.counts[0].tolist() == np.histogram(frame["wait_us"], found.edges)[0].tolist()


def test_values_that_lie_close_together_get_equal_buckets_of_a_round_width():
    pids = pd.DataFrame({"pid": np.array([4001, 4003, 4003, 4019, 4057, 4211], "u4")})
    found = histogram.counts(pids, "pid")
    assert not found.log2
    assert set(np.diff(found.edges)) == {10.0}
    assert found.counts[0].tolist() == np.histogram(pids["pid"], found.edges)[0].tolist()


def test_negative_numbers_get_equal_buckets_and_log2_says_that_it_leaves_them_out(frame):
    assert not histogram.counts(frame, "change").log2
    found = histogram.counts(frame, "change", log2=True)
    below = int((frame["change"] < 0).sum())
    assert (found.negative, found.counts.sum()) == (below, COUNT - below)
    positive = frame["change"][frame["change"] >= 0]
    assert found.counts[0].tolist() == np.histogram(positive, found.edges)[0].tolist()
    assert any(f"{below:,} below 0 left out" in text for text in texts(Plots(lambda: frame).hist("change", log2=True)))


@pytest.mark.parametrize("bins", [1, 7, 101])
def test_equal_buckets_are_those_of_numpy(frame, bins):
    found = histogram.counts(frame, "change", bins=bins)
    expected, edges = np.histogram(frame["change"], bins)
    assert np.allclose(found.edges, edges)
    assert found.counts[0].tolist() == expected.tolist()


@pytest.mark.parametrize("values", [[5], [5, 5, 5], [0], [0.5], [-3], [0, 0]])
@pytest.mark.parametrize("log2", ["auto", True, False])
def test_one_value_is_a_histogram_too(values, log2):
    events = pd.DataFrame({"x": values})
    if log2 is True and values[0] < 0:
        with pytest.raises(EbpflabError, match="below 0"):
            histogram.counts(events, "x", log2=log2)
        return
    found = histogram.counts(events, "x", log2=log2)
    assert found.counts.sum() == len(values)
    (bucket,) = np.flatnonzero(found.counts[0])
    assert found.edges[bucket] <= values[0] < found.edges[bucket + 1]


def test_a_histogram_by_a_column_adds_up_to_the_whole(frame):
    whole, parts = histogram.counts(frame, "took"), histogram.counts(frame, "took", by="comm", top=4)
    assert parts.counts.sum(axis=0).tolist() == whole.counts[0].tolist()
    for name, row in zip(parts.names[:4], parts.counts, strict=False):
        mine = frame["took"][frame["comm"] == name].to_numpy().astype("i8")
        assert row.tolist() == np.histogram(mine, parts.edges)[0].tolist()


def test_missing_values_are_in_no_bucket_and_are_told():
    events = pd.DataFrame({"took": pd.to_timedelta([5, None, 7, None, None], unit="us")})
    found = histogram.counts(events, "took")
    assert (found.counts.sum(), found.missing) == (2, 3)
    assert any("3 without a value" in text for text in texts(Plots(lambda: events).hist("took")))


def test_log2_ticks_are_the_powers_and_sizes_have_units(frame):
    ax = Plots(lambda: frame).hist("bytes")
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels[:4] == ["0", "1\nbytes", "2", "4"]
    assert labels[11:14] == ["1\nKiB", "2", "4"]
    assert (ax.get_xscale(), len(ax.collections[0].get_paths())) == ("log", 23)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"log2": "maybe"}, "'maybe'"),
        ({"bins": 0}, "bins=0"),
        ({"bins": 7, "log2": True}, "no meaning"),
    ],
)
def test_options_of_a_histogram_that_cannot_be_are_refused(frame, options, what):
    with pytest.raises(EbpflabError, match=what):
        Plots(lambda: frame).hist("took", **options)


def test_a_histogram_of_names_is_refused_with_what_counts_them(frame):
    with pytest.raises(EbpflabError, match="no numbers") as caught:
        Plots(lambda: frame).hist("comm")
    assert "top" in caught.value.hint


# Top


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_the_most_frequent_values_of_a_recording_are_those_of_a_counter(path):
    events = captured(path)
    column = "path" if "path" in events else "file"
    found = top.largest(events, column, n=7)
    expected = sorted(collections.Counter(events[column]).items(), key=lambda item: (-item[1], item[0]))
    assert list(zip(found.names, found.amounts.tolist(), strict=True)) == expected[:7]
    assert (found.others, found.distinct) == (sum(n for _, n in expected[7:]), len(expected))


def test_the_largest_sums_are_exact_and_in_order(frame):
    found = top.largest(frame, "comm", n=5, weight="bytes")
    sums = collections.Counter()
    for name, size in zip(frame["comm"], frame["bytes"].tolist(), strict=True):
        sums[name] += size
    assert list(zip(found.names, found.amounts.tolist(), strict=True)) == sums.most_common(5)
    assert found.total == sum(sums.values())


def test_a_missing_value_is_a_value_of_its_own():
    found = top.largest(pd.DataFrame({"comm": ["sh", None, None, "ls", None]}), "comm")
    assert (found.names, found.amounts.tolist()) == (("(none)", "ls", "sh"), [3, 1, 1])


def test_bars_carry_their_counts_and_the_others_are_told():
    events = pd.DataFrame({"comm": ["ls"] * 1201 + ["$sh$"] * 53 + ["cat"] * 7})
    ax = Plots(lambda: events).top("comm", n=2)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ls", r"\$sh\$"]
    assert texts(ax)[:2] == ["1,201 (95.2 %)", "53 (4.2 %)"]
    assert "3 values, total 1,261; others (1): 7" in texts(ax)
    assert ax.yaxis_inverted()


def test_sums_of_durations_are_drawn_in_their_unit():
    events = pd.DataFrame({"comm": ["ls", "sh"], "took": pd.to_timedelta([3, 5], unit="ms")})
    ax = Plots(lambda: events).top("comm", weight="took")
    assert [bar.get_width() for bar in ax.patches] == [5, 3]
    assert ax.get_xlabel() == "sum of took, ms"
    assert texts(ax)[0] == "5 ms (62.5 %)"
