from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflab.similar import did_you_mean, nearest

EVENTS = (Path(__file__).parent / "data/formats/available_events").read_text().split()
NAMES = [event.split(":")[1] for event in EVENTS]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("sys_enter_opnat", "sys_enter_openat"),
        ("SYS_ENTER_OPENAT", "sys_enter_openat"),
        ("sched_swich", "sched_switch"),
        ("sched_swithc", "sched_switch"),
        ("shced_process_exec", "sched_process_exec"),
        ("tcp_retransmit", "tcp_retransmit_skb"),
        ("irq_handler_enter", "irq_handler_entry"),
    ],
)
def test_a_typo_finds_the_name_that_was_meant(typed: str, meant: str) -> None:
    assert nearest(typed, NAMES)[0] == meant


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("syscall/sys_enter_openat", "syscalls:sys_enter_openat"),
        ("sched:switch", "sched:sched_switch"),
        ("tp/sched/sched_switch", "sched:sched_switch"),
    ],
)
def test_a_wrong_category_or_separator_finds_the_full_name(typed: str, meant: str) -> None:
    assert nearest(typed, EVENTS)[0] == meant


def test_a_whole_word_comes_before_longer_words() -> None:
    assert set(nearest("openat", NAMES, n=2)) == {"sys_enter_openat", "sys_exit_openat"}
    assert set(nearest("openat", NAMES, n=4)[2:]) == {"sys_enter_openat2", "sys_exit_openat2"}


def test_nonsense_resembles_nothing() -> None:
    assert nearest("zzzzqqqq", NAMES) == ()
    assert nearest("", NAMES) == ()
    assert nearest("sched_switch", NAMES, n=0) == ()


def test_a_name_is_offered_once_even_if_it_is_listed_twice() -> None:
    assert nearest("sched_swich", ["sched_switch", "sched_switch"]) == ("sched_switch",)


@given(st.text(max_size=40), st.lists(st.text(max_size=40), max_size=20), st.integers(1, 5))
def test_answers_are_candidates_and_never_more_than_asked_for(typed: str, names: list[str], n: int) -> None:
    found = nearest(typed, names, n)
    assert len(found) == len(set(found)) <= n
    assert set(found) <= set(names)


@given(st.sampled_from(NAMES), st.data())
def test_any_name_with_one_letter_lost_is_found_again(name: str, data: st.DataObject) -> None:
    lost = data.draw(st.integers(0, len(name) - 1))
    typed = name[:lost] + name[lost + 1 :]
    near = nearest(typed, NAMES, n=5)
    # Where the letter lost makes another real name, or the start of several, that one is nearer.
    assert name in near or typed in NAMES or all(typed in other for other in near)


def test_a_hundred_thousand_candidates_take_less_than_300_ms() -> None:
    many = [f"{name}_{number}" for number in range(44) for name in NAMES][:100_000]
    assert len(many) == 100_000

    def seconds() -> float:
        start = time.perf_counter()
        assert nearest("sched_swich_7", many)[0] == "sched_switch_7"
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.3


def test_the_hint_reads_like_a_sentence() -> None:
    assert did_you_mean([]) is None
    assert did_you_mean(["a"]) == "did you mean a?"
    assert did_you_mean(("a", "b")) == "did you mean a or b?"
    assert did_you_mean(["a", "b", "c"]) == "did you mean a, b or c?"
