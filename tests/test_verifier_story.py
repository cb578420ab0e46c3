"""The story of a refusal: from the verifier's log back to the line where it began, and the mended line."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflab.verifier import explain
from ebpflab.verifier.log import read
from tests import fuzz_verifier

DATA = Path(__file__).parent / "data" / "verifier"
PROCESSED = "processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n"

# The line of the cell that its author would name as the first cause, and words that the story has for it.
CAUSES = {
    "call_under_lock": (17, "bpf_spin_lock() takes it"),
    "context_argument_missing": (6, "the read is here"),
    "context_modified": (4, "the program's context"),
    "context_out_of_bounds": (6, "the read is here"),
    "gpl_only": (6, "bpf_trace_printk() is called here"),
    "helper_not_allowed": (6, "bpf_redirect() is called here"),
    "infinite_loop": (6, "the loop begins again here"),
    "invalid_return_code": (6, "set to the constant 5"),
    "kernel_struct_write": (4, "pointer to struct task_struct"),
    "map_value_out_of_bounds": (14, "value of map counts, of 16 bytes"),
    "map_value_unbounded_index": (17, "ctx->args[0]: a number of any value"),
    "maybe_null_arithmetic": (14, "bpf_map_lookup_elem() returns a pointer that may be NULL"),
    "maybe_null_map_value": (14, "bpf_map_lookup_elem() returns a pointer that may be NULL"),
    "misaligned_packet": (6, "start of the packet"),
    "misaligned_stack": (6, "the write is here"),
    "missing_unlock": (17, "bpf_spin_lock() takes it"),
    "negative_index": (14, "ctx->args[0]: a number of any value"),
    "no_source_text": (14, "may be NULL"),
    "null_after_test": (16, "bpf_ringbuf_reserve() returns a pointer that may be NULL"),
    "refused_in_prelude": (14, "may be NULL"),
    "register_type_mismatch": (13, "set to the constant 5"),
    "ringbuf_record_too_small": (11, "record of a ring buffer, of 8 bytes"),
    "scalar_dereference": (6, "ctx->args[1]: an address that the program was handed"),
    "second_branch": (24, "read back from the stack, where the verifier did not keep its bounds"),
    "stack_out_of_bounds": (7, "bpf_get_current_comm() is called here"),
    "stack_variable_offset": (7, "ctx->args[0]: a number of any value"),
    "subprogram": (11, "ctx->args[1]: an address that the program was handed"),
    "too_many_insns": (7, "the loop begins again here"),
    "unbounded_length": (17, "a number of any value"),
    "unchecked_packet": (6, "ctx->data: start of the packet, 0 bytes of it checked"),
    "uninitialised_register": (7, "nothing was stored in R7"),
    "uninitialised_stack": (14, "bytes 8..15 of the 16 bytes at fp-24 are never written"),
    "unreleased_reference": (11, "bpf_ringbuf_reserve() acquires it here"),
    "use_after_submit": (14, "bpf_ringbuf_submit() gives it back"),
    "zero_sized_read": (7, "ctx->args[2]: a number of any value"),
}


def cell_of(name: str) -> str:
    return (DATA / f"{name}.bpf.c").read_text()


@pytest.mark.parametrize("name", CAUSES)
def test_the_story_of_a_captured_log_begins_at_its_first_cause(name):
    found = explain((DATA / f"{name}.log").read_text(), file="cell", cell=cell_of(name))
    line, words = CAUSES[name]
    assert found.cause is not None
    assert (found.cause.line, words in found.cause.what) == (line, True), found.story


@pytest.mark.parametrize("name", CAUSES)
def test_the_words_of_a_step_fit_the_line_of_the_cell(name):
    found = explain((DATA / f"{name}.log").read_text(), file="cell", cell=cell_of(name))
    lines = cell_of(name).split("\n")
    for step in found.story:
        assert step.source in ("", lines[(step.line or 0) - 1].strip())
        called = re.search(r"\b(bpf_\w+)\(\) (?:returns|takes|acquires|gives)", step.what)
        assert called is None or called[1] in lines[(step.line or 0) - 1]


@pytest.mark.parametrize("kernel", ["5.10", "7.3"])
def test_the_story_is_the_same_on_an_old_and_a_new_kernel(kernel):
    log = (DATA / f"linux_{kernel}_null_after_test.txt").read_text()
    found = explain(log, file="cell", cell=cell_of("null_after_test"))
    assert (found.line, found.cause.line) == (20, 16)
    assert [step.what for step in found.story] == [
        "bpf_ringbuf_reserve() returns a pointer that may be NULL",
        "this path goes on where the test found it to be NULL",
    ]
    assert found.snippet == "\tif (!e)\n\t\treturn 0;"
    assert found.snippet_line == 17


def test_linux_7_3_gives_the_steps_their_columns():
    log = (DATA / "linux_7.3_null_after_test.txt").read_text()
    assert [step.column for step in explain(log, file="cell").story] == [20, 20]


def test_the_causal_path_of_linux_7_3_is_the_story_where_the_log_has_no_instructions():
    log = (DATA / "linux_7.3_null_after_test.txt").read_text()
    report = log[log.index("\nVerification failed") :]
    found = explain(report, file="cell")
    assert [(step.insn, step.line, step.column, step.register) for step in found.story] == [
        (4, 16, 20, "R0"),
        (5, 16, 20, "R6"),
        (6, 16, 20, ""),
    ]
    assert found.story[0].what == "R0 changed from uninitialized value to ringbuf_mem_or_null at offset 0"
    assert found.story[0].state == "ringbuf_mem_or_null at offset 0"


SNIPPETS = {
    "maybe_null_map_value": ("\tif (!v)\n\t\treturn 0;", 15, 0),
    "null_after_test": ("\tif (!e)\n\t\treturn 0;", 17, 0),
    "missing_unlock": ("\tbpf_spin_unlock(&v->lock);", 19, 0),
    "unchecked_packet": (
        "\tif ((void *)(eth + 1) > (void *)(long)ctx->data_end)\n\t\treturn XDP_PASS;",
        7,
        0,
    ),
    "uninitialised_stack": ("\tstruct value v = {};", 14, 1),
    "unreleased_reference": ("\tif (e->pid == 1) {\n\t\tbpf_ringbuf_discard(e, 0);\n\t\treturn 0;\n\t}", 15, 2),
}


@pytest.mark.parametrize("name", SNIPPETS)
def test_the_mended_line_has_the_names_of_the_cell(name):
    found = explain((DATA / f"{name}.log").read_text(), file="cell", cell=cell_of(name))
    assert (found.snippet, found.snippet_line, found.snippet_replaces) in [
        SNIPPETS[name],
        (f"{SNIPPETS[name][0]} /* REFUSED */", *SNIPPETS[name][1:]),
    ]


def test_the_mended_line_is_indented_as_the_cell_is_and_shown_in_the_summary():
    cell = cell_of("maybe_null_map_value").replace("\t", "    ")
    found = explain((DATA / "maybe_null_map_value.log").read_text(), file="cell", cell=cell)
    assert found.snippet == "    if (!v)\n        return 0;"
    assert "  for example, before line 15:\n    if (!v)\n        return 0;\n" in str(found)


def test_no_line_is_mended_without_the_text_of_the_cell():
    for name in SNIPPETS:
        assert explain((DATA / f"{name}.log").read_text(), file="cell").snippet == ""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("struct value *v = bpf_map", "struct value *v; if (ctx) v = bpf_map"),  # hangs on a branch
        ("\treturn 0;\n}", "\treturn key;\n}"),  # what to return is not certain
    ],
)
def test_no_line_is_mended_where_the_cell_leaves_a_doubt(before, after):
    cell = cell_of("maybe_null_map_value")
    assert before in cell
    doubtful = cell.replace(before, after).replace('SEC("tp', '// ("tp')
    assert explain((DATA / "maybe_null_map_value.log").read_text(), file="cell", cell=doubtful).snippet == ""


LEVEL_2 = """func#0 @0
0: R1=ctx(id=0,off=0,imm=0) R10=fp0
0: (bf) r6 = r1
1: R1=ctx(id=0,off=0,imm=0) R6_w=ctx(id=0,off=0,imm=0) R10=fp0
; void *p = bpf_map_lookup_elem(&a, &key); @ cell:3
1: (85) call bpf_map_lookup_elem#1
2: R0_w=map_value_or_null(id=1,off=0,ks=4,vs=8,imm=0) R6_w=ctx(id=0,off=0,imm=0) R10=fp0
; if (ctx->len) @ cell:4
2: (15) if r6 == 0x0 goto pc+2
; p = other; @ cell:5
3: (b7) r0 = 7
4: (95) exit

from 2 to 5: R0=map_value_or_null(id=1,off=0,ks=4,vs=8,imm=0) R6=ctx(id=0,off=0,imm=0) R10=fp0
; return *p; @ cell:7
5: (79) r1 = *(u64 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
"""


def test_another_path_is_left_out_of_the_story():
    found = explain(LEVEL_2 + PROCESSED)
    assert [(step.insn, step.line) for step in found.story] == [(1, 3)]
    assert [insn.number for insn in read(LEVEL_2).insns] == [0, 1, 2, 5]


HELPER_WROTE = """; u32 n = ctx->args[2];
3: (79) r8 = *(u64 *)(r7 +32)
4: (63) *(u32 *)(r10 -8) = r8
; bpf_probe_read_user(&n, sizeof(n), (void *)ctx->args[1]);
13: (79) r3 = *(u64 *)(r7 +24)
14: (bf) r1 = r10
15: (07) r1 += -8
16: (b4) w2 = 4
17: (85) call bpf_probe_read_user#112
; slots->n[n] += 1;
18: (61) r1 = *(u32 *)(r10 -8)
20: (0f) r6 += r1
21: (79) r1 = *(u64 *)(r6 +0)
 R6_w=map_value(id=0,off=0,ks=4,vs=128,umax_value=34359738360,var_off=(0x0; 0x7fffffff8)) R10=fp0
R6 unbounded memory access, make sure to bounds check any such access
"""


def test_without_states_the_instructions_tell_that_a_helper_wrote_to_the_stack():
    found = explain(HELPER_WROTE + PROCESSED)
    assert (found.cause.insn, found.cause.what) == (17, "bpf_probe_read_user() writes the bytes at fp-8")


DYNPTR_7_3 = """; d = bpf_dynptr_data(&r, 0, 8); @ cell:18
6: (85) call bpf_ringbuf_reserve_dynptr#198   ; R0=scalar() fp-16=dynptr_ringbuf(id=2,parent_id=1) refs=1
18: (85) call bpf_dynptr_data#203 ; R0=mem_or_null(id=3,parent_id=2,sz=8) fp-16=dynptr_ringbuf(id=2,parent_id=1) refs=1
19: (bf) r6 = r0 ; R0=mem_or_null(id=3,parent_id=2,sz=8) R6=mem_or_null(id=3,parent_id=2,sz=8) refs=1
; bpf_ringbuf_submit_dynptr(&r, 0); @ cell:19
21: (b7) r2 = 0 ; R2=0 refs=1
22: (85) call bpf_ringbuf_submit_dynptr#199   ;
; if (d) @ cell:20
23: (15) if r6 == 0x0 goto pc+2       ; R6=scalar(umin=1)
; *d = 1; @ cell:21
25: (7b) *(u64 *)(r6 +0) = r0
R6 invalid mem access 'scalar'
"""


def test_linux_7_3_tells_by_parents_what_a_pointer_belongs_to():
    found = explain(DYNPTR_7_3 + PROCESSED)
    assert (found.cause.line, found.cause.what[:28]) == (19, "bpf_ringbuf_submit_dynptr() ")


OVERWRITTEN = """7: (85) call bpf_ringbuf_reserve_dynptr#198   ; R0_w=scalar() fp-8_w=dddddddd fp-16_w=dddddddd refs=1
; __builtin_memset(&r, 0, sizeof(r)); @ cell:18
14: (7b) *(u64 *)(r10 -8) = r6        ; R6=0 R10=fp0 fp-8_w=00000000 refs=1
; bpf_ringbuf_discard_dynptr(&r, 0); @ cell:19
16: (bf) r1 = r10                     ; R1_w=fp0 R10=fp0 refs=1
17: (07) r1 += -16                    ; R1_w=fp-16 refs=1
18: (b7) r2 = 0                       ; R2_w=0 refs=1
19: (85) call bpf_ringbuf_discard_dynptr#200
Expected an initialized dynptr as arg #1
"""


def test_a_dynptr_that_is_none_any_more_is_told_by_what_wrote_over_it():
    made = "5: (bf) r4 = r10 ; R4_w=fp0 R10=fp0\n6: (07) r4 += -16 ; R4_w=fp-16\n"
    assert explain(made + OVERWRITTEN + PROCESSED).cause.line == 18
    assert explain(made.replace("-16", "-32") + OVERWRITTEN + PROCESSED).cause.line == 19


OLD = """from 10 to 20: R1_w=invP(id=0) R6=map_value(id=0,off=0,ks=8,vs=144,imm=0) R10=fp0
; last_ip = func_stack->ips[last];
20: (71) r6 = *(u8 *)(r1 +3)
21: (67) r6 <<= 3
22: (0f) r3 += r6
last_idx 22 first_idx 20
regs=40 stack=0 before 21: (67) r6 <<= 3
; ip = func_stack->ips[depth];
23: (79) r2 = *(u64 *)(r3 +0)
 R3_w=map_value(id=0,off=8,ks=8,vs=144,umax_value=2040,var_off=(0x0; 0x7f8)) R6_w=invP(id=0,umax_value=2040) R10=fp0
invalid access to map value, value_size=144 off=2048 size=8
R3 max value is outside of the allowed memory range
"""


def test_an_old_log_without_states_is_walked_by_its_instructions_and_its_text_is_found_in_the_cell():
    cell = "\tlast = 1;\n\tlast_ip = func_stack->ips[last];" + 2 * "\n\tip = func_stack->ips[depth];"
    found = explain(OLD + PROCESSED, cell=cell)
    assert [(step.insn, step.line, step.state) for step in found.story] == [(20, 2, ""), (22, 2, "number 0..2040")]
    assert found.line == 3  # the text is there twice, and the path comes from line 2
    assert [insn.number for insn in read(OLD).insns] == [20, 21, 22, 23]


FRAMES = """0: R1=ctx() R10=fp0
; e = find(7); @ cell:9
0: (b7) r1 = 7 ; R1=7
1: (85) call pc+2
caller:
 R10=fp0
callee:
 frame1: R1=7 R10=fp0
4: frame1: R1=7 R10=fp0
; return bpf_ringbuf_reserve(&events, 8, 0); @ cell:4
4: (85) call bpf_ringbuf_reserve#131 ; frame1: R0=ringbuf_mem_or_null(id=2,ref_obj_id=2,sz=8) refs=2
5: (95) exit
returning from callee:
 frame1: R0=ringbuf_mem_or_null(id=2,ref_obj_id=2,sz=8) R10=fp0 refs=2
to caller at 2:
 R0=ringbuf_mem_or_null(id=2,ref_obj_id=2,sz=8) R10=fp0 refs=2
; e->pid = 1; @ cell:10
2: (7b) *(u64 *)(r10 -8) = r0 ; R0=ringbuf_mem_or_null(id=2,ref_obj_id=2,sz=8) fp-8=ringbuf_mem_or_null(id=2) refs=2
3: (79) r3 = *(u64 *)(r10 -8) ; R3=ringbuf_mem_or_null(id=2,ref_obj_id=2,sz=8) refs=2
6: (62) *(u32 *)(r3 +0) = 1
R3 invalid mem access 'ringbuf_mem_or_null'
"""


def test_a_pointer_is_followed_through_the_stack_and_out_of_a_function():
    found = explain(FRAMES + PROCESSED)
    assert [(step.insn, step.line, step.what) for step in found.story] == [
        (4, 4, "bpf_ringbuf_reserve() returns a pointer that may be NULL"),
        (5, 4, "the function returns it"),
        (2, 10, "it is kept on the stack, at fp-8"),
    ]
    assert [insn.frame for insn in read(FRAMES).insns] == [0, 0, 1, 1, 0, 0, 0]


def long_loop(rounds: int) -> str:
    # What Linux 6.18 says of `for (u64 i = 0; i < n; i++) sum += *p;`, one round repeated with another count.
    head = (
        "0: R1=ctx() R10=fp0\n; u64 *p = bpf_map_lookup_elem(&a, &key); @ cell:5\n"
        "0: (85) call bpf_map_lookup_elem#1 ; R0=map_value_or_null(id=1,map=a,ks=4,vs=8)\n"
        "1: (bf) r6 = r0 ; R0=map_value_or_null(id=1,map=a,ks=4,vs=8) R6=map_value_or_null(id=1,map=a,ks=4,vs=8)\n"
        "2: (b7) r1 = 0 ; R1=0\n"
    )
    round_ = (
        "; for (u64 i = 0; i < n; i++) @ cell:7\n3: (07) r1 += 1                       ; R1={n}\n"
        "; sum += i; @ cell:8\n4: (0f) r2 += r1                       ; R1={n} R2=scalar(smin=smin32=0,smax=umax={n})"
        " refs=2 R6=map_value(map=a,ks=4,vs=8) fp-8=mmmmmmmm fp-16=mmmmmmmm fp-24=mmmmmmmm fp-32=mmmmmmmm"
        " fp-40=mmmmmmmm fp-48=mmmmmmmm fp-56=mmmmmmmm\n5: (a5) if r1 < 0xf4240 goto pc-3       ; R1={n}\n"
    )
    return head + "".join(round_.replace("{n}", str(n)) for n in range(rounds))


def test_three_hundred_thousand_lines_are_explained_within_a_second():
    log = long_loop(60_000) + "BPF program is too large. Processed 1000001 insn\n" + PROCESSED
    assert log.count("\n") >= 300_000
    cell = "\n".join(["//"] * 6 + ["\tfor (u64 i = 0; i < n; i++)", "\t\tsum += i;"])
    began = time.perf_counter()
    found = explain(log, file="cell", cell=cell)
    took = time.perf_counter() - began
    assert took < 1
    assert (found.line, found.lines) == (8, log.count("\n"))
    assert (found.cause.line, found.cause.what[:29]) == (7, "the loop begins again here, a")
    assert [step.register for step in found.story] == ["", "R1"]
    assert len(str(found).split("\n")) < 20


def test_only_a_part_of_a_long_log_is_read():
    log = long_loop(60_000) + "6: (79) r1 = *(u64 *)(r6 +0)\nR6 invalid mem access 'map_value_or_null'\n" + PROCESSED
    began = time.perf_counter()
    found = explain(log, file="cell")
    assert time.perf_counter() - began < 1
    assert found.line == 8


@pytest.mark.parametrize(
    "lines",
    [
        "{}: (0f) r1 += r2\n",
        "{}: (0f) r1 += r2\n{}: (0f) r2 += r1\n",
        "{}: (bf) r1 = r6\n{}: (85) call bpf_ringbuf_submit#132\n",
        "{}: (15) if r6 == 0x0 goto pc+1\n",
        "{}: (79) r1 = *(u64 *)(r3 -8)\n{}: (7b) *(u64 *)(r3 -8) = r1\n",
        "{}: (85) call pc+1\n",
        "from {} to {}: safe\n{}: (bf) r1 = r6\n",
        "1: (85) call bpf_map_lookup_elem#1 ; R6=map_value(id=1)\nfrom 1 to 2: R6=0\n",
    ],
)
@pytest.mark.parametrize(
    "ending",
    [
        "R6 invalid mem access 'scalar'",
        "R1 unbounded memory access, make sure to bounds check any such access",
        "invalid access to packet, off=1 size=1, R1(id=1,off=0,r=0)\nR1 offset is outside of the packet",
        "Unreleased reference id=2 alloc_insn=4",
        "invalid read from stack R3 off -24+8 size 16",
        "BPF program is too large. Processed 1000001 insn",
    ],
)
def test_a_hundred_kilobytes_made_to_be_slow_are_not(lines, ending):
    many = "".join(lines.replace("{}", str(4 + n % 97)) for n in range(100_000 // len(lines)))
    log = f"0: R1=ctx() R10=fp0\n4: (85) call bpf_ringbuf_reserve#131\n{many}9: (79) r1 = *(u64 *)(r6 +0)\n{ending}\n"
    took = min(fuzz_verifier.seconds(log[-100_000:] + PROCESSED, None) for _ in range(2))
    assert took < 0.2  # alone on a machine: 0.03


LOGS = fuzz_verifier.real_logs()


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from([None, *fuzz_verifier.CELLS]))
def test_no_mutated_log_raises_or_takes_long(chance, cell):
    log = fuzz_verifier.mutated(chance, LOGS)
    took = fuzz_verifier.seconds(log, cell)
    assert min(took, fuzz_verifier.seconds(log, cell)) < fuzz_verifier.SLOW


def test_the_fuzzer_ends_with_the_number_of_logs_that_it_was_asked_for(capsys):
    assert fuzz_verifier.main(["53", "60", "3"]) == 0
    assert capsys.readouterr().out.startswith("53 logs in ")
