"""The words of a log: states of registers, and instructions, as old and new kernels print them."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ebpflab.verifier.instructions import operation
from ebpflab.verifier.values import registers, short, value


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        ("inv(id=0,umax_value=255,var_off=(0x0; 0xff))", "scalar", "number 0..255"),
        ("scalar(smin=smin32=0,smax=umax=smax32=umax32=31,var_off=(0x0; 0x1f))", "scalar", "number 0..31"),
        ("scalar()", "scalar", "number of any value"),
        ("inv-4095", "scalar", "-4095"),
        ("P0", "scalar", "0"),
        ("invP(id=0,umax_value=2040,var_off=(0x0; 0x7f8))", "scalar", "number 0..2040"),
        ("invP32", "scalar", "32"),
        ("mem_or_null(id=2,ref_obj_id=2,off=0,imm=0)", "mem", "memory, or NULL"),
        ("0xffffffff", "scalar", "4294967295"),
        ("scalar(smin=-4095,smax=0)", "scalar", "number -4095..0"),
        ("map_value_or_null(id=1,map=counts,ks=4,vs=16)", "map_value", "value of map counts, or NULL"),
        ("pkt(id=0,off=14,r=34,imm=0)", "pkt", "packet + 14, 34 bytes of it checked"),
        ("ptr_or_null_task_struct(id=2,ref_obj_id=2)", "ptr_task_struct", "pointer to struct task_struct, or NULL"),
        ("fp-16", "fp", "stack, fp-16"),
        ("trusted_ptr_task_struct()", "trusted_ptr_task_struct", "pointer to struct task_struct"),
        ("mmmm????", "", "mmmm????"),
    ],
)
def test_a_state_is_read_in_the_words_of_old_and_new_kernels(words, kind, said):
    assert value(words).kind == kind
    assert short(words) == said


def test_one_printed_state_is_taken_apart_into_registers_and_slots():
    state = "R0_w=inv(id=0,umax_value=1) R6=scalar(var_off=(0x0; 0xff)) R10=fp0 fp-8_w=mmmm???? fp-16=ctx() refs=2"
    assert list(registers(state)) == ["R0", "R6", "R10", "fp-8", "fp-16"]


@pytest.mark.parametrize(
    ("text", "kind", "target", "source", "base", "offset", "size"),
    [
        ("(79) r1 = *(u64 *)(r0 +16)", "load", 1, None, 0, 16, 8),
        ("(91) r1 = *(s8 *)(r10 -1)", "load", 1, None, 10, -1, 1),
        ("(63) *(u32 *)(r10 -4) = r7", "store", None, 7, 10, -4, 4),
        ("(62) *(u32 *)(r3 +0) = 1", "store", None, None, 3, 0, 4),
        ("(db) lock *(u64 *)(r2 +136) += r3", "atomic", None, 3, 2, 136, 8),
        ("(db) r1 = atomic64_fetch_add((u64 *)(r2 +8), r1)", "atomic", 1, None, 2, 8, 8),
        ("(bf) r6 = r1", "move", 6, 1, None, 0, 8),
        ("(bc) w6 = w1", "move", 6, 1, None, 0, 8),
        ("(18) r1 = 0xffff88803fe7cc00", "constant", 1, None, None, 0, 8),
        ("(0f) r1 += r2", "arithmetic", 1, 2, None, 0, 8),
        ("(c7) r1 s>>= 3", "arithmetic", 1, None, None, 0, 8),
        ("(55) if r2 != 0x3 goto pc+4", "branch", None, None, 2, 0, 8),
        ("(85) call bpf_map_lookup_elem#1", "call", None, None, None, 0, 8),
        ("(95) exit", "exit", None, None, None, 0, 8),
        ("(ff) what is this", "other", None, None, None, 0, 8),
    ],
)
def test_an_instruction_tells_what_it_reads_and_writes(text, kind, target, source, base, offset, size):
    done = operation(text)
    assert (done.kind, done.target, done.source, done.base, done.offset, done.size) == (
        kind, target, source, base, offset, size,
    )  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="R0123456789=(),;: _-fpx\nsmulavorinct", max_size=3000))
@example("R1=(" * 4000)
@example("R1=scalar(" + "(0x0; " * 2000)
def test_no_state_takes_long_to_read(state):
    began = time.thread_time()
    for words in registers(state).values():
        assert short(words) or not words
    assert time.thread_time() - began < 0.2
