"""The table of the verifier's messages: each row against messages as the kernel's own formats print them."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from ebpflab.verifier import CATEGORIES, explain
from ebpflab.verifier.messages import CAUSES, NULL, PATTERNS, Pattern

# Whole messages, old and new wordings, one a line.
SAMPLES = (Path(__file__).parent / "data" / "verifier_messages.txt").read_text().rstrip("\n").split("\n")
FORMATS = sorted({said for pattern in PATTERNS for said in pattern.said})
IDS = [pattern.regex.pattern[:50] for pattern in PATTERNS]
GROUPS = {"reg": "R3", "arg": "arg#1", "off": "8", "size": "16", "ref": "2", "func": "f", "insn": "5"}


def recognised(message: str) -> Pattern | None:
    return next((pattern for pattern in PATTERNS if pattern.regex.search(message)), None)


def printing(said: str) -> re.Pattern[str]:
    # What the kernel prints with this format. Some messages are put together from several formats, so a format is
    # the beginning of a line.
    text = re.escape(said.split("\n")[0]).replace(r"\#", "#")
    text = text.replace("R%d", r"(?:R\d+|\*\(R11-\d+\))").replace("R%u", r"R\d+")
    text = re.sub(r"args?\\? ?#?%d", r"(?:args?\\ ?\\#?\\d+|R\\d+)", text)
    text = re.sub(r"%\#?l*x|%02x", "(?:0x)?[0-9a-f]+", text)
    return re.compile(re.sub(r"%l*[du]", r"-?\\d+", text).replace("%s", ".*?"))


def printed(said: str) -> str:
    # A message of this format; words stand for %s, which is enough wherever the row does not ask for a certain one.
    text = re.sub(r"%#?l*x|%02x", "0x8", re.sub(r"R%[du]", "R1", said.split("\n")[0]))
    text = re.sub(r"(args?[# ]{0,2})%d", r"\g<1>1", text)
    return re.sub(r"%l*[du]", "8", text).replace("%s", "thing")


def test_the_table_is_large_enough_and_sorted_into_nine_categories():
    assert len(PATTERNS) >= 200
    assert {pattern.category for pattern in PATTERNS} == set(CATEGORIES)
    assert {pattern.cause for pattern in PATTERNS} == set(CAUSES)


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_is_what_the_kernel_prints_and_is_recognised_by_the_row_of_its_format(sample):
    pattern = recognised(sample)
    assert pattern is not None
    assert any(printing(said).match(sample) for said in pattern.said), pattern.said


@pytest.mark.parametrize("said", FORMATS)
def test_every_format_has_a_message_that_its_own_row_recognises(said):
    messages = [printed(said), *(sample for sample in SAMPLES if printing(said).match(sample))]
    found = [pattern for pattern in map(recognised, messages) if pattern is not None]
    assert any(said in pattern.said for pattern in found), messages


@pytest.mark.parametrize("pattern", PATTERNS, ids=IDS)
def test_every_row_can_be_reached(pattern):
    messages = [message for said in pattern.said for message in (printed(said), said)]
    assert any(recognised(message) is pattern for message in [*messages, *SAMPLES])


@pytest.mark.parametrize("pattern", [*PATTERNS, NULL], ids=[*IDS, "null"])
def test_meaning_and_fix_are_whole_sentences_without_holes(pattern):
    assert pattern.said
    names = pattern.regex.groupindex
    for words in ({name: GROUPS.get(name, "word") for name in names}, dict.fromkeys(names, "")):
        meaning, fix = pattern.meaning.format(**words), pattern.fix.format(**words)
        assert len(meaning) <= 150
        assert len(fix) <= 150
        assert meaning[-1] in ".:"
        assert fix[-1] in ".;)}…" or fix.endswith(("]", "*/", " 8]", "n")), fix


@pytest.mark.parametrize("sample", SAMPLES)
def test_no_sentence_about_a_real_message_has_a_gap(sample):
    found = explain(f"0: (95) exit\n{sample}\nprocessed 1 insns (limit 1000000)\n")
    assert found.message == sample.strip()
    assert found.category in CATEGORIES
    for sentence in (found.meaning, found.fix):
        assert sentence
        assert not re.search(r"(?<!\w)\(\s*\)|  |\{\w| [,.;:]|^[^\w'*]", sentence), sentence


def test_an_unknown_message_says_so_and_still_shows_its_place_and_states():
    log = "0: R1=ctx() R10=fp0\n; int i = 0; @ cell:7\n0: (b7) r6 = 3 ; R6=3\nthe moon is full, R6 said\n"
    found = explain(log + "processed 1 insns (limit 1000000)\n")
    assert (found.message, found.category) == ("the moon is full, R6 said", None)
    assert (found.line, found.instruction) == (7, (0, "(b7) r6 = 3"))
    assert found.registers["R6"] == "3"
    assert "not known" in str(found)


# What makes a careless expression slow: nearly a match, again and again.
PIECES = ("a", "a1 (", "R1 ", "off=-1 ", "arg#1 ", "(0x0; ", "bpf_", "invalid ", "kernel function ")


@pytest.mark.parametrize("pattern", PATTERNS, ids=IDS)
def test_no_expression_takes_five_milliseconds_for_a_line_of_two_thousand_characters(pattern):
    near = [text for said in pattern.said for text in (printed(said), printed(said)[:-1], printed(said)[1:])]
    for piece in (*PIECES, *near):
        assert searching(pattern, (piece * 2000)[:2000]) < 0.005, piece


def searching(pattern: Pattern, line: str) -> float:
    # The best of three: the machine's other work is not the expression's.
    took = []
    for _ in range(3):
        began = time.perf_counter()
        pattern.regex.search(line)
        took.append(time.perf_counter() - began)
    return min(took)
