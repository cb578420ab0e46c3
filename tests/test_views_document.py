"""What a live view leaves in the notebook: the same as text and as HTML, readable anywhere, and never too large."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest
from plotted import RECORDINGS
from recorded import Stream, event_bytes, shapes

import ebpflab
from ebpflab.session import Stage
from ebpflab.views import Look
from ebpflab.views.document import LIMIT, twin
from ebpflab.views.history import History
from ebpflab.views.monitor import Cost, Monitor
from ebpflab.views.picture import Picture, draw
from ebpflab.views.rows import newest

EVIL = "<script>alert('1')</script>\"&amp;<img src=x onerror=y>"
ALLOWED = {"div", "span", "b", "table", "caption", "thead", "tbody", "tr", "th", "td", "img", "style"}


class Page(HTMLParser):
    """Elements, texts, cells and pictures of a page."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes, self.words, self.cells, self.images, self.inside = set(), set(), "", [], [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        if tag == "img":
            self.images.append(dict(attributes))
            self.words += f" {dict(attributes)['alt']} "
            return
        self.inside.append(tag)

    def handle_endtag(self, tag):
        assert self.inside.pop() == tag

    def handle_data(self, data):
        if "style" in self.inside:
            return
        self.words += f"{data} "
        if self.inside[-1] in ("td", "th"):
            self.cells.append(data)


class Holding:
    """What a twin needs of a session: names, stages, warnings and streams."""

    engine, state, name, _cell = "libbpf", "attached", "opens", None

    def __init__(self, **streams):
        self.streams, self.warnings, self._began = streams, (), time.time()
        self._stages, self._programs, self._links = [Stage("compile", 23.0, "cached")], [], []
        self._guests, self._lock, self._ended = set(), threading.RLock(), None


def holding(structs, *records, **more):
    streams = {}
    for name, sent in {"events": records, **more}.items():
        stream = Stream(structs=structs)
        stream.send(*sent)
        streams[name] = stream.events
    return Holding(**streams)


def made(session, look=None, picture=None, history=None, **changed):
    monitor = Monitor(session)
    numbers = monitor.look()
    monitor.close()
    for name, value in changed.items():
        object.__setattr__(numbers, name, value)
    return twin(session, look or Look(), numbers, picture, history)


def words(text):
    return sorted(re.findall(r"[\w.,%<>&'\"=/:-]*\w[\w.,%<>&'\"=/:-]*", text))


def beats(*rates):
    values = np.array(rates, np.float32)
    return History(values, values * 0, 0.2, 1e9)


@pytest.fixture
def replayed():
    with ebpflab.replay(next(p for p in RECORDINGS if p.stem == "latency"), speed=None) as session:
        session.events.df()
        yield session


def test_text_and_html_say_the_same(replayed):
    history = beats(*range(24))
    picture = draw(replayed, Look(plot="top", column="comm"))
    found = made(replayed, Look(rows=7), picture, history)
    page = Page(found.html())
    assert words(found.text().replace("[", " ").replace("]", " ")) == words(page.words)
    assert history.spark() in found.text()
    assert history.spark() in page.words


def test_the_rows_are_the_newest_of_the_stream_and_the_numbers_those_of_the_session(replayed):
    found = made(replayed, Look(rows=7))
    page = Page(found.html())
    rows = newest(replayed, Look(rows=7))
    assert [page.cells[i : i + 6] for i in range(len(page.cells) - 42, len(page.cells), 6)] == list(
        map(list, rows.cells)
    )
    assert f"7 of {len(replayed.events.df()):,} events, newest first" in page.words
    received = page.cells[page.cells.index("received") + 8]
    assert received == f"{replayed.events.stats()['received']:,}"


def test_the_look_chooses_the_order_and_the_filter(replayed):
    frame = replayed.events.df()
    longest = frame.sort_values("took", ascending=False, kind="stable")
    found = made(replayed, Look(rows=3, sort="took", filter="pid>0")).text()
    assert "by took, that match pid>0" in found
    first = found[found.index("by took") :].splitlines()[2].split()
    assert str(longest["pid"].iloc[0]) in first
    assert "no event matches pid<0" in made(replayed, Look(filter="pid<0")).text()


def test_a_filter_that_cannot_be_read_is_said_beside_the_rows(replayed):
    found = made(replayed, Look(rows=3, filter="nowhere=1")).text()
    assert newest(replayed, Look(filter="nowhere=1")).problem in found
    assert "3 of" in found


def test_the_plot_is_in_the_page_with_its_sentence_and_its_size(replayed):
    picture = draw(replayed, Look(plot="top", column="comm"))
    found = made(replayed, Look(rows=3), picture)
    (image,) = Page(found.html()).images
    kind, data = image["src"].split(",")
    assert (kind, base64.b64decode(data)) == ("data:image/png;base64", picture.png)
    assert (image["alt"], image["width"], image["height"]) == (picture.alt, str(picture.width), str(picture.height))
    assert f"\n  {picture.alt}" in found.text()
    assert "data:" not in found.text()


def test_why_there_is_no_plot_is_said(replayed):
    problem = draw(replayed, Look(plot="flame"))
    assert problem.problem
    found = made(replayed, Look(rows=3), problem)
    assert problem.problem in found.text()
    assert Page(found.html()).images == []


def test_what_programs_cost_is_shown_when_it_was_measured_the_dearest_first(replayed):
    cost = tuple(Cost(f"program_{n}", n, 1.0, 500.0, n / 1000) for n in range(23))
    assert "of a core" in made(replayed).text()
    assert "program_7" not in made(replayed, per_program=cost).text()
    found = made(replayed, per_program=cost, runs_per_s=23.0).text()
    assert found.index("program_22") < found.index("program_21")
    assert "2.2 %" in found
    assert "11 cheaper ones not shown" in found
    assert "program_7 " not in found


def test_the_stream_that_is_looked_at_comes_first_and_of_others_five_rows():
    session = holding(("shape",), *shapes(*["first"] * 23), more=shapes(*["other"] * 29))
    found = made(session, Look(stream="more", rows=11)).text()
    assert found.index("more: 11 of 29 events") < found.index("events: 5 of 23 events")
    assert found.count("other") == 11
    assert found.count("first") - found.count("newest first") == 5


def test_nothing_of_what_the_kernel_sent_becomes_markup():
    session = holding(("shape",), *shapes("<b>&\"'"))
    session.name = session.engine = EVIL
    session._stages = [Stage(EVIL, 1.0, EVIL)]
    found = made(session, Look(filter=EVIL), Picture(b"png", 10, 10, EVIL), problem=EVIL)
    page = Page(found.html())
    assert page.tags <= ALLOWED
    assert not {name for name in page.attributes if name.startswith("on")}
    assert found.html().count(escape(EVIL)) >= 5
    assert EVIL in found.text()
    assert "<script" not in found.html()
    assert [image["alt"] for image in page.images] == [EVIL]
    assert "<b>&\"'" in Page(made(session).html()).cells


def test_it_can_be_sent_whatever_the_names_are():
    session = holding(("shape",), *shapes("plain"))
    session.name = "not \udcff unicode"
    for shown in (made(session).text(), made(session).html()):
        assert "not ? unicode" in shown
        assert json.loads(json.dumps(shown).encode()) == shown


def bundle_size(found):
    # As the kernel sends it: JSON that leaves what is not ASCII as it is.
    return len(json.dumps({"text/plain": found.text(), "text/html": found.html()}, ensure_ascii=False).encode())


def noise(size):
    return Picture(np.random.default_rng(1).bytes(size), 760, 320, "the sentence of the plot")


def test_rows_give_way_when_there_is_much_else():
    streams = {f"stream_{n}": event_bytes(29, n) for n in range(7)}
    session = holding(("event",), *event_bytes(1009), **streams)
    found = made(session, Look(rows=200), noise(20_000))
    assert bundle_size(found) <= LIMIT + 100
    assert len(Page(found.html()).images) == 1
    many = int(re.search(r"events: (\d+) of 1,009 events", found.text())[1])
    assert 1 <= many < 50
    assert re.search(r"32 of \d\d columns", found.text())


def test_fifty_rows_are_the_most_and_a_plot_of_usual_size_leaves_room_for_twenty(replayed):
    assert "50 of" in made(replayed, Look(rows=200)).text()
    found = made(replayed, Look(rows=20), noise(20_000))
    assert "20 of" in found.text()
    assert bundle_size(found) <= LIMIT + 100


def test_a_plot_that_cannot_fit_is_told_in_its_sentence(replayed):
    found = made(replayed, Look(rows=20), noise(60_000))
    assert "plot: the sentence of the plot" in found.text()
    assert Page(found.html()).images == []
    assert "20 of" in found.text()


def test_it_is_small_enough_even_where_everything_is_long(replayed):
    cost = tuple(Cost("p" * 4000, 1, 1.0, 1.0, 0.1) for _ in range(12))
    found = made(replayed, Look(), None, None, per_program=cost, runs_per_s=1.0)
    assert bundle_size(found) <= LIMIT + 100
    assert found.parts[0].title == replayed.name


def test_a_session_without_events_or_streams_has_a_twin():
    assert "no events yet" in made(holding(("shape",))).text()
    assert "opens [attached] libbpf" in made(Holding()).text()


def test_it_says_when_that_was(replayed):
    said = re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", made(replayed).text())[0]
    at = time.mktime(time.strptime(said, "%Y-%m-%d %H:%M:%S UTC")) - time.timezone
    assert abs(at - time.time()) < 60
    replayed.close()
    assert "[closed]" in made(replayed).text()


@pytest.mark.parametrize("state", ["attached", "paused"])
def test_of_a_session_that_goes_on_it_says_that_it_was_so_then_and_in_no_bright_colour(replayed, state):
    going = made(replayed, state=state, tone="ok")
    assert re.search(rf"\[{state}\] .*, as of \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC", going.text())
    assert going.parts[0].tone == "muted"
    over = made(replayed, state="closed", tone="muted")
    assert "as of" not in over.text()


def test_it_can_be_read_without_our_style(replayed):
    plain = re.sub(r"<style>.*?</style>|<[^>]*>", "", made(replayed, Look(rows=3)).html(), flags=re.DOTALL)
    assert f"{replayed.name} {replayed.state} replay" in plain
