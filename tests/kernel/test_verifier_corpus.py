"""Programs that the verifier refuses, on the running kernel: what is said of each, and of how many it is right."""

from __future__ import annotations

import functools

import pytest
import verifier_corpus as corpus

LEAST = {"message": 1, "category": 0.95, "line": 0.95, "cause": 0.90, "fix": 0.95, "log": 1}
NAMES = corpus.names()
HERE = [name for name in NAMES if corpus.read(name).absent() is None]


@functools.cache
def missed(name):
    # Each is loaded once, by the first test that asks.
    program = corpus.read(name)
    return corpus.misses(program, corpus.load(program))


def test_there_are_programs_for_120_mistakes_and_this_kernel_refuses_most_of_them():
    assert len({corpus.read(name).source for name in NAMES}) == len(NAMES) >= 120
    assert len(HERE) > 0.75 * len(NAMES)


@pytest.mark.parametrize("name", HERE)
def test_a_refusal_is_explained_but_for_what_its_comments_leave_open(name):
    unexpected = {check: text for check, text in missed(name).items() if check not in corpus.read(name).open}
    assert unexpected == {}


def test_of_the_refusals_enough_are_explained():
    wrong = {name: missed(name) for name in HERE}
    for check, least in LEAST.items():
        assert corpus.share(wrong, check) >= least, corpus.summary(wrong)
