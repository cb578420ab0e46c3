"""Logs of refused programs: kept, found again, looked through."""

import os
import time

import pytest

from ebpflab import refusals
from ebpflab.errors import CellError


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(refusals.cache, "directory", lambda *names: tmp_path.joinpath(*names[1:]))


LOG = "\n".join(f"{number}: R{number % 7}=scalar()" for number in range(1, 7 * 59 + 1))


def test_the_log_is_kept_whole_and_found_by_its_sessions_name():
    path = refusals.keep("opens", LOG)
    assert path.read_text() == LOG
    assert refusals.verifier_log("opens").text == LOG


def test_without_a_name_it_is_the_log_of_the_last_refusal():
    old = refusals.keep("first", "one")
    refusals.keep("second", "two")
    hour_ago = time.time() - 3600
    os.utime(old, (hour_ago, hour_ago))
    assert refusals.names() == ("first", "second")
    assert refusals.verifier_log().text == "two"
    refusals.keep("first", "three")
    assert refusals.verifier_log().text == "three"


def test_words_choose_lines_and_keep_their_numbers():
    refusals.keep("opens", LOG)
    found = refusals.verifier_log("opens").find("R3=")
    assert [number for number, _ in found.lines()] == list(range(3, 7 * 59 + 1, 7))
    assert [number for number, _ in found.find(" R3", "94: ").lines()] == [94]  # 294 is in R0


def test_a_long_log_is_shown_in_sixty_lines_that_say_how_many_there_are():
    refusals.keep("opens", LOG + "\n" + "x" * 5000)
    shown = repr(refusals.verifier_log("opens")).splitlines()
    assert len(shown) == 61
    assert "the last 60 of 414 lines" in shown[0]
    assert all(len(line) < 200 for line in shown[1:])
    assert shown[-2].split() == ["413", "413:", "R0=scalar()"]


def test_html_is_escaped_and_tells_the_same():
    refusals.keep("opens", "R1=<b>&")
    assert "R1=&lt;b&gt;&amp;" in refusals.verifier_log("opens")._repr_html_()


def test_an_unknown_name_is_answered_with_the_nearest_and_none_at_all_says_so():
    with pytest.raises(CellError, match="no program was refused so far"):
        refusals.verifier_log()
    refusals.keep("opens", LOG)
    with pytest.raises(CellError, match="did you mean opens"):
        refusals.verifier_log("opnes")


def test_of_a_huge_log_both_ends_are_kept_and_the_gap_is_marked(monkeypatch):
    monkeypatch.setattr(refusals, "_LARGEST", 800)
    path = refusals.keep("opens", LOG)
    kept = path.read_text()
    assert len(kept) < 1000
    first, last = LOG.splitlines()[0], LOG.splitlines()[-1]
    assert kept.startswith(first)
    assert kept.endswith(last)
    (marked,) = [line for line in kept.splitlines() if "left out" in line]
    assert int(marked.split()[1]) + len(kept.splitlines()) in range(412, 418)


def test_a_log_without_the_words_says_so_and_knows_when_it_was_kept():
    before = time.time() - 5
    refusals.keep("opens", LOG)
    assert "no line has these words" in repr(refusals.verifier_log("opens").find("zebra"))
    assert refusals.refused_since("opens", before)
    assert not refusals.refused_since("opens", time.time() + 5)
    assert not refusals.refused_since("reads", before)
