"""Reading the verifier's statistics from logs."""

from hypothesis import given
from hypothesis import strategies as st

from ebpflab.verifier.statistics import STACK_LIMIT, Statistics, statistics

LOG = """verification time 517 usec
stack depth 96+72
processed 921 insns (limit 1000000) max_states_per_insn 4 total_states 13 peak_states 11 mark_read 5
"""


def test_statistics_of_a_log_with_stack_and_time_are_read():
    assert statistics(LOG) == Statistics(921, 1_000_000, 13, 11, 4, (96, 72), 517)


def test_a_log_without_its_end_has_no_statistics():
    assert statistics(LOG.partition("processed")[0]) is None


def test_a_stack_near_its_limit_is_told():
    assert statistics(LOG).hint == ""
    nearly = statistics(LOG.replace("96+72", "320+96"))
    assert f"416 bytes of stack, of {STACK_LIMIT}" in nearly.hint


@given(st.text(alphabet="processed 0123456789insn(limt)+\nuackdh_vfy", max_size=400), st.integers(0, len(LOG)))
def test_no_text_is_too_strange_to_read(noise, at):
    found = statistics(LOG[:at] + noise + LOG[at:])
    assert found is None or found.processed >= 0
