"""Patterns for names of hooks: Arrow's answer over whole columns is that of one name after the other."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflab.errors import CellError
from ebpflab.inspectors.matching import Table, matcher, table

EVENTS = tuple((Path(__file__).parent / "data/formats/available_events").read_text().split())
ODD = ("lo", "eth0", "a%b", "a_b", "a\\b", "a.b", "Ärger", "[x]", "a b", "")
SOURCES = {"tp/": EVENTS, "kprobe/": tuple(name.partition(":")[2] for name in EVENTS[:500]), "raw_tp/": ODD, "xdp": ODD}
PATTERNS = [
    *("openat", "SYS_ENTER_OPENAT", "sys_*_openat", "sched:sched_switc?", "SCHED:*", "*switch", "*", "?", "??", "lo"),
    *("sched/", "sched/sched_*", "tp/sched*", "tp/*", "/^sched:/", "/sched_/", "/(en|ex)t?er$/", "/", "//", " lo "),
    *("a%b", "a%*", "a_*", "a\\*", "*[ab]", "[el]*", "tp/*[h]", "ä*", "*.b", "no such thing"),
]


def one_by_one(whole: Table, pattern: str) -> list[str]:
    matches = matcher(pattern)
    rows = zip(whole.names.to_pylist(), whole.sections.to_pylist(), strict=True)
    return [name for name, section in rows if matches(name, section)]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("section", SOURCES)
def test_a_column_is_searched_as_its_names_are(section: str, pattern: str) -> None:
    whole = table(section, SOURCES[section])
    assert whole.matching(pattern).names.to_pylist() == one_by_one(whole, pattern)


@given(st.sampled_from(sorted(SOURCES)), st.text("aeslo_:/*?%\\.[]", max_size=6))
def test_any_pattern_is_answered_in_one_way(section: str, pattern: str) -> None:
    if pattern[:1] == pattern[-1:] == "/":
        return  # a regular expression, which is Python's in both
    whole = table(section, SOURCES[section][:300])
    assert whole.matching(pattern).names.to_pylist() == one_by_one(whole, pattern)


def test_names_come_in_order_each_with_its_section() -> None:
    whole = table("tp/", ["sched:sched_switch", "irq:softirq_raise"])
    assert whole.names.to_pylist() == ["irq:softirq_raise", "sched:sched_switch"]
    assert whole.sections.to_pylist() == ["tp/irq/softirq_raise", "tp/sched/sched_switch"]
    assert table("xdp", ["lo"]).sections.to_pylist() == ["xdp"]
    assert table("fentry/", ()).sections.to_pylist() == []


def test_a_name_that_is_no_text_is_shown_by_its_bytes() -> None:
    assert table("sockops", ["/bad\udcff"]).names.to_pylist() == ["/bad\\udcff"]


def test_half_an_expression_is_refused() -> None:
    with pytest.raises(CellError, match="not a regular expression"):
        table("tp/", EVENTS).matching("/(/")
