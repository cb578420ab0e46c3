"""What a refusal is said to mean, and the mended line, where a general sentence would be false."""

from __future__ import annotations

from pathlib import Path

import pytest

from ebpflab.verifier import Explanation, explain
from ebpflab.verifier.messages import PATTERNS

DATA = Path(__file__).parent / "data" / "verifier" / "words"


def told(name: str) -> Explanation:
    return explain((DATA / f"{name}.log").read_text(), file="cell", cell=(DATA / f"{name}.bpf.c").read_text())


def test_a_packet_that_is_checked_in_part_is_said_to_be_and_the_test_has_its_line():
    found = told("checked_ethernet_only")
    assert found.meaning == "14 bytes of the packet are checked (line 9), and this reads up to byte 24."
    assert [(step.line, step.state) for step in found.story] == [
        (4, "packet + 0, 0 bytes of it checked"),
        (9, "packet + 14, 14 bytes of it checked"),
    ]


@pytest.mark.parametrize(("name", "pointer"), [("checked_ethernet_only", "ip"), ("unchecked_with_end", "eth")])
def test_the_test_of_a_packet_has_the_cells_own_pointer_and_its_own_end(name, pointer):
    assert told(name).snippet == f"\tif ((void *)({pointer} + 1) > end)\n\t\treturn XDP_PASS;"


@pytest.mark.parametrize(("name", "operator"), [("address_multiplied", "*="), ("address_shifted", ">>=")])
def test_an_address_that_is_computed_with_is_not_called_an_offset_that_is_added(name, operator):
    found = told(name)
    assert f"computed with {operator}" in found.meaning
    assert found.fix == "Compute with a number of the object instead: its pid, its cookie or its inode."
    assert "pointer to struct task_struct" in found.story[0].what


def test_an_address_from_the_context_is_copied_from_and_nothing_is_said_of_giving_back():
    found = told("user_pointer")
    assert "(ctx->filename)" in found.meaning
    assert "given back" not in found.meaning
    assert found.story[0].what == (
        "R1 = ctx->filename: an address that the program was handed, which the verifier does not follow"
    )
    assert found.snippet.split("\n")[1:] == [
        "\tbpf_probe_read_user(&first, sizeof(first), ctx->filename);",
        "\tif (first == '/')",
    ]


@pytest.mark.parametrize("name", ["slot_of_array", "slot_of_global"])
def test_the_bound_of_an_index_is_the_number_of_the_arrays_elements(name):
    found = told(name)
    assert found.snippet == "\tif (slot >= 16)\n\t\treturn 0;"
    assert "sizeof" not in found.fix


def test_no_sentence_has_a_comma_behind_a_statement():
    assert [row.fix for row in PATTERNS if ";," in row.fix] == []


def test_an_atomic_operation_is_not_replaced_by_a_copy():
    fix = told("misaligned_atomic").fix
    assert "`packed`" in fix
    assert "memcpy" not in fix


@pytest.mark.parametrize("with_cell", [True, False])
def test_a_while_loop_that_is_too_complex_is_given_a_bound_and_its_own_line(with_cell):
    log = (DATA / "while_too_complex.log").read_text()
    found = told("while_too_complex") if with_cell else explain(log, file="cell")
    assert found.fix == "Give the loop a bound: for (int n = 0; n < 32 && i < 9000; n++)"
    assert [step.line for step in found.story if "begins again" in step.what] == [8]
