"""The words of a filter, against what pandas and the texts of a table say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from plotted import COUNT, made

from ebpflab.views.cells import texts
from ebpflab.views.words import WordError, matching

WORDS = {
    "task3": lambda f: f["comm"] == "task3",
    "TASK3": lambda f: f["comm"] == "task3",
    "comm:k1": lambda f: f["comm"].isin(["task1", "task10", "task11"]),
    "comm=task1": lambda f: f["comm"] == "task1",
    "comm!=task1": lambda f: f["comm"] != "task1",
    "!comm:task1": lambda f: ~f["comm"].isin(["task1", "task10", "task11"]),
    "cpu=3": lambda f: f["cpu"] == 3,
    "cpu==0x3": lambda f: f["cpu"] == 3,
    "cpu!=3 cpu<=5": lambda f: (f["cpu"] != 3) & (f["cpu"] <= 5),
    "bytes>=4,096": lambda f: f["bytes"] >= 4096,
    "change<0": lambda f: f["change"] < 0,
    "change>-1.5e0 task2": lambda f: (f["change"] > -1.5) & (f["comm"] == "task2"),
    "took>1ms": lambda f: f["took"] > pd.Timedelta("1ms"),
    "took<=2.5us": lambda f: f["took"] <= pd.Timedelta("2500ns"),
    "took>0.00001min": lambda f: f["took"] > pd.Timedelta("600us"),
    "time>22:14:00": lambda f: f["time"] > pd.Timestamp("2023-11-14T22:14:00Z"),
    "time<2023-11-14T22:14:00.5": lambda f: f["time"] < pd.Timestamp("2023-11-14T22:14:00.500Z"),
    "time=22:14:00": lambda f: f["time"].dt.floor("s") == pd.Timestamp("2023-11-14T22:14:00Z"),
    "time>=22:14 cpu=1": lambda f: (f["time"] >= pd.Timestamp("2023-11-14T22:14:00Z")) & (f["cpu"] == 1),
    '"task5"': lambda f: f["comm"] == "task5",
}


@pytest.mark.parametrize("words", WORDS)
def test_words_let_through_what_pandas_says(words):
    frame = made(COUNT)
    assert matching(frame, words).tolist() == WORDS[words](frame).tolist()
    assert matching(frame, words).any()


def test_a_word_is_looked_for_in_the_texts_of_all_columns():
    frame = made(503)
    everything = [" ".join(texts(frame[name])[row] for name in frame.columns) for row in range(len(frame))]
    for word in ("12", "ms", "7.", ":", "-1", "k", "us", "3.9"):
        columns = zip(*(texts(frame[name]) for name in frame.columns), strict=True)
        assert matching(frame, word).tolist() == [any(word in text for text in row) for row in columns], word
    assert matching(frame, "task1 !task11").tolist() == [
        "task1" in text and "task11" not in text for text in everything
    ]


def test_a_duration_equals_what_is_shown():
    frame = pd.DataFrame({"took": pd.to_timedelta([1_234_000, 1_234_999, 1_240_000, 0, None])})
    assert texts(frame["took"]) == ["1.23 ms", "1.23 ms", "1.24 ms", "0 ns", "-"]
    assert matching(frame, "took=1.23ms").tolist() == [True, True, False, False, False]
    assert matching(frame, "took=0").tolist() == [False, False, False, True, False]
    assert matching(frame, "took<1h").tolist() == [True, True, True, True, False]


def test_missing_values_are_unequal_to_everything():
    frame = pd.DataFrame({"n": [1.0, None], "t": pd.to_datetime(["2026-01-31T12:34:56Z", None]), "s": ["a", None]})
    assert [texts(frame[name])[1] for name in frame.columns] == ["-", "-", "-"]
    for word in ("n=1", "t=12:34", "s=a", "n<2", "t>00:00", "n>0"):
        assert matching(frame, word).tolist() == [True, False], word
    for word in ("n!=1", "t!=12:34", "s!=a"):
        assert matching(frame, word).tolist() == [False, True], word


def test_an_address_or_a_path_with_a_colon_is_a_plain_word():
    frame = pd.DataFrame({"at": ["fe80::1", "http://x/", "12:34"]})
    for place, word in enumerate(frame["at"]):
        assert matching(frame, word).tolist() == [place == row for row in range(3)]


def test_whole_numbers_are_compared_exactly_up_to_64_bits():
    frame = pd.DataFrame({"n": np.array([2**64 - 1, 2**64 - 2, 0], "u8")})
    assert matching(frame, f"n={2**64 - 1}").tolist() == [True, False, False]
    assert matching(frame, f"n<{2**70}").tolist() == [True, True, True]
    assert matching(frame, "n>-1").tolist() == [True, True, True]
    frame = pd.DataFrame({"n": pd.array([2**64 - 1, None, 2**64 - 2], "UInt64")})
    assert matching(frame, f"n={2**64 - 1}").tolist() == [True, False, False]
    assert matching(frame, f"n!={2**64 - 1}").tolist() == [False, True, True]


def test_a_number_that_no_float_can_be_is_a_sentence():
    frame = pd.DataFrame({"half": [0.5, 1.5]})
    with pytest.raises(WordError, match="401 digits"):
        matching(frame, f"half<1{'0' * 400}")
