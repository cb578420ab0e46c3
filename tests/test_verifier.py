from __future__ import annotations

import errno
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflab.verifier import explain

DATA = Path(__file__).parent / "data" / "verifier"
NAMES = sorted(path.stem for path in DATA.glob("*.log"))
PROCESSED = "processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n"

# The kernel's message in each captured log, and the category that the nine names of Linux 7.3 put it in.
CAPTURED = {
    "call_under_lock": ("function calls are not allowed while holding a lock", "Execution Context Safety"),
    "combined_stack": ("combined stack size of 2 calls is 800. Too large", "Verifier Limit"),
    "context_argument_missing": ("func 'sched_process_exit' doesn't have 5-th argument", "Memory Safety"),
    "context_modified": ("dereference of modified ctx ptr R1 off=4 disallowed", "Register Type Safety"),
    "context_out_of_bounds": ("invalid bpf_context access off=64 size=4", "Memory Safety"),
    "failed_core_relocation": (
        "failed to resolve CO-RE relocation <byte_off> [5] struct task_struct___other.not_a_member (0:0 @ offset 0)",
        "Program Structure",
    ),
    "gpl_only": ("cannot call GPL-restricted function from non-GPL compatible program", "Policy"),
    "helper_not_allowed": ("program of this type cannot use helper bpf_redirect#23", "Policy"),
    "helper_unknown": ("invalid func unknown#9999", "Policy"),
    "infinite_loop": ("infinite loop detected at insn 1", "Program Structure"),
    "invalid_return_code": (
        "At program exit the register R0 has smin=5 smax=5 should have been in [0, 1]",
        "Program Structure",
    ),
    "kernel_struct_write": ("only read is supported", "Memory Safety"),
    "map_value_out_of_bounds": ("invalid access to map value, value_size=16 off=16 size=8", "Memory Safety"),
    "map_value_unbounded_index": (
        "R0 unbounded memory access, make sure to bounds check any such access",
        "Memory Safety",
    ),
    "maybe_null_arithmetic": (
        "R1 pointer arithmetic on map_value_or_null prohibited, null-check it first",
        "Register Type Safety",
    ),
    "maybe_null_map_value": ("R0 invalid mem access 'map_value_or_null'", "Register Type Safety"),
    "misaligned_packet": ("misaligned packet access off 2+0+0+3 size 4", "Memory Safety"),
    "misaligned_stack": ("misaligned stack access off 0+0+-12 size 8", "Memory Safety"),
    "missing_unlock": (
        "BPF_EXIT instruction in main prog cannot be used inside bpf_spin_lock-ed region",
        "Execution Context Safety",
    ),
    "negative_index": (
        "math between map_value pointer and register with unbounded min value is not allowed",
        "Register Type Safety",
    ),
    "no_line_info": ("R1 invalid mem access 'scalar'", "Register Type Safety"),
    "no_source_text": ("R0 invalid mem access 'map_value_or_null'", "Register Type Safety"),
    "null_after_test": ("R6 invalid mem access 'scalar'", "Register Type Safety"),
    "pointer_leak": ("R6 leaks addr into map", "Policy"),
    "refused_in_prelude": ("R0 invalid mem access 'map_value_or_null'", "Register Type Safety"),
    "register_type_mismatch": (
        "R2 type=scalar expected=fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_",
        "Call Type Safety",
    ),
    "ringbuf_record_too_small": ("invalid access to memory, mem_size=8 off=8 size=8", "Memory Safety"),
    "scalar_dereference": ("R1 invalid mem access 'scalar'", "Register Type Safety"),
    "second_branch": (
        "R1 unbounded memory access, make sure to bounds check any such access",
        "Memory Safety",
    ),
    "sleepable_helper": ("helper call might sleep in a non-sleepable prog", "Execution Context Safety"),
    "stack_out_of_bounds": ("invalid write to stack R1 off=-8 size=16", "Memory Safety"),
    "stack_variable_offset": ("invalid unbounded variable-offset write to stack R2", "Memory Safety"),
    "subprogram": ("R1 invalid mem access 'scalar'", "Register Type Safety"),
    "too_many_insns": ("BPF program is too large. Processed 1000001 insn", "Verifier Limit"),
    "unbounded_length": ("R2 min value is negative, either use unsigned or 'var &= const'", "Memory Safety"),
    "unchecked_packet": ("invalid access to packet, off=12 size=2, R1(id=0,off=12,r=0)", "Memory Safety"),
    "uninitialised_register": ("R7 !read_ok", "Register Type Safety"),
    "uninitialised_stack": ("invalid read from stack R3 off -24+8 size 16", "Memory Safety"),
    "unreachable_insn": ("unreachable insn 1", "Program Structure"),
    "unreleased_reference": ("Unreleased reference id=2 alloc_insn=4", "Resource Lifetime Safety"),
    "use_after_submit": ("R6 invalid mem access 'scalar'", "Register Type Safety"),
    "write_read_only": ("write into map forbidden, value_size=4 off=0 size=4", "Memory Safety"),
    "zero_sized_read": ("R2 invalid zero-sized read: u64=[0,31]", "Memory Safety"),
}

# Messages that Linux 6.18 does not give to root or words differently, verbatim from kernel/bpf/verifier.c.
VERBATIM = {
    "R0 invalid mem access 'inv'": "Register Type Safety",
    "R1 invalid mem access 'dynptr_ptr'": "Register Type Safety",
    "R1 pointer += pointer prohibited": "Register Type Safety",
    "R3 offset is outside of the packet": "Memory Safety",
    "R0 max value is outside of the allowed memory range": "Memory Safety",
    "invalid indirect read from stack R2 off -8+4 size 8": "Memory Safety",
    "invalid indirect access to stack R1 off=-64 size=65": "Memory Safety",
    "access beyond struct task_struct at off 99999 size 8": "Memory Safety",
    "unknown func bpf_sk_lookup_tcp#84": "Policy",
    "cannot pass map_type 27 into func bpf_map_lookup_elem#1": "Call Type Safety",
    "Possibly NULL pointer passed to trusted arg0": "Call Type Safety",
    "At program exit the register R0 has value (0x5; 0x0) should have been in (0x0; 0x1)": ("Program Structure"),
    "BPF_EXIT instruction in main prog would lead to reference leak": "Resource Lifetime Safety",
    "back-edge from insn 9 to 2": "Program Structure",
    "jump out of range from insn 3 to 40": "Program Structure",
    "last insn is not an exit or jmp": "Program Structure",
    "The sequence of 8193 jumps is too complex.": "Verifier Limit",
    "verifier internal error: no dynptr arg found": "Verifier Internal Error",
}


def captured(name: str) -> str:
    return (DATA / f"{name}.log").read_text()


def marked_line(name: str) -> tuple[int, str] | None:
    for number, text in enumerate((DATA / f"{name}.bpf.c").read_text().splitlines(), 1):
        if "REFUSED" in text:
            return number, text.strip()
    return None


def test_every_captured_log_has_an_expectation():
    assert set(NAMES) == set(CAPTURED)


@pytest.mark.parametrize("name", NAMES)
def test_a_captured_log_gives_the_kernels_refusing_line_and_its_category(name):
    found = explain(captured(name), file="cell")
    assert (found.message, found.category) == CAPTURED[name]
    assert found.message in captured(name).split("\n")
    assert found.meaning
    assert found.fix
    assert not found.truncated


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"no_line_info", "no_source_text"}))
def test_a_captured_log_gives_the_line_that_the_cell_marks(name):
    found = explain(captured(name), file="cell")
    assert (found.line, found.source) == (marked_line(name) or (None, None))


def test_a_line_is_known_without_its_text_and_nothing_is_known_without_records():
    assert explain(captured("no_source_text")).line == marked_line("no_source_text")[0]
    assert explain(captured("no_source_text")).source is None
    assert (explain(captured("no_line_info")).line, explain(captured("no_line_info")).source) == (None, None)


@pytest.mark.parametrize("message", VERBATIM)
def test_a_message_of_another_kernel_is_recognised(message):
    found = explain(f"0: R1=ctx() R10=fp0\n0: (bf) r6 = r1\n{message}\n{PROCESSED}")
    assert (found.message, found.category) == (message, VERBATIM[message])


def test_instruction_counts_and_registers_are_those_of_the_log():
    found = explain(captured("maybe_null_map_value"))
    assert found.instruction == (7, "(79) r1 = *(u64 *)(r0 +0)")
    assert found.registers == {"R0": "map_value_or_null(id=1,map=counts,ks=4,vs=16)"}
    assert (found.lines, found.insns_processed, found.column) == (16, 7, None)


def test_a_state_value_with_blanks_and_brackets_is_kept_whole():
    value = "scalar(smin=smin32=0,smax=umax=smax32=umax32=31,var_off=(0x0; 0x1f))"
    assert explain(captured("zero_sized_read")).registers["R2"] == value


def test_a_register_that_a_call_may_have_invalidated_is_not_claimed():
    # The log's last word on R6 is `ringbuf_mem`, but bpf_ringbuf_submit() has turned it into a number since.
    assert "R6=ringbuf_mem" in captured("use_after_submit")
    assert "R6" not in explain(captured("use_after_submit")).registers


def test_a_register_whose_copy_was_compared_since_is_not_claimed():
    steps = "1: (bf) r7 = r0 ; R0=map_value_or_null(id=1) R7=map_value_or_null(id=1)\n"
    compared = "2: (15) if r7 == 0x0 goto pc+6 ; R7=map_value(id=1)\n"
    ending = "3: (b7) r2 = 0 ; R2=0\n4: (7b) *(u64 *)(r0 +0) = r2\nR0 invalid mem access 'x'\n"
    assert explain(steps + ending + PROCESSED).registers == {"R2": "0", "R0": "map_value_or_null(id=1)"}
    assert explain(steps + compared + ending + PROCESSED).registers == {"R2": "0"}


def test_a_fault_found_outside_of_the_walk_is_not_placed_at_the_last_instruction():
    log = "0: R1=ctx() R10=fp0\n; return 0; @ cell:4\n0: (b7) r0 = 0 ; R0=0\n1: (95) exit\n"
    found = explain(f"{log}combined stack size of 2 calls is 800. Too large\n{PROCESSED}")
    assert (found.line, found.source, found.instruction, found.registers) == (None, None, None, {})


def test_an_instruction_is_cut_before_the_state_printed_behind_it():
    log = "0: R1=ctx()\n18: (55) if r2 != 0x3 goto pc+4 23: frame1: R1=ctx() R10=fp0\nR2 !read_ok\n" + PROCESSED
    assert explain(log).instruction == (18, "(55) if r2 != 0x3 goto pc+4")


def test_the_summary_is_short_and_holds_place_cause_and_fix():
    for name in NAMES:
        shown = str(explain(captured(name), file="cell"))
        assert len(shown.splitlines()) <= 20
        assert all(len(line) <= 160 for line in shown.splitlines())
    assert str(explain(captured("maybe_null_map_value"))).splitlines() == [
        "R0 invalid mem access 'map_value_or_null'",
        "  Register Type Safety",
        "  line 15: v->n[0] += 1; /* REFUSED */",
        "  instruction 7: (79) r1 = *(u64 *)(r0 +0)",
        "  R0 is map_value_or_null(id=1,map=counts,ks=4,vs=16)",
        "  how it came about:",
        "    line 14: bpf_map_lookup_elem() returns a pointer that may be NULL (R0: value of map counts, or NULL)",
        "  why: The pointer in R0 may be NULL here: the lookup or reservation that made it can fail.",
        "  fix: Test it first: if (!p) return 0;",
        "  (log: 16 lines; instructions verified: 7)",
    ]


def test_an_unknown_message_is_shown_without_a_guess():
    found = explain("0: R1=ctx() R10=fp0\n; return 0; @ cell:4\n0: (95) exit\nthe moon is full\n" + PROCESSED)
    assert (found.message, found.category, found.meaning, found.fix) == ("the moon is full", None, "", "")
    assert (found.line, found.instruction) == (4, (0, "(95) exit"))


OLD = """func#0 @0
0: R1=ctx(id=0,off=0,imm=0) R10=fp0
; u64 *v = bpf_map_lookup_elem(&counts, &key);
6: (85) call bpf_map_lookup_elem#1
7: R0_w=map_value_or_null(id=1,off=0,ks=4,vs=8,imm=0) R10=fp0 fp-8=mmmm????
; *v += 1;
7: (79) r1 = *(u64 *)(r0 +0)
 R0_w=map_value_or_null(id=1,off=0,ks=4,vs=8,imm=0) R10=fp0 fp-8=mmmm????
R0 invalid mem access 'map_value_or_null'
"""


def test_a_log_of_an_older_kernel_gives_the_source_text_and_its_state():
    found = explain(OLD + PROCESSED)
    assert (found.line, found.source) == (None, "*v += 1;")
    assert found.registers["R0"] == "map_value_or_null(id=1,off=0,ks=4,vs=8,imm=0)"
    assert found.registers["fp-8"] == "mmmm????"
    assert "  in the cell: *v += 1;" in str(found).splitlines()


def test_statistics_and_notes_are_never_the_message():
    for name in NAMES:
        framed = (
            f"-- BEGIN PROG LOAD LOG --\n{captured(name)}verification time 88 usec\nstack depth 8\n"
            f"{PROCESSED}-- END PROG LOAD LOG --\n"
        )
        assert explain(framed, file="cell").message == CAPTURED[name][0]


def test_a_log_cut_before_the_verdict_claims_no_place_and_no_cause():
    log = captured("maybe_null_map_value")
    for length in range(1, log.index("R0 invalid mem access")):
        found = explain(log[:length], errno=errno.ENOSPC)
        assert found.truncated
        assert (found.line, found.instruction, found.category) == (None, None, None)
        assert found.message == "No space left on device: the log was cut before the verifier's verdict"
        assert "log buffer" in found.fix


def test_a_log_cut_after_the_verdict_is_explained_and_called_cut():
    log = captured("maybe_null_map_value")
    found = explain(log[: log.index("processed ")])
    assert (found.truncated, found.insns_processed, found.line) == (True, None, 15)
    assert "cut short" in str(found)


def test_an_empty_log_is_explained_by_its_errno():
    found = explain("", errno=errno.E2BIG)
    assert found.message == "Argument list too long: the kernel left no verifier log"
    assert (found.lines, found.truncated) == (0, False)


def test_of_a_report_of_linux_7_3_the_reason_is_used_and_the_suggestion_stands_behind_the_tables_fix():
    found = explain((DATA / "linux_7.3_unreadable_register.txt").read_text())
    assert (found.message, found.category) == ("R0 !read_ok", "Register Type Safety")
    assert found.meaning.startswith("R0 has never been initialized on this path, so the verifier cannot")
    ours, suggested = "End every path with a value: return 0;", "Initialize R0 on every path before this instruction."
    assert found.fix == f"{ours} The kernel suggests: {suggested}"
    assert found.instruction == (0, "(95) exit")
    assert (found.truncated, found.insns_processed, found.lines) == (False, 1, 22)


# Composed from the format strings of kernel/bpf/diagnostics.c (bpf_diag_source): a program with line records.
REPORT = """{classic}
Verification failed: Register Type Safety: Invalid dereference

Reason:
  R0 may be NULL here (a nullable map value pointer). The program could dereference NULL on this
  path, so the verifier cannot prove this access is safe.

At:
  count @ /tmp/work/cell:15:5
  Source context:
       13 | u32 key = 1;
       14 | struct value *v = bpf_map_lookup_elem(&counts, &key);
  >>> 15 | v->n[0] += 1;
         | ^-- error: invalid dereference of R0 (a nullable map value pointer)
       16 | ...
       17 | return 0;
  Instruction context:
      5 | (85) call bpf_map_lookup_elem#1
  >>> 7 | (79) r1 = *(u64 *)(r0 +0)

Causal path:
  count @ /tmp/work/cell:14:20
  Source context:
  >>> 14 | struct value *v = bpf_map_lookup_elem(&counts, &key);
         | ^-- update: R0 changed from uninitialized value to nullable map value from counts at offset 0
  Instruction context:
  >>> 6 | (85) call bpf_map_lookup_elem#1

Suggestion:
  Add a NULL check before the access and dereference the pointer only on the non-NULL path.

"""


@pytest.mark.parametrize("classic", ["", "7: (79) r1 = *(u64 *)(r0 +0)\nR0 invalid mem access 'map_value_or_null'\n"])
def test_a_report_of_linux_7_3_gives_line_and_column(classic):
    found = explain(REPORT.format(classic=classic) + PROCESSED, file="cell")
    assert (found.line, found.column, found.source) == (15, 5, "v->n[0] += 1;")
    assert found.instruction == (7, "(79) r1 = *(u64 *)(r0 +0)")
    assert found.message == (classic.split("\n")[1] if classic else "Invalid dereference")
    assert found.meaning.endswith("dereference NULL on this path, so the verifier cannot prove this access is safe.")
    suggested = "Add a NULL check before the access and dereference the pointer only on the non-NULL path."
    ours = "Test it first: if (!p) return 0; The kernel suggests: " if classic else ""
    assert found.fix == ours + suggested
    assert found.category == "Register Type Safety"


def test_source_text_cannot_pose_as_a_report():
    log = captured("maybe_null_map_value").replace("v->n[0] += 1;", 'f("Verification failed: Policy: x");')
    assert explain(log).category == "Register Type Safety"


def test_thirty_megabytes_are_explained_within_a_second():
    step = "; sum += i; @ cell:8\n2: (79) r2 = *(u64 *)(r10 -8)   ; R2=0x25feec814 R10=fp0 fp-8=0x25feec814" + " " * 120
    body = (step + "\n") * 150_000
    ending = captured("maybe_null_map_value")
    log = body + ending
    assert len(log) > 30_000_000 * 0.9
    began = time.perf_counter()
    found = explain(log, file="cell")
    took = time.perf_counter() - began
    assert (found.line, found.lines) == (15, 300_016)
    assert took < 1


def test_thirty_megabytes_on_one_source_line_are_explained_within_a_second():
    body = ("7: (07) r1 += 1   ; R1=0x22de9" + " " * 70 + "\n") * 300_000
    log = f"0: R1=ctx() R10=fp0\n; for (;;) @ cell:6\n; w @ a.h:3\n{body}R1 !read_ok\n{PROCESSED}"
    began = time.perf_counter()
    assert explain(log).line == 6
    assert time.perf_counter() - began < 1


PIECES = [line for name in NAMES for line in captured(name).split("\n")[:40]] + REPORT.split("\n") + OLD.split("\n")


@given(st.text() | st.lists(st.sampled_from(PIECES) | st.text(max_size=20), max_size=30).map("\n".join))
def test_no_text_makes_it_raise(log):
    found = explain(log, errno=13, file="cell")
    assert found.message
    assert len(str(found).splitlines()) <= 24
    assert found.truncated == (bool(log) and re.search(r"^processed \d{1,12} insns", log, re.M) is None)


def test_a_pointer_that_a_test_found_null_is_called_null_and_a_number_a_number():
    null, number = (explain((DATA / f"{name}.log").read_text()) for name in ("null_after_test", "scalar_dereference"))
    assert "R6 is NULL" in null.meaning
    assert null.fix == "Test it first: if (!p) return 0;"
    assert "R1 is an address that the program was handed (ctx->args[1])" in number.meaning


def test_linux_7_3_gives_the_place_and_the_table_still_knows_a_null_pointer():
    found = explain((DATA / "linux_7.3_null_after_test.txt").read_text(), file="cell")
    assert (found.line, found.source) == marked_line("null_after_test")
    assert found.column == 9
    assert found.instruction == (18, "(63) *(u32 *)(r6 +0) = r0")
    assert "R6 is NULL" in found.meaning
    assert found.fix == "Test it first: if (!p) return 0;"
    assert found.category == "Register Type Safety"


def test_linux_5_10_has_states_on_lines_of_their_own_and_null_is_found_in_them():
    found = explain((DATA / "linux_5.10_null_after_test.txt").read_text())
    assert found.message == "R6 invalid mem access 'inv'"
    assert "R6 is NULL" in found.meaning
    assert (found.line, found.source) == (None, marked_line("null_after_test")[1])


def test_a_number_that_was_never_a_pointer_is_not_called_null():
    log = "1: (b7) r6 = 0                        ; R6=0\n2: (15) if r7 == 0x0 goto pc+1        ; R7=5\n"
    log += "3: (63) *(u32 *)(r6 +0) = r0\nR6 invalid mem access 'scalar'\nprocessed 3 insns (limit 1000000)\n"
    assert "NULL" not in explain(log).meaning
