"""Histograms of log2 slots, and maps watched over time."""

from __future__ import annotations

import threading
import time

import kernel_has
import matplotlib as mpl
import pytest
from cells_maps import HISTOGRAMS, TABLES

from ebpflab.errors import MapError, SessionError

mpl.use("agg")


@pytest.fixture
def histograms(load):
    return load(HISTOGRAMS, attach=False).maps


@pytest.fixture
def session(load):
    if reason := kernel_has.absent("syscall"):
        pytest.skip(f"not in this kernel: {reason}")
    return load(TABLES, attach=False)


# --- Histograms --------------------------------------------------------------------------------------------------


def log2l(value):
    """The slot of a value, as libbpf-tools' bits.bpf.h computes it: the place of the highest bit."""
    return max(value.bit_length() - 1, 0)


def test_every_value_lies_between_the_bounds_of_its_slot(histograms):
    values = [0, 1, 2, 3, 4, 7, 8, 1023, 1024, 2**31, 2**63, 2**64 - 1]
    for value in values:
        slot = log2l(value)
        histograms["latency_hist"][slot] += 1
    frame = histograms["latency_hist"].hist()
    assert list(frame.columns) == ["low", "high", "count"]
    assert (len(frame), frame["count"].sum()) == (64, len(values))
    for value in values:
        row = frame.loc[log2l(value)]
        assert row["low"] <= value <= row["high"]
    assert frame["low"].tolist()[:4] == [0, 2, 4, 8]
    assert frame["high"].tolist()[:4] == [1, 3, 7, 15]
    assert frame["high"].tolist()[-1] == 2**64 - 1


def test_a_histogram_for_each_key_has_the_columns_of_the_key(histograms):
    by_name = histograms["by_name"]
    by_name["bash"] = {"slots": {0: 2, 10: 7}}
    by_name[("zsh",)] = {"slots": {3: 5}}
    frame = by_name.hist()
    assert list(frame.columns) == ["comm", "low", "high", "count"]
    counted = frame[frame["count"] > 0].sort_values(["comm", "low"])
    assert counted.astype({"comm": str}).to_numpy().tolist() == [
        ["bash", 0, 1, 2],
        ["bash", 1024, 2047, 7],
        ["zsh", 8, 15, 5],
    ]
    assert len(frame) == 11 + 4


def test_counts_of_cpus_are_added(histograms):
    cpus = len(histograms["hists"][0])
    histograms["hists"][4] = [11] * cpus
    histograms["dist"][7] = [(1,) * 8] * cpus
    assert histograms["hists"].hist()["count"].tolist() == [0, 0, 0, 0, 11 * cpus]
    assert histograms["dist"].hist()["count"].tolist() == [cpus] * 8
    histograms["one"][0] = {"slots": {2: 9}}
    assert histograms["one"].hist().to_dict("list") == {"low": [0, 2, 4], "high": [1, 3, 7], "count": [0, 0, 9]}


@pytest.mark.parametrize("name", ["counts", "big_hist", "hist_of_text"])
def test_what_is_no_histogram_says_so(histograms, name):
    with pytest.raises(MapError, match=f"{name} is no histogram of log2 slots") as caught:
        histograms[name].hist()
    assert "slots[27]" in caught.value.hint
    with pytest.raises(MapError):
        histograms[name].plot()


def test_a_histogram_is_printed_and_drawn(histograms):
    histograms["latency_hist"].update({9: 3, 10: 12, 11: 6})
    lines = repr(histograms["latency_hist"]).splitlines()[1:]
    assert [line.split("|")[0].split() for line in lines] == [
        ["[512,", "1K)", "3"],
        ["[1K,", "2K)", "12"],
        ["[2K,", "4K)", "6"],
    ]
    assert [line.count("@") for line in lines] == [10, 40, 20]
    axes = histograms["latency_hist"].plot(units="us")
    assert [bar.get_height() for bar in axes.patches] == [3, 12, 6]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["512", "1K", "2K"]
    assert axes.get_xlabel() == "at least, us"
    mpl.pyplot.close(axes.figure)


def test_one_histogram_of_many_is_drawn_by_its_key(histograms):
    histograms["by_name"]["bash"] = {"slots": {0: 2}}
    histograms["by_name"]["zsh"] = {"slots": {0: 5}}
    for key, height in ((None, 7), ("zsh", 5)):
        axes = histograms["by_name"].plot(key=key)
        assert [bar.get_height() for bar in axes.patches] == [height]
        mpl.pyplot.close(axes.figure)
    with pytest.raises(KeyError):
        histograms["by_name"].plot(key="fish")


# --- Over time -------------------------------------------------------------------------------------------------------


def test_readings_lie_on_a_grid_and_hold_what_was_there(session):
    hits = session.maps["hits"]
    begin = time.time()
    with hits.watch(0.05, for_=0.5) as watch:
        for _ in range(29):
            session.test_run("hit")
            time.sleep(0.01)
        assert not watch.wait(10).running
    frame = watch.df()
    assert list(frame.columns) == ["time", "key", "value"]
    assert str(frame["time"].dt.tz) == "UTC"
    times = frame["time"].drop_duplicates()
    assert 7 <= len(times) == len(watch) <= 11
    assert abs(times.iloc[0].timestamp() - begin) < 0.5
    offsets = (times - times.iloc[0]).dt.total_seconds() / 0.05
    assert (offsets - offsets.round()).abs().max() < 0.5  # late by a busy machine, never adding up
    counted = frame[frame["key"] == 0]["value"]
    assert counted.is_monotonic_increasing
    assert counted.iloc[-1] == 29


def test_rates_are_differences_by_seconds(session):
    counts = session.maps["counts"]
    counts.update({1: 2**63, 2: 5})
    watch = counts.watch(0.1)
    time.sleep(0.05)
    counts[1] = 2**63 + 1009  # more digits than a float has
    del counts[2]
    counts[3] = 7
    time.sleep(0.1)
    counts[3] = 3
    time.sleep(0.1)
    watch.stop()
    frame, rates = watch.df(), watch.rate()
    assert not watch.running
    times = frame["time"].drop_duplicates().tolist()
    seconds = (times[1] - times[0]).total_seconds()
    first = rates[rates["time"] == times[1]]
    assert first["key"].tolist() == [1]
    assert first["value"].iloc[0] == pytest.approx(1009 / seconds)
    second = rates[rates["time"] == times[2]].set_index("key")["value"]
    assert second[1] == 0
    assert second[3] == pytest.approx(-4 / (times[2] - times[1]).total_seconds())
    axes = watch.plot(rate=True)
    assert {line.get_label() for line in axes.lines} == {"1", "3"}
    assert axes.get_xlabel().split(" since ")[0] in ("s", "ms")  # times that short are told from the first
    mpl.pyplot.close(axes.figure)


def test_a_watch_keeps_the_last_readings_and_ends_with_the_session(session):
    session.maps["counts"][1] = 17
    watch = session.maps["counts"].watch(0.005, keep=7)
    time.sleep(0.2)
    assert len(watch) == 7
    assert watch.running
    session.close()
    assert not watch.running
    assert len(watch.df()) == 7
    assert "7 readings" in repr(watch)
    assert not [t for t in threading.enumerate() if t.name.startswith("ebpflab-watch")]
    with pytest.raises(SessionError):
        session.maps["counts"].watch(1)


@pytest.mark.parametrize("options", [{"interval": 0}, {"interval": -1}, {"interval": float("nan")}, {"keep": 0}])
def test_an_interval_that_cannot_be_is_refused(session, options):
    with pytest.raises(MapError, match="cannot be"):
        session.maps["counts"].watch(**options)
