"""The plot of a live view: a small PNG of the newest events, from any thread, and what is said about it."""

from __future__ import annotations

import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from PIL import Image
from plotted import RECORDINGS, made
from recorded import Stream, points

import ebpflab
from ebpflab.plots import Plots, flow, histogram, style
from ebpflab.plots.sheet import DARK, LIGHT, Sheet
from ebpflab.views import PLOTS, Look, rows
from ebpflab.views.history import STEP, History
from ebpflab.views.picture import BYTES, ROWS, draw
from ebpflab.views.suiting import choices, column, suits

COUNT = 4999


def events_of(frame, stacks=("user",)):
    """What a picture needs of a stream: its newest rows, how many it holds, and which columns are stacks."""
    rules = [SimpleNamespace(name=name, rule=SimpleNamespace(kind="stack")) for name in stacks]

    class Events:
        types = SimpleNamespace(candidates=(SimpleNamespace(type=SimpleNamespace(columns=tuple(rules))),))

        def newest(self, rows):
            found = frame.iloc[-rows:].copy()
            found.attrs = {**frame.attrs, "held": len(frame)}
            return found

    return Events()


def holding(frame, state="attached", engine="libbpf", **options):
    return SimpleNamespace(name="s", state=state, engine=engine, streams={"events": events_of(frame, **options)})


def whole(count=COUNT):
    frame, random = made(count), np.random.default_rng(3)
    paths = [";".join(["_start", *(f"f{n}" for n in random.geometric(0.4, random.integers(1, 9)))]) for _ in range(40)]
    frame["user"] = pd.Categorical(random.choice(paths, count))
    frame["verdict"] = pd.Categorical(random.choice(["XDP_PASS", "XDP_DROP"], count, p=[0.7, 0.3]))
    return frame


@pytest.fixture(scope="module")
def frame():
    return whole()


@pytest.fixture
def session(frame):
    return holding(frame)


def history(rate, lost=()):
    rate = np.asarray(rate, np.float32)
    return History(rate, np.resize(np.asarray([*lost, 0], np.float32), len(rate)), STEP, 1_700_000_000.0)


def opened(png):
    image = Image.open(io.BytesIO(png))
    image.load()
    return image.convert("RGBA")


def on(ground, png):
    image = opened(png)
    page = Image.new("RGBA", image.size, ground)
    page.alpha_composite(image)
    return np.asarray(page.convert("RGB"))


def contrast(one, other):
    # WCAG 2.2, "contrast ratio" and "relative luminance".
    def luminance(colour):
        part = np.asarray(colour, float) / 255
        linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def drawn_words(figure):
    # All but the labels of ticks that lie beyond the end of their axis, which are there and not drawn.
    found = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            beyond = [axis.get_ticklabels()[i] for i, at in enumerate(axis.get_ticklocs()) if not low <= at <= high]
            found = [text for text in found if not any(text is other for other in beyond)]
    return found


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize(("width", "scale"), [(240, 1.0), (760, 1.0), (1013, 2.0)])
def test_a_picture_is_a_png_of_the_wanted_size_in_at_most_40_kb_and_not_blank(session, plot, width, scale):
    found = draw(session, Look(plot=plot, width=width, scale=scale))
    assert found.problem == ""
    assert 0 < len(found.png) <= BYTES == 40_000
    image = opened(found.png)
    assert (found.width, image.width) == (width, round(width * scale))
    assert abs(image.height - found.height * scale) <= 1
    assert 100 <= found.height <= 640
    assert image.getpixel((1, 1))[3] == 0  # the ground is the page's
    assert len(image.getcolors(1 << 20)) > 10


def test_a_picture_of_noise_gets_fewer_colours_and_dots_until_it_fits():
    random = np.random.default_rng(5)
    noise = made(60_013).assign(took=pd.to_timedelta(random.integers(-(10**9), 10**9, 60_013)))
    found = draw(holding(noise, stacks=()), Look(plot="timeline", column="took", width=2000, scale=3.0))
    assert len(found.png) <= BYTES
    assert (found.width, found.height) == (2000, 320)
    assert 500 < opened(found.png).width < 6000


def test_a_picture_that_outlives_its_page_has_a_ground_of_its_own(session):
    image = opened(draw(session, Look(plot="top"), ground="white").png)
    assert min(image.getpixel((1, 1))) >= 253
    assert image.getextrema()[3] == (255, 255)


@pytest.mark.parametrize("ink", [LIGHT, DARK], ids=["light", "dark"])
def test_all_words_stand_out_from_what_is_behind_them(frame, ink):
    lossy = flow.Flow(np.full(300, 1009.0), np.where(np.arange(300) // 50 == 2, 50.0, 0.0), 0.2, 1_700_000_000.0)
    for paint in (
        lambda sheet: histogram.draw(frame, "took", by="comm", ax=sheet),
        lambda sheet: Plots(lambda: frame).heatmap("took", ax=sheet),
        lambda sheet: Plots(lambda: frame).flame("user", ax=sheet),
        lambda sheet: Plots(lambda: frame).verdicts(size="bytes", ax=sheet),
        lambda sheet: flow.paint(sheet, lossy),
    ):
        sheet = Sheet(760, 3.0, ink)
        figure = paint(sheet).figure
        pixels = on(ink.ground, sheet.png(10**6))
        words = drawn_words(figure)
        assert len(words) >= 8
        for word in words:
            box = word.get_window_extent().padded(1)
            x0, x1, y0, y1 = (int(each) for each in (box.x0, box.x1, len(pixels) - box.y1, len(pixels) - box.y0))
            crop = pixels[max(y0, 0) : y1, max(x0, 0) : x1].reshape(-1, 3)
            colours, counts = np.unique(crop, axis=0, return_counts=True)
            behind = colours[counts.argmax()]
            assert max(contrast(colour, behind) for colour in colours) >= 4.5, word.get_text()


def test_the_fewest_events_of_a_heat_map_are_the_nearest_to_either_ground(session):
    light, dark = (draw(session, Look(plot="heatmap", dark=dark)).png for dark in (False, True))
    assert on("#ffffff", light).mean() > 128 > on("#111111", dark).mean()


# What is drawn


def test_the_words_for_a_history_are_what_numpy_counts():
    random = np.random.default_rng(7)
    counts = random.poisson(17, 60)
    found = draw(holding(whole(11)), Look(), history(counts / STEP))
    total, mean, highest = counts.sum(), round(counts.sum() / 12), round(counts.max() / STEP)
    assert found.alt == f"{total:,} events in 12 s, {mean} per second on average, highest {highest}; none lost"


def test_losses_of_a_history_are_spans_with_their_sums():
    lost = np.zeros(100)
    lost[[3, 4, 5, 70]] = [10, 35, 5, 65]
    found = flow.Flow(np.ones(100), lost, STEP, 1_700_000_000.0)
    assert found.gaps() == [(3, 6, 10), (70, 71, 13)]
    assert (found.events, found.losses) == (20, 23)
    ax = flow.paint(None, found)
    assert {"10 lost", "13 lost"} <= {text.get_text() for text in ax.texts}
    assert ax.get_xlabel() == "seconds before 2023-11-14 22:13:20 UTC"
    plt.close("all")


def test_without_a_history_of_its_own_the_rate_is_that_of_the_events_held(frame):
    over, quiet = holding(frame, state="closed"), history(np.zeros(50))
    assert draw(over, Look(), quiet).alt.startswith(f"{COUNT:,} events in ")
    assert draw(holding(frame), Look(), quiet).alt.startswith("0 events in 10 s, 0 per second")
    assert "comm: task0" in draw(holding(frame), Look(by="comm"), quiet).alt


def test_the_words_for_a_histogram_are_what_numpy_counts(session, frame):
    took = frame["took"].to_numpy().astype("i8")
    powers = 2 ** np.arange(40)
    sums = np.histogram(took, powers)[0]
    found = draw(session, Look(plot="hist")).alt
    assert found.startswith(f"{COUNT:,} values of took: median {np.quantile(took, 0.5) / 1000:.3g} us")
    assert f"most ({sums.max():,}) from" in found
    assert f"most ({sums.max():,}) from" in draw(session, Look(plot="heatmap")).alt


def test_the_words_for_names_are_their_counts(session, frame):
    counts = frame["comm"].value_counts()
    shares = [f"{name} {count:,} ({count / COUNT:.1%})".replace("%", " %") for name, count in counts.items()]
    alt = draw(session, Look(plot="top", column="comm")).alt
    assert alt == f"{COUNT:,} events by comm: {', '.join(shares[:3])}, 9 more; none lost"
    verdicts = frame["verdict"].value_counts()
    assert f"XDP_PASS {verdicts['XDP_PASS']:,} " in draw(session, Look(plot="verdicts")).alt


def test_the_words_for_stacks_are_the_functions_where_most_ended(session, frame):
    ends = frame["user"].str.split(";").str[-1].value_counts()
    alt = draw(session, Look(plot="flame")).alt
    assert alt.startswith(f"{COUNT:,} events in stacks; most in ")
    assert f"{ends.index[0]} {ends.iloc[0] / COUNT:.1%}".replace("%", " %") in alt


def test_of_many_events_the_newest_are_drawn_and_it_is_said_so():
    many = made(ROWS + 23)
    found = draw(holding(many, stacks=()), Look(plot="top", column="cpu"))
    newest = many["cpu"].iloc[-ROWS:].value_counts()
    assert f"{newest.index[0]} {newest.iloc[0]:,} (" in found.alt
    assert found.alt.endswith("newest 100,000 of 100,023, none lost")


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize("empty", [pd.DataFrame(), whole(1).iloc[:0]], ids=["no columns", "no rows"])
def test_no_events_are_a_picture_that_says_so(plot, empty):
    found = draw(holding(empty), Look(plot=plot))
    assert (found.problem, found.alt) == ("", "no events yet")
    assert found.png


def test_what_cannot_be_drawn_is_a_sentence(session, frame):
    assert (
        draw(session, Look(plot="hist", column="tok")).problem == "the events have no column 'tok'; did you mean took?"
    )
    assert "no column for plot 'flame'" in draw(holding(frame, stacks=()), Look(plot="flame")).problem
    assert "no stream 'evens'; did you mean events?" in draw(session, Look(stream="evens")).problem
    assert "no stream of events" in draw(SimpleNamespace(name="s", state="attached", streams={}), Look()).problem
    assert "no column of times" in draw(holding(frame.drop(columns="time")), Look(plot="timeline")).problem


# Columns


def test_columns_have_kinds_and_plots_that_suit(session, frame):
    found = choices(session, Look())
    assert dict(found) | {"user": "stack", "time": "time", "took": "duration", "comm": "text", "cpu": "number"} == dict(
        found
    )
    assert suits(found) == PLOTS
    assert suits((("pid", "number"), ("comm", "text"))) == ("rate", "hist", "top")
    assert suits(()) == ("rate",)
    assert choices(SimpleNamespace(name="s", streams={}), Look()) == ()


@pytest.mark.parametrize(
    ("plot", "chosen"),
    [
        ("hist", "took"), ("heatmap", "took"), ("top", "comm"), ("timeline", "cpu"), ("verdicts", "retval"),
        ("flame", ["user", "kernel"]),
    ],
)  # fmt: skip
def test_the_column_that_nobody_chose_is_the_one_that_suits(plot, chosen):
    found = (
        ("time", "time"), ("pid", "number"), ("cpu", "number"), ("bytes", "number"), ("took", "duration"),
        ("path", "text"), ("comm", "text"), ("retval", "number"), ("user", "stack"), ("kernel", "stack"),
    )  # fmt: skip
    assert column(plot, "", found) == chosen
    assert column(plot, "time", found) == chosen  # no plot draws that, so it was chosen for another one


def test_numbers_that_tell_things_apart_are_the_last_choice_for_a_histogram():
    ids = ("pid", "tgid", "dport", "cgroup_id", "ret", "cpu", "saddr", "flags")
    found = tuple((name, "number") for name in ids)
    assert column("hist", "", found) == "pid"
    assert column("hist", "", (*found, ("ns", "number"))) == "ns"
    assert column("hist", "cpu", (*found, ("ns", "number"))) == "cpu"


# Threads


def test_eight_threads_at_once_draw_the_bytes_that_one_draws(session):
    looks = [Look(plot=plot, by="comm" if plot in ("rate", "hist") else "", width=400) for plot in PLOTS] * 3
    alone = [draw(session, look).png for look in looks[: len(PLOTS)]] * 3
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda look: draw(session, look).png, looks)) == alone


def test_rcparams_are_the_users_before_during_and_after_a_drawing(session):
    with mpl.rc_context({"lines.linewidth": 7.0}):
        before, seen = dict(mpl.rcParams), []
        thread = threading.Thread(target=lambda: [draw(session, Look(plot=plot)) for plot in PLOTS])
        thread.start()
        while thread.is_alive():
            seen.append(dict(mpl.rcParams) == before)
        thread.join()
        assert len(seen) > 7
        assert all(seen)
        # What is set during a drawing stays.
        thread = threading.Thread(target=lambda: draw(session, Look(plot="hist")))
        thread.start()
        mpl.rcParams["lines.linewidth"] = 13.0
        thread.join()
        assert mpl.rcParams["lines.linewidth"] == 13.0


@pytest.mark.parametrize("plot", PLOTS)
def test_a_picture_does_not_take_its_colours_from_the_users_style(session, plot):
    open_before = plt.get_fignums()
    plain = draw(session, Look(plot=plot))
    with plt.style.context("dark_background"):
        assert draw(session, Look(plot=plot)) == plain
    assert plt.get_fignums() == open_before


def test_a_recording_is_drawn_as_it_was_recorded():
    path = next(each for each in RECORDINGS if each.stem == "latency")
    with ebpflab.replay(path, speed=None) as session:
        counts = session.events.df()["comm"].value_counts()
        found = draw(session, Look(plot="top"))
        assert found.alt.startswith(f"{counts.sum():,} events by comm: {counts.index[0]} {counts.iloc[0]:,} (")
    assert draw(session, Look(plot="top")) == found  # closed, and still there


def test_the_rate_of_a_recording_is_when_it_was_recorded_and_not_how_fast_it_was_played():
    path = next(each for each in RECORDINGS if each.stem == "latency")
    with ebpflab.replay(path, speed=None) as session:
        frame = session.events.df()
        first, last = frame["time"].min(), frame["time"].max()
        found = draw(session, Look(), history(np.full(10, 1e6)))  # as if all had been played within two seconds
    seconds = re.search(r"events in ([\d.,]+) (\w+),", found.alt)
    assert found.alt.startswith(f"{len(frame):,} events in ")
    span = float(seconds[1].replace(",", "")) * {"s": 1, "ms": 1e-3}[seconds[2]]
    assert span == pytest.approx((last - first).total_seconds(), rel=0.1)


def test_how_many_are_held_is_of_the_moment_in_which_the_newest_were_taken():
    stream = Stream(structs=("point",))
    stream.send(*points(*((n, n) for n in range(101))))
    session = SimpleNamespace(name="s", state="attached", engine="libbpf", streams={"events": stream.events})
    newest = stream.events.newest

    def slowly(rows):
        found = newest(rows)
        stream.send(*points(*((n, n) for n in range(53))))  # while a frame is made, more arrive
        return found

    stream.events.newest = slowly
    assert draw(session, Look(plot="top", column="x")).alt.endswith("1 (1.0 %), 98 more; none lost")
    assert rows.newest(session, Look(filter="x>=0")).held == 154


def test_names_that_no_font_can_write_are_drawn_without_a_warning():
    names = ["\u6f22\u5b57", "\U0001f600", "plain", "\u00e9t\u00e9"]
    frame = pd.DataFrame({"comm": pd.Categorical(names * 3), "time": pd.to_datetime(range(12), utc=True)})
    for look in (Look(plot="top", column="comm"), Look(by="comm"), Look(plot="timeline", column="comm")):
        found = draw(holding(frame, stacks=()), look)  # a warning is an error here
        assert (found.problem, found.png[:4]) == ("", b"\x89PNG")
    assert style.elided(names[0]) == "\ufffd\ufffd"
    assert style.elided(names[3]) == names[3]


def test_a_plot_can_be_followed_in_the_sessions_view():
    seen = {}
    plots = Plots(lambda: made(3), lambda **options: seen.update(options))
    plots.live("hist", "took", by="comm", rows=7)
    assert seen == {"plot": "hist", "column": "took", "by": "comm", "rows": 7}
    with pytest.raises(ebpflab.EbpflabError, match="no session") as caught:
        Plots(lambda: made(3)).live("top")
    assert "plot.top()" in caught.value.hint
