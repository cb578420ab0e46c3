from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from bytecode import LOAD_64, RETURN_ZERO, instruction, variants
from hypothesis import given
from hypothesis import strategies as st

from ebpflab.disassembly import Disassembly, disassemble
from ebpflab.engines.base import Instructions, SourceLine
from ebpflab.engines.replay import ReplayHandle
from ebpflab.errors import SessionError

DATA = Path(__file__).parent / "data" / "disassembly"
LOG = [line.split(" ", 1) for line in (DATA / "log.txt").read_text().splitlines()]
PROGRAMS = json.loads((DATA / "xlated.json").read_text())


def text(code: bytes, **names) -> str:
    return disassemble(Instructions(code, **names))[0].text


def captured(program) -> Instructions:
    fields = program["given"]
    # JSON has text for the numbers.
    tables = {
        name: {int(n): text for n, text in fields[name].items()} for name in ("functions", "maps", "calls", "kfuncs")
    }
    lines = tuple(SourceLine(**line) for line in fields["lines"])
    return Instructions(**{**fields, **tables, "code": bytes.fromhex(fields["code"]), "lines": lines})


@pytest.mark.parametrize(("code", "kernel"), LOG, ids=[text for _, text in LOG])
def test_an_instruction_reads_as_the_verifier_log_of_linux_6_18_writes_it(code, kernel):
    assert text(bytes.fromhex(code)) == kernel


@pytest.mark.parametrize("program", PROGRAMS, ids=[program["cell"] for program in PROGRAMS])
def test_a_program_reads_as_bpftool_writes_it(program):
    ours = [f"{insn.insn}: {insn.text}" for insn in disassemble(captured(program))]
    # What bpftool 7.1 does not know: the tag is not ours, and callbacks have names here.
    theirs = [line.replace("r0 = r0", "r0 = &(void __percpu *)(r0)") for line in program["bpftool"]]
    assert len(ours) == len(theirs) > 10
    for mine, other in zip(ours, theirs, strict=True):
        number, _, words = other.partition(": ")
        call = words.partition("#bpf_prog_")
        expected = f"{number}: {call[0]}" if call[1] else other
        assert mine == expected or mine.startswith(f"{expected}#")


def test_the_captured_texts_have_every_sort_of_instruction():
    texts = " ".join(text for _, text in LOG)
    for words in (
        "s/=", "s%=", "(s8)", "(s16)", "(s32)", "*(s32 *)", "bswap16", "be16", "le16", "gotol", "may_goto",
        "addr_space_cast", "lock *(u64 *)", "atomic64_fetch_add", "atomic_fetch_xor", "atomic64_xchg",
        "atomic_cmpxchg", "load_acquire", "store_release", "s>>=", "if w0 s> ", "if r0 & ", "skb[r0 + ",
        "call bpf_", "goto pc", "__percpu",
    ):  # fmt: skip
        assert words in texts


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ff00000000000000", "(ff) unknown"),
        ("0000000000000000", "(00) unknown"),
        ("1800000005000000", "(18) unknown"),  # its second half is missing
        ("c200000000000000", "(c2) unknown"),
        ("db0000000700ff00", "(db) unknown"),
        ("b701", "(b7) unknown"),
    ],
)
def test_what_is_no_instruction_says_so(code, said):
    assert text(bytes.fromhex(code)) == said


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (instruction(0xC2), "(c2) nospec"),
        (instruction(0x41, 1, 2, 4), "(41) r1 = *(s32 *)(r2 +4)"),
        (instruction(0xFB, 1, 2, 8), "(fb) lock *(u64 *)(r1 +8) += r2"),
    ],
)
def test_instructions_of_the_kernels_own_are_known_in_what_it_made_of_a_program(code, said):
    assert text(code, translated=True) == said
    assert text(code) == f"({code[0]:02x}) unknown"


def test_names_stand_for_numbers_where_they_are_known():
    load = instruction(LOAD_64, 1, 1, imm=17) + instruction(0)
    value = instruction(LOAD_64, 1, 2, imm=17) + instruction(0, imm=24)
    callback = instruction(LOAD_64, 2, 4, imm=5) + instruction(0)
    assert text(load) == "(18) r1 = map[fd:17]"
    assert text(load, translated=True) == "(18) r1 = map[id:17]"
    assert text(load, translated=True, maps={17: "counts"}) == "(18) r1 = map[counts]"
    assert text(value, maps={17: ".bss"}) == "(18) r1 = map[.bss][0]+24"
    assert text(callback, functions={6: "each"}) == "(18) r2 = subprog[+5]#each"
    assert text(instruction(0x85, imm=5)) == "(85) call bpf_ktime_get_ns#5"
    assert (
        text(instruction(0x85, imm=269488), calls={269488: "bpf_ktime_get_ns"}) == "(85) call bpf_ktime_get_ns#269488"
    )
    assert text(instruction(0x85, imm=269488)) == "(85) call unknown#269488"
    assert text(instruction(0x85, src=2, imm=99), kfuncs={99: "bpf_rcu_read_lock"}) == "(85) call bpf_rcu_read_lock#99"
    assert text(instruction(0x85, src=2, imm=99)) == "(85) call kernel-function#99"


def test_the_distance_of_a_call_is_where_the_kernel_leaves_it():
    call = instruction(0x85, src=1, off=3, imm=7)
    assert text(call, functions={8: "before"}) == "(85) call pc+7#before"
    assert text(call, functions={4: "after"}, translated=True) == "(85) call pc+3#after"


def test_a_64_bit_load_counts_as_two_and_keeps_all_of_its_bytes():
    code = instruction(LOAD_64, 3, imm=-1) + instruction(0, imm=0x12345678) + RETURN_ZERO
    found = disassemble(Instructions(code))
    assert [(insn.insn, insn.text) for insn in found] == [
        (0, "(18) r3 = 0x12345678ffffffff"),
        (2, "(b7) r0 = 0"),
        (3, "(95) exit"),
    ]
    assert b"".join(insn.code for insn in found) == code


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_instructions_that_together_are_the_bytes(code, translated):
    found = disassemble(Instructions(code, translated))
    assert b"".join(insn.code for insn in found) == code
    assert [insn.insn for insn in found] == [sum(len(i.code) for i in found[:n]) // 8 for n in range(len(found))]
    assert all(insn.text.startswith(f"({insn.code[0]:02x}) ") and insn.text.isprintable() for insn in found)


@given(st.lists(st.sampled_from(list(variants())), max_size=23), st.binary(max_size=7))
def test_real_instructions_one_after_another_read_as_each_does_alone(codes, rest):
    found = disassemble(Instructions(b"".join(codes) + rest))
    assert [insn.text for insn in found][: len(codes)] == [text(code) for code in codes]


LINES = (SourceLine(0, "./cell", 3, 5, "\treturn 0; /* <b> */"), SourceLine(1, "./bpf_helpers.h", 0, 0, ""))
SMALL = Instructions(RETURN_ZERO, True, LINES, {0: "main", 1: "other"}, jited_bytes=1234)


def test_source_lines_stand_before_what_they_became():
    found = Disassembly.of("main", SMALL)
    assert found.text.split("\n") == [
        "main:",
        "; return 0; /* <b> */ @ cell:3",
        "   0: (b7) r0 = 0",
        "other:",
        "; @ bpf_helpers.h:0",
        "   1: (95) exit",
    ]


def test_text_and_html_tell_the_same_and_html_is_escaped():
    found = Disassembly.of("main", SMALL)
    for word in ("main", "jited", "2 instructions", "1,234 bytes of machine code", "(b7) r0 = 0"):
        assert word in repr(found)
        assert word in found._repr_html_()
    assert "<b> */" in repr(found)
    assert "&lt;b&gt; */" in found._repr_html_()
    assert "<b> */" not in found._repr_html_()


def test_a_frame_has_the_lines_and_the_bytes():
    frame = Disassembly.of("main", SMALL).df()
    assert frame[["insn", "function", "line", "source", "text", "bytes"]].values.tolist() == [
        [0, "main", 3, "return 0; /* <b> */", "(b7) r0 = 0", "b7 00 00 00 00 00 00 00"],
        [1, "other", 0, "", "(95) exit", "95 00 00 00 00 00 00 00"],
    ]
    assert list(Disassembly.of("none", Instructions(b"")).df().columns) == list(frame.columns)


def test_a_long_program_is_shown_in_part_and_told_whole():
    found = Disassembly.of("long", Instructions(instruction(0xB7) * 1009))
    assert "1,009 instructions" in repr(found)
    assert "609 more" in repr(found)
    assert " 399: " in repr(found)
    assert " 400: " not in repr(found)
    assert found.text.count("\n") + 1 == len(found.df()) == 1009


def test_what_is_hidden_is_said():
    hidden = Disassembly.of("main", replace(SMALL, code=b"", problem="the kernel hides <it>", jited_bytes=0))
    assert "the kernel hides <it>" in repr(hidden)
    assert "the kernel hides &lt;it&gt;" in hidden._repr_html_()
    assert "not jited" in repr(hidden)
    assert hidden.text == ""


def test_a_recording_has_no_instructions_and_says_what_to_do():
    with pytest.raises(SessionError, match="cannot disassemble programs") as caught:
        ReplayHandle(b"", ()).instructions("on_open")
    assert "ebpflab.load(s.source)" in caught.value.hint
