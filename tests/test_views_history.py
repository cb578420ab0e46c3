"""The history of a view: whatever the ticks were, the counts are conserved, and the steps are equal."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflab.views.history import LONGEST, STEP, History, Past

UTC = 1_700_000_000.0


def sums(history):
    return [float(series.sum(dtype=np.float64)) * history.step for series in (history.rate, history.lost)]


def test_a_prime_number_of_events_is_in_the_history_exactly_once():
    past = Past(5.0, utc=UTC)
    past.add(5.13, received=0, lost=0)
    past.add(6.31, received=1009, lost=17)
    past.add(7.0, received=0, lost=0)
    history = past.history()
    assert sums(history) == pytest.approx([1009, 17], abs=1e-3)
    assert (history.rate.dtype, len(history.rate), history.step) == (np.float32, 10, STEP)
    assert history.end == UTC + 2.0
    assert (history.rate[:0].sum(), history.rate[7:].sum()) == (0, 0)  # nothing after 6.31


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(0, 1_000_003)), max_size=60))
def test_counts_are_conserved_whatever_the_times_of_the_looks_are(looks):
    past, now = Past(0.0, utc=UTC), 0.0
    for pause, received in looks:
        now += pause
        past.add(now, received=received, lost=1)
    past.add(now + 3 * STEP, received=0, lost=0)
    if now < LONGEST - 3 * STEP:
        wanted = [sum(received for _, received in looks), len(looks)]
        assert sums(past.history(LONGEST)) == pytest.approx(wanted, rel=1e-5, abs=1e-3)
    assert len(past.history(LONGEST).rate) <= LONGEST / STEP


@given(st.lists(st.floats(0.001, 30), min_size=1, max_size=60))
def test_a_steady_rate_is_steady_however_irregularly_somebody_looks(pauses):
    past, now = Past(0.0, utc=UTC), 0.0
    for pause in pauses:
        now += pause
        past.add(now, received=pause * 23, lost=0)
    assert np.allclose(past.history(60).rate, 23, rtol=1e-3)


def test_the_steps_of_before_keep_their_values_while_time_goes_on():
    past = Past(0.0, utc=UTC)
    for tick in range(1, 51):
        past.add(tick * 0.173, received=tick % 7, lost=0)
    before = past.history()
    past.add(51 * 0.173, received=101, lost=0)
    after = past.history()
    places = round((after.end - before.end) / STEP)
    assert np.array_equal(after.rate[: len(before.rate)], before.rate)
    assert len(after.rate) == len(before.rate) + places


def test_ten_minutes_are_kept_and_no_more():
    past = Past(0.0, utc=UTC)
    past.add(1.0, received=31, lost=0)
    past.add(LONGEST - 1, received=0, lost=0)
    assert sums(past.history(LONGEST))[0] == pytest.approx(31, abs=1e-3)
    past.add(LONGEST + 5, received=0, lost=0)
    assert sums(past.history(10 * LONGEST)) == [0, 0]
    assert len(past.history(10 * LONGEST).rate) == LONGEST / STEP
    past.add(9 * LONGEST, received=900, lost=0)  # nobody looked for long: only the share of what is kept
    assert sums(past.history(LONGEST))[0] == pytest.approx(900 / (8 * LONGEST - 5) * LONGEST, rel=1e-4)


def test_looks_within_one_tick_of_the_clock_lose_nothing():
    past = Past(0.0, utc=UTC)
    for _ in range(13):
        past.add(0.1, received=1, lost=0)
    past.add(0.5, received=0, lost=0)
    assert sums(past.history())[0] == pytest.approx(13, abs=1e-4)


def test_a_part_of_the_history_is_its_end():
    past = Past(0.0, utc=UTC)
    for second in range(1, 31):
        past.add(float(second), received=second, lost=0)
    assert len(past.history(2).rate) == 10
    assert np.array_equal(past.history(2).rate, past.history(60).rate[-10:])


def test_a_drawing_thread_may_read_while_another_one_looks():
    past, stop = Past(0.0, utc=UTC), threading.Event()

    def look():
        for tick in range(1, 2004):
            past.add(tick * 0.05, received=1, lost=0)
        stop.set()

    thread = threading.Thread(target=look)
    thread.start()
    while not stop.is_set():
        assert past.history(60).rate.max(initial=0) < 21
    thread.join()
    assert sums(past.history(600))[0] == pytest.approx(2003, abs=3)


def spark(*rates, width=24, end=UTC):
    values = np.array(rates, np.float32)
    return History(values, values, STEP, end).spark(width)


def test_a_spark_has_its_highest_bar_where_the_most_events_are():
    assert spark(0, 1, 2, 4, 7, 0) == "▁▂▃▅█▁"
    assert spark(0, 0, 0) == "▁▁▁"
    assert spark() == ""
    assert spark(0, 1e6, 1) == "▁█▂"  # one event is seen beside a million


def test_a_spark_of_many_steps_is_no_wider_than_asked_for_and_moves_without_flicker():
    rates = [float(i % 11 == 0) for i in range(300)]
    assert len(spark(*rates, width=24)) == 24
    # Four steps later, and groups of four: each bar is one place further left.
    one = spark(*rates[:96], width=24, end=96 * STEP)
    later = spark(*rates[4:100], width=24, end=100 * STEP)
    assert one[1:] == later[:-1]
