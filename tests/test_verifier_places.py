"""Where a refusal is, and which of the log's lines is the verdict: logs of several kernels, cut and whole."""

from __future__ import annotations

import pytest

from ebpflab.verifier import explain, locate

PROCESSED = "processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n"


@pytest.mark.parametrize(
    ("source", "cell", "line"),
    [
        ("*v += 1;", "int f()\n{\n\t*v += 1;\n}\n", 3),
        ("  *v += 1;\t", "*v += 1;", 1),
        ("*v += 1;", "*v += 1;\n*v += 1;", None),
        ("*v += 1;", "*v += 10;", None),
        ("", "\n", None),
    ],
)
def test_source_text_is_located_only_where_it_is_exact_and_unique(source, cell, line):
    assert locate(source, cell) == line


HEADER = """0: R1=ctx() R10=fp0
; if (!ctx) @ lab.h:3
0: (15) if r1 == 0x0 goto pc+2
; first(v); @ cell:4
1: (bf) r6 = r1 ; R6=ctx()
{switch}; return *words; @ lab.h:9
;  @ cell:0
3: (79) r1 = *(u64 *)(r7 +0)
R7 !read_ok
"""


def test_a_refusal_in_a_header_is_placed_at_the_last_cell_line_before_it():
    log = HEADER.format(switch="") + PROCESSED
    assert explain(log).line == 4
    assert explain(log, file="lab.h").line == 9
    assert explain(log, file="/tmp/work/cell").line == 4


def test_a_refusal_in_a_header_is_not_placed_on_another_path():
    log = HEADER.format(switch="\nfrom 0 to 3: R0=0 R10=fp0\n") + PROCESSED
    assert (explain(log).line, explain(log).source) == (None, None)


def test_notes_about_states_are_no_verdict_where_an_old_kernel_filled_its_buffer():
    # Linux before 6.4 keeps the beginning of a log, and 5.10 prints how it walked back to make a number precise.
    log = "; i++ @ cell:4\n3: (07) r2 += 1\n4: (15) if r2 == 0x989680 goto pc+1\nlast_idx 4 first_idx 2\n"
    found = explain(f"{log}regs=4 stack=0 before 3: (07) r2 += 1\nregs=4 stack=0 before 5: (05) goto pc-4\nreg")
    assert found.truncated
    assert found.message == "the log was cut before the verifier's verdict"
    assert (found.line, found.instruction, found.category) == (None, None, None)


def test_a_record_on_the_first_line_of_a_log_gives_the_place():
    cell = "int f(struct __sk_buff *ctx)\n{\n\treturn ctx->family;\n}"
    log = "; return ctx->family;\n0: (61) r0 = *(u32 *)(r1 +8)\ninvalid bpf_context access off=8 size=4\n"
    found = explain(log + PROCESSED, cell=cell)
    assert (found.line, found.source) == (3, "return ctx->family;")
    assert explain("; return 0; @ cell:9\n0: (95) exit\nR0 !read_ok\n" + PROCESSED).line == 9
    header = "; x @ lab.h:9\n; x @ lab.h:9\n0: (95) exit\nR0 !read_ok\n"
    assert explain(header + PROCESSED).line is None


TWICE = """; sk = bpf_sk_lookup_udp(skb, &t, 12, -1, 0);
14: (85) call bpf_sk_lookup_udp#85
15: (bf) r6 = r0
; bpf_sk_release(sk);
18: (bf) r1 = r6
19: (85) call bpf_sk_release#86
; bpf_sk_release(sk);
20: (bf) r1 = r6
21: (85) call bpf_sk_release#86
R1 type=inv expected=sock_common, sock, tcp_sock, xdp_sock, ptr_
"""


def test_of_two_equal_lines_the_calls_on_the_path_tell_which_is_meant():
    line = "\tbpf_sk_release(sk);"
    cell = "\n".join(["{", "\tsk = bpf_sk_lookup_udp(skb, &t, 12, -1, 0);", line, line, "}"])
    found = explain(TWICE + PROCESSED, cell=cell)
    assert (found.line, found.cause.line) == (4, 3)
    # The same text again without a call between is another column of the same line.
    again = TWICE.replace("19: (85) call bpf_sk_release#86\n", "")
    assert explain(again + PROCESSED, cell=cell).line == 3


def test_of_several_messages_the_one_that_names_the_fault_is_told():
    details = "cannot access ptr member vma with moff 0 in struct file with off 0 size 1\n"
    verdict = "kernel function f args#0 expected pointer to STRUCT task_struct but R1 has a pointer to STRUCT file"
    found = explain(f"0: R1=ctx()\n1: (85) call f#71885\n{details}{verdict}\n{PROCESSED}")
    assert (found.message, found.category) == (verdict, "Call Type Safety")
    assert "task_struct" in found.fix
