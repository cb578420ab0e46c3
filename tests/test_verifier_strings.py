"""Every row of the table of messages stands for what a kernel says, and the kernels say little that no row knows."""

from __future__ import annotations

import json
import re

import pytest

from ebpflab.verifier.messages import PATTERNS
from tests import verifier_formats
from tests.verifier_formats import FORMATS, RECORD

IMAGES = verifier_formats.images()
SAID_IN = json.loads(RECORD.read_text())
LEAST = 0.9  # of the refusals of a kernel that the table has to know


def test_the_record_has_every_format_of_the_table_and_each_is_in_some_kernel():
    assert list(SAID_IN) == FORMATS
    assert [said for said, where in SAID_IN.items() if not where] == []


def test_some_row_is_for_each_kernel_and_most_are_for_several():
    for name in ("5.10", "6.1", "6.12", "6.18", "7.3"):
        assert sum(name in where.split() for where in SAID_IN.values()) > 200
    several = [pattern for pattern in PATTERNS if len({n for s in pattern.said for n in SAID_IN[s].split()}) > 1]
    assert len(several) > 0.8 * len(PATTERNS)


def test_kernel_images_are_here_to_compare_with():
    if not IMAGES:
        pytest.skip("no kernel image in build/vm/kernels to read formats from: python -m tests.vm setup")
    absent = [name for name in ("5.10", "6.1", "6.12", "6.18", "7.3") if name not in IMAGES]
    print(f"compared with {', '.join(IMAGES)}" + (f"; not here: {', '.join(absent)}" if absent else ""))
    assert all(verifier_formats.strings(path) for path in IMAGES.values())


@pytest.mark.parametrize("name", IMAGES)
def test_the_formats_of_the_table_are_in_the_kernel_as_recorded(name):
    recorded = {said for said, where in SAID_IN.items() if name in where.split()}
    assert recorded - verifier_formats.occurrences(IMAGES[name]) == set()


def test_what_the_table_has_from_libbpf_is_in_libbpf():
    recorded = {said for said, where in SAID_IN.items() if where == "libbpf"}
    assert len(recorded) >= 2
    assert recorded <= verifier_formats.in_libbpf()


@pytest.mark.parametrize("name", IMAGES)
def test_the_table_knows_nine_in_ten_refusals_of_a_kernel(name):
    known = {verifier_formats.plain(said) for said in FORMATS}
    formats = verifier_formats.refusals(IMAGES[name])
    unknown = [text for text in formats if verifier_formats.plain(text) not in known and not recognised(text)]
    print(f"Linux {name}: {len(formats)} refusals, not known: {unknown}")
    assert len(formats) > 200
    assert len(unknown) <= (1 - LEAST) * len(formats), unknown


def recognised(text: str) -> bool:
    # As it is printed: numbers for %d, and the name of a register where a line begins with %s.
    line = re.sub(r"%[#l]*[dux]|%02x", "1", re.sub(r"^%s ", "R1 ", text.replace("R%d", "R1")))
    return any(pattern.regex.search(line.replace("%s", "thing")) for pattern in PATTERNS)
