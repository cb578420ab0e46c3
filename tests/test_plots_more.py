"""Heat maps and verdicts: their numbers against numpy and Counter, their pictures as drawn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt

import ebpflab
from ebpflab.errors import EbpflabError
from ebpflab.plots import data, flame, heatmap, histogram, style, top, verdicts

ROOT = Path(__file__).resolve().parents[1]
START = 1_795_340_000_000_000_000


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def events(count=4999, **columns):
    rng = np.random.default_rng(17)
    at = START + np.sort(rng.integers(0, 7_000_000_000, count))
    return pd.DataFrame({"time": pd.to_datetime(at, utc=True), **columns})


def lognormal(count=4999):
    return np.random.default_rng(19).lognormal(10, 2, count).astype(np.int64)


def test_times_may_be_in_a_column_of_any_name():
    frame = events(7, took=range(7)).rename(columns={"time": "when"})
    assert heatmap.cells(frame, "took").counts.sum() == heatmap.cells(frame, "took", time="when").counts.sum() == 7


def in_numpy(frame, values, cells):
    # Exact: whole nanoseconds are too many digits for floats, so both count from the first edge.
    first = cells.time_edges[0].astype(np.int64)
    at = frame["time"].dt.tz_localize(None).to_numpy("M8[ns]").astype(np.int64) - first
    return np.histogram2d(at, values, (cells.time_edges.astype(np.int64) - first, cells.value_edges))[0]


def test_cells_of_durations_are_numpys_and_their_edges_powers_of_two():
    took = np.concatenate([lognormal(4993), [1, 2, 3, 4, 1 << 40, (1 << 40) - 1]])
    frame = events(took=pd.to_timedelta(took, unit="ns"))
    cells = heatmap.cells(frame, "took", bins=31)
    assert cells.value_edges.tolist() == [2.0**n for n in range(42)]
    assert (cells.counts == in_numpy(frame, took, cells)).all()
    assert cells.counts.shape == (31, 41)
    assert cells.counts.sum() == 4999


def test_cells_on_a_linear_scale_are_numpys_too():
    values = np.random.default_rng(23).normal(0, 10, 4999)
    frame = events(value=values)
    cells = heatmap.cells(frame, "value")
    assert np.allclose(np.diff(cells.value_edges), np.diff(cells.value_edges)[0])
    assert (cells.counts == in_numpy(frame, values, cells)).all()
    assert cells.counts.sum() == 4999


def test_whole_numbers_get_buckets_of_whole_numbers():
    cells = heatmap.cells(events(11, depth=np.arange(11) % 5), "depth", scale="linear")
    assert cells.value_edges.tolist() == [0, 1, 2, 3, 4, 5]
    assert cells.counts.sum(axis=0).tolist() == [3, 2, 2, 2, 2]


def test_a_value_of_0_has_a_bucket_below_the_powers_of_two():
    cells = heatmap.cells(events(7, bytes=np.array([0, 0, 0, 4, 7, 8, 8], np.uint64)), "bytes", bins=1)
    assert cells.value_edges.tolist() == [0, 4, 8, 16]
    assert cells.counts.tolist() == [[3, 2, 2]]


def test_every_event_is_in_the_bin_of_its_nanosecond():
    at = pd.to_datetime(START + np.array([0, 1, 1, 2, 2]), utc=True)
    cells = heatmap.cells(pd.DataFrame({"time": at, "value": [1] * 5}), "value")
    assert cells.time_edges.astype(np.int64).tolist() == [START, START + 1, START + 2, START + 3]
    assert cells.counts.sum(axis=1).tolist() == [1, 2, 2]


def test_events_without_a_time_or_value_are_left_out_and_counted():
    frame = events(13, took=pd.to_timedelta([None, *range(1, 13)], unit="us"))
    frame.loc[frame.index[1:3], "time"] = pd.NaT
    cells = heatmap.cells(frame, "took")
    assert (cells.left_out, cells.counts.sum()) == (3, 10)
    ax = heatmap.draw(frame, "took")
    assert "10 events, columns of" in texts(ax)[0]
    assert "3 without a time or value" in texts(ax)[0]


def test_what_a_heat_map_cannot_draw_is_said():
    frame = events(5, took=[-1, 1, 2, 3, 4], comm=list("abcde"))
    with pytest.raises(EbpflabError, match="did you mean took"):
        heatmap.draw(frame, "tok")
    with pytest.raises(EbpflabError, match="did you mean time"):
        heatmap.draw(frame, "took", time="tme")
    with pytest.raises(EbpflabError, match=r'goes down to -1(.|\n)*scale="linear"'):
        heatmap.draw(frame, "took", scale="log2")
    with pytest.raises(EbpflabError, match="no scale 'log'"):
        heatmap.draw(frame, "took", scale="log")
    with pytest.raises(EbpflabError, match="holds no numbers"):
        heatmap.draw(frame, "comm")
    with pytest.raises(EbpflabError, match="bins=0"):
        heatmap.draw(frame, "took", bins=0)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_a_heat_map_draws_its_cells_and_leaves_empty_ones_transparent():
    frame = events(took=pd.to_timedelta(lognormal(), unit="ns"))
    ax = heatmap.draw(frame, "took", bins=29)
    (mesh,) = ax.collections
    drawn, cells = mesh.get_array(), heatmap.cells(frame, "took", bins=29)
    assert (drawn.filled(0) == cells.counts.T).all()
    assert (drawn.mask == (cells.counts.T == 0)).all()
    assert ax.get_title("left") == "took over time"
    ax.figure.canvas.draw()
    assert "100 us" in [label.get_text() for label in ax.get_yticklabels()]
    assert ax.get_ylim() == (cells.value_edges[0], cells.value_edges[-1])
    assert mesh.colorbar.ax.get_ylabel() == "events"


def test_the_fewest_events_are_the_nearest_to_the_ground_whatever_its_colour():
    def brightness(dark):
        with plt.style.context("dark_background" if dark else "default"):
            mesh = heatmap.draw(events(took=lognormal()), "took").collections[0]
        return [sum(mesh.get_cmap()(place)[:3]) for place in (0.0, 1.0)]

    few, many = brightness(dark=False)
    assert few > many
    few, many = brightness(dark=True)
    assert few < many


def test_a_recording_is_drawn_as_it_was_recorded():
    with ebpflab.replay(ROOT / "notebooks/recordings/00_quickstart/latency.parquet", speed=None) as session:
        frame = session.events.df()
        cells = heatmap.cells(frame, "took")
        took = frame["took"].to_numpy("m8[ns]").astype(np.int64)
        assert cells.counts.sum() == len(frame) > 1000
        assert cells.counts.sum(axis=0).tolist() == np.histogram(took, cells.value_edges)[0].tolist()
        heatmap.draw(frame, "took").figure.canvas.draw()


@pytest.mark.parametrize("frame", [pd.DataFrame(), events(0, took=[], stack=[], verdict=[])])
def test_an_empty_frame_gives_titled_axes_that_say_so(frame):
    for ax in (heatmap.draw(frame, "took"), flame.draw(frame, "stack"), verdicts.draw(frame)):
        assert "no events yet" in texts(ax)
        assert ax.get_title("left")
    assert "no events yet" in flame.svg(frame, "stack")
    assert "<script" not in flame.svg(frame, "stack")


def test_verdicts_are_counted_as_a_counter_counts_them():
    rng = np.random.default_rng(37)
    frame = pd.DataFrame({
        "verdict": pd.Categorical(rng.choice(["XDP_PASS", "XDP_DROP", "XDP_TX", ""], 997, p=[0.6, 0.3, 0.09, 0.01])),
        "length": rng.integers(60, 1500, 997),
    })  # fmt: skip
    found, expected = verdicts.counts(frame, size="length"), Counter(frame["verdict"])
    assert dict(zip(found.names, found.packets.tolist(), strict=True)) == {
        name or "(none)": count for name, count in expected.items()
    }
    assert found.packets.tolist() == sorted(expected.values(), reverse=True)
    sums = {v: int(frame["length"][frame["verdict"] == v].sum()) for v in expected}
    assert [sums["" if name == "(none)" else name] for name in found.names] == found.sizes.tolist()


def test_rows_may_stand_for_many_packets():
    frame = pd.DataFrame({"action": ["drop", "pass", "drop", None], "n": [2, 11, 3, 7], "verdict": [1, 2, 1, 2]})
    found = verdicts.counts(frame, "action", packets="n")
    assert (found.names, found.packets.tolist()) == (("pass", "(none)", "drop"), [11, 7, 5])
    assert found.sizes is None
    assert verdicts.counts(frame).names == ("1", "2")  # numbers, equally many


def test_of_many_verdicts_the_rest_is_one_bar():
    frame = pd.DataFrame({"verdict": [n for n in range(19) for _ in range(19 - n)]})
    found = verdicts.counts(frame)
    assert (len(found.names), found.names[-1]) == (16, "others (4)")
    assert found.packets.tolist() == [*range(19, 4, -1), 4 + 3 + 2 + 1]


def test_bars_of_verdicts_tell_their_numbers_parts_and_bytes():
    frame = pd.DataFrame({"verdict": ["XDP_DROP"] * 3 + ["XDP_PASS"], "length": [512] * 4})
    ax = verdicts.draw(frame, size="length")
    assert [bar.get_width() for bar in ax.patches] == [3, 1]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["XDP_DROP", "XDP_PASS"]
    assert {"3  (75 %), 1.5 KiB", "1  (25 %), 512 B", "4 packets, 2 KiB"} <= set(texts(ax))
    assert ax.get_xlabel() == "packets"
    assert ax.patches[0].get_facecolor() != ax.patches[1].get_facecolor()


def test_verdicts_that_cannot_be_drawn_are_said():
    frame = pd.DataFrame({"verdict": ["a"], "change": [-1]})
    with pytest.raises(EbpflabError, match="did you mean verdict"):
        verdicts.draw(frame, "verdit")
    with pytest.raises(EbpflabError, match="goes down to -1"):
        verdicts.draw(frame, packets="change")


# Numbers as large as there are

MOST = 2**64 - 1


def test_sums_that_64_bits_do_not_hold_are_floats_and_never_negative():
    frame = events(3, comm=["a", "b", "a"], bytes=np.array([MOST, 10, 2**63], np.uint64))
    assert top.largest(frame, "comm", weight="bytes").amounts.tolist() == [float(MOST) + 2.0**63, 10.0]
    assert verdicts.counts(frame, "comm", size="bytes").sizes.tolist() == [float(MOST) + 2.0**63, 10.0]
    assert flame.folded(frame, "comm", "bytes")[0].total == float(MOST) + 2.0**63
    spans = events(3, comm=["a", "a", "b"], took=pd.to_timedelta([2**62, 2**62, 1]))
    assert top.largest(spans, "comm", weight="took").amounts.tolist() == [2.0**63, 1.0]
    small = events(3, comm=["a", "a", "b"], bytes=np.array([2**53, 1, 7], np.uint64))
    assert top.largest(small, "comm", weight="bytes").amounts.tolist() == [2**53 + 1, 7]  # these are exact


def test_durations_in_large_units_do_not_wrap():
    for value in (2**62, 2**63):
        found = data.numbers(events(2, lat_us=np.array([value, 1], np.uint64)), "lat_us")
        assert found.values.tolist() == [value * 1000.0, 1000.0]
    assert data.numbers(events(1, lat_us=[17]), "lat_us").values.dtype == np.int64
    many = events(2, lat_us=np.array([2**53, 2**53], np.uint64))  # only their sum is too large
    assert data.numbers(many, "lat_us").values.tolist() == [2**53 * 1000] * 2


@pytest.mark.parametrize("log2", ["auto", True, False])
def test_values_that_no_bucket_can_hold_are_a_sentence(log2):
    for values in ([-1.7e308, 1.7e308], [1.7e308], [0.0, -1e301]):
        with pytest.raises(EbpflabError, match="buckets have no such edges"):
            histogram.counts(pd.DataFrame({"q": values}), "q", log2=log2)


@pytest.mark.parametrize("values", [[1e20], [1e300, 1e299], [2.0**63, 2.0**63 + 2048], [-1e18] * 3, [1e-300, 0.0]])
@pytest.mark.parametrize("bins", [None, 7])
def test_large_values_that_lie_together_have_buckets_that_floats_can_tell(values, bins):
    frame = pd.DataFrame({"q": values})
    found = histogram.counts(frame, "q", log2=False, bins=bins)
    assert (np.diff(found.edges) > 0).all()
    assert found.counts.sum() == len(values)
    assert found.edges[0] <= min(values) <= max(values) <= found.edges[-1]
    histogram.draw(frame, "q", log2=False, bins=bins).figure.canvas.draw()


def test_large_numbers_have_as_many_digits_as_they_know():
    assert [style.amount(n) for n in (999_999_999_999_999.0, 1e15, 2.0**64, -1.7e308)] == [
        "999,999,999,999,999",
        "1e+15",
        "1.84e+19",
        "-1.7e+308",
    ]
    assert style.amount(float("inf")) == "inf"
