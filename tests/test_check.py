"""What the three witnesses run, when they agree, and how that is shown; nothing here needs a kernel."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ebpflab
from ebpflab.errors import CellError
from ebpflab.jupyter import magics
from ebpflab.program_types import parse_section
from ebpflab.witnesses import command
from ebpflab.witnesses.result import Check, Count
from ebpflab.witnesses.texts import SLICES, Scope, of_a_process, own_calls, texts

GETPPID = parse_section("tp/syscalls/sys_enter_getppid")
MALLOC = parse_section("uprobe//lib/libc.so.6:malloc")


def made(*counts, **more):
    """A check in which the witnesses counted this; None for one that could not."""
    rows = [
        Count(name, count, 1.0, None if count is None else 3.5, count, 120.4, f"{name} < text", "gone" * (not count))
        for name, count in zip(("libbpf", "bcc", "bpftrace"), counts, strict=False)
    ]
    return Check("tp/x/y", "ls <and> what it starts", tuple(rows), **more)


def sources(section, scope):
    return {text.witness: text.source for text in texts(section, scope)}


@pytest.mark.parametrize("line", ["--help", "--foo", "--for banana", "tp/a/b --pid x", "tp/a/b c"])
def test_a_mistake_on_the_line_of_a_check_is_a_message_with_the_usage(line):
    with pytest.raises(CellError) as caught:
        command.ask(line)
    assert caught.value.hint


def test_all_three_leave_out_what_is_not_in_the_namespace():
    found = sources(GETPPID, Scope(namespace=4026532177))
    assert list(found) == ["libbpf", "bcc", "bpftrace"]
    assert all(source.count("4026532177") == 1 for source in found.values())
    assert 'SEC("tp/syscalls/sys_enter_getppid")' in found["libbpf"]
    assert "TRACEPOINT_PROBE(syscalls, sys_enter_getppid)" in found["bcc"]
    assert found["bpftrace"].startswith("tracepoint:syscalls:sys_enter_getppid /curtask->nsproxy->uts_ns->ns.inum == ")


def test_a_count_of_everybody_has_no_condition():
    found = sources(GETPPID, Scope())
    assert [("if (" in source or "/ {" in source) for source in found.values()] == [False] * 3


def test_a_count_of_a_process_asks_for_its_number():
    found = sources(GETPPID, Scope(pid=7919))
    assert "bpf_get_current_pid_tgid() >> 32 != 7919" in found["libbpf"]
    assert "bpf_get_current_pid_tgid() >> 32 != 7919" in found["bcc"]
    assert "/pid == 7919/" in found["bpftrace"]


def test_slices_are_of_one_clock_and_as_many_as_each_of_them_keeps():
    found = sources(GETPPID, Scope(slice=10_000_000))
    assert f"bpf_ktime_get_boot_ns() / 10000000 % {SLICES}" in found["libbpf"]
    assert f"bpf_ktime_get_boot_ns() / 10000000 % {SLICES}" in found["bcc"]
    assert "@counted[nsecs / 10000000]" in found["bpftrace"]
    assert (f"counted[{SLICES}]" in found["libbpf"], f"u64, {SLICES})" in found["bcc"]) == (True, True)


def test_a_function_of_a_file_is_the_same_file_for_all():
    libbpf, bcc, bpftrace = texts(MALLOC, Scope())
    assert 'SEC("uprobe//lib/libc.so.6:malloc")' in libbpf.source
    assert bcc.targets == {"on_event": "uprobe:/lib/libc.so.6:malloc"}
    assert "int on_event(struct pt_regs *ctx)" in bcc.source
    assert bpftrace.source.startswith("uprobe:/lib/libc.so.6:malloc {")


@pytest.mark.parametrize(
    ("section", "call"),
    [
        ("tp/syscalls/sys_enter_getppid", "getppid"),
        ("tp/syscalls/sys_exit_sched_yield", "sched_yield"),
        ("kprobe/__x64_sys_getuid", "getuid"),
        ("tp/syscalls/sys_enter_openat", ""),
        ("tp/sched/sched_switch", ""),
        ("raw_tp/sys_enter", ""),
        ("uprobe//lib/libc.so.6:getppid", ""),
    ],
)
def test_harmless_system_calls_are_made_by_a_process_of_our_own(section, call):
    assert own_calls(parse_section(section)) == call


@pytest.mark.parametrize(
    ("section", "answer"),
    [
        ("tp/irq/softirq_entry", False),
        ("tp/timer/hrtimer_start", False),
        ("raw_tp/softirq_exit", False),
        ("tp/sched/sched_switch", True),
        ("raw_tp/sys_enter", True),
        ("kprobe/vfs_read", True),
    ],
)
def test_interrupts_are_nobodys_doing(section, answer):
    assert of_a_process(parse_section(section)) is answer


@given(st.lists(st.one_of(st.none(), st.integers(0, 10**6)), min_size=3, max_size=3), st.integers(0, 10**6))
def test_counts_agree_when_no_two_are_further_apart_than_the_tolerance(counts, tolerance):
    known = [count for count in counts if count is not None]
    agree = made(*counts, tolerance=tolerance).agree
    if len(known) < 2:
        assert agree is None
    else:
        assert agree is all(abs(one - other) <= tolerance for one in known for other in known)


def test_three_that_agree_on_a_wrong_number_do_not_agree_with_the_workload():
    assert made(7, 7, 7, expected=7).agree is True
    assert made(7, 7, 7, expected=11).agree is False


def test_the_frame_has_a_row_for_each_witness_with_whole_numbers():
    frame = made(10_007, None, 10_007).frame
    assert frame["witness"].tolist() == ["libbpf", "bcc", "bpftrace"]
    assert str(frame["counted"].dtype) == "Int64"
    assert frame["counted"].isna().tolist() == [False, True, False]
    assert frame["ready_ms"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("check", "word"),
    [(made(7, 7, 7), "[agree]"), (made(7, 7, 8), "[differ]"), (made(7, None, None), "[not compared]")],
)
def test_text_and_html_say_the_same_word(check, word):
    assert repr(check).startswith(f"tp/x/y {word} ls <and> what it starts")
    assert word.strip("[]") in check._repr_html_()


def test_html_is_escaped_and_holds_what_each_of_them_ran():
    shown = made(7, 7, 7)._repr_html_()
    assert "<and>" not in shown
    assert all(f"{name} &lt; text" in shown for name in ("libbpf", "bcc", "bpftrace"))


def test_a_witness_that_could_not_count_is_shown_with_its_reason():
    lines = repr(made(7, None, 7)).splitlines()
    assert next(line for line in lines if line.split()[0] == "bcc").split() == ["bcc", "-", "-", "-", "120"]
    assert "  bcc: gone" in lines


def test_a_failed_command_is_shown_with_its_last_words():
    shown = repr(made(7, 7, 7, command=("cat", "a b"), status=7, output="cat: no such file\n"))
    assert "cat 'a b' ended with status 7" in shown
    assert "cat: no such file" in shown


def test_json_holds_all_of_it():
    plain = json.loads(json.dumps(made(7, 7, 8).to_dict()))
    assert (plain["agree"], plain["hook"]) == (False, "tp/x/y")
    assert [row["counted"] for row in plain["counts"]] == [7, 7, 8]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ebpflab.check(workload="no-such-command-here"), "there is no command no-such-command-here"),
        (lambda: ebpflab.check(workload=[]), "the command is empty"),
        (lambda: ebpflab.check(workload="sh -c 'ls"), "the command cannot be read: No closing quotation"),
        (lambda: ebpflab.check(workload="true", pid=1), "a workload and a pid are two answers to whose events count"),
        (lambda: ebpflab.check(seconds=0.001), "seconds=0.001 is too short a window"),
        (lambda: command.ask("--for 1s -- true"), "--for is for a check without a command"),
        (lambda: command.ask("--fro 1s"), "unknown option --fro"),
        (lambda: command.ask('-- sh -c "'), "the line after %bpf check cannot be read: No closing quotation"),
        (lambda: command.ask("--"), "the command is empty"),
    ],
)
def test_what_cannot_be_asked_is_said_with_a_hint(call, said):
    with pytest.raises(CellError) as caught:
        call()
    assert caught.value.what == said
    assert caught.value.hint


def test_what_follows_two_dashes_belongs_to_the_command():
    assert command._parted(["tp/x/y", "--", "ls", "--json", "--", "-l"]) == (["tp/x/y"], ["ls", "--json", "--", "-l"])
    assert command._parted(["tp/x/y"]) == (["tp/x/y"], None)


def test_the_magic_has_the_command():
    assert magics._COMMANDS["check"] is command.ask
    assert "%bpf check" in repr(magics._Help())
