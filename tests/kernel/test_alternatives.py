"""Of programs that serve the same purpose, the first is loaded whose hooks this kernel has."""

from __future__ import annotations

import os

import pytest

from ebpflab.alternatives import choose
from ebpflab.engines.base import ProgramInfo
from ebpflab.errors import KernelSupportError

CALLS = 23
BODY = "(void *ctx) { return 0; }"
WAYS = """
const volatile int only = 0;
u64 first, second;
static bool ours(void) { return bpf_get_current_pid_tgid() >> 32 == only; }
SEC("?tp/syscalls/sys_enter_no_such_call") int on_call__tp_new(void *ctx) { first++; return 0; }
SEC("?tp_btf/no_such_tracepoint") int on_call__tp_btf(void *ctx) { first++; return 0; }
SEC("?tp/syscalls/sys_enter_getppid") int on_call__tp_old__enter(void *ctx) { if (ours()) first++; return 0; }
SEC("?tp/syscalls/sys_exit_getppid") int on_call__tp_old__exit(void *ctx) { if (ours()) second++; return 0; }
SEC("?raw_tp/sys_enter") int on_call__raw_tp(void *ctx) { first++; return 0; }
SEC("?raw_tp/sys_enter") int not_a_way(void *ctx) { first++; return 0; }
SEC("?raw_tp/sys_enter") int some__thing(void *ctx) { first++; return 0; }
"""


def test_the_first_way_that_this_kernel_has_is_taken_with_all_its_parts(load):
    session = load(WAYS, vars={"only": os.getpid()})
    assert session.programs["name"].tolist() == ["on_call__tp_old__enter", "on_call__tp_old__exit"]
    assert "on_call by tp_old" in session.stages["detail"].tolist()
    for _ in range(CALLS):
        os.getppid()
    assert (session.vars["first"], session.vars["second"]) == (CALLS, CALLS)


def test_the_log_of_the_verifier_is_that_of_the_programs_that_were_chosen(load):
    session = load(WAYS)
    assert "on_call__raw_tp" not in session.verifier_log
    assert session.verification["program"].tolist() == session.programs["name"].tolist()


def test_where_no_way_is_there_the_error_says_what_each_of_them_lacks(load):
    cell = WAYS.replace("getppid", "get_ppid").replace("on_call__raw_tp", "gone")
    with pytest.raises(KernelSupportError) as caught:
        load(cell)
    assert caught.value.what == "this kernel has none of the hooks that on_call could use"
    assert [line.split(":")[0] for line in caught.value.details] == [
        "tp/syscalls/sys_enter_no_such_call",
        "tp_btf/no_such_tracepoint",
        "tp/syscalls/sys_enter_get_ppid",
        "tp/syscalls/sys_exit_get_ppid",
    ]
    assert "SEC" in caught.value.where.text


def test_purposes_are_chosen_for_apart():
    programs = [
        ProgramInfo("a__kprobe", "kprobe/no_such_function", 1),
        ProgramInfo("a__tp", "tp/sched/sched_switch", 1),
        ProgramInfo("b__tp_btf_new", "tp_btf/sched_wakeup", 1),
        ProgramInfo("b__tp_btf_old", "tp_btf/sched_switch", 1),
        ProgramInfo("plain", "tp/sched/sched_switch", 1),
        ProgramInfo("two__words", "tp/sched/sched_switch", 1),
    ]
    choice = choose(programs)
    assert choice.programs == ("a__tp", "b__tp_btf_new")
    assert choice.ways == {"a": "tp", "b": "tp_btf_new"}


def test_a_cell_with_optional_programs_and_no_ways_is_what_libbpf_makes_of_it(load):
    session = load(f'SEC("?tp/sched/sched_switch") int a{BODY} SEC("raw_tp/sys_exit") int b{BODY}')
    assert session.programs["name"].tolist() == ["b"]
