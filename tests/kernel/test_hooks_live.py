from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import cells
import pytest

import ebpflab
from ebpflab.errors import AttachError, HookNotFoundError, LoadError, SessionError

CALLS = 97  # a prime, so that no product of other numbers looks like it

TARGET_C = """\
#include <stdio.h>
#include <stdlib.h>
__attribute__((noipa)) int triple(int x) { return 3 * x; }
int main(int argc, char **argv)
{
	long sum = 0;
	int i;
	for (i = 0; i < atoi(argv[1]); i++)
		sum += triple(i);
	printf("%ld\\n", sum);
	return 0;
}
"""

PROBES = """\
struct call {{ s32 value; u32 pid; }};
struct {{ __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16);
	__type(value, struct call); }} entries SEC(".maps");
struct {{ __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16);
	__type(value, struct call); }} returns SEC(".maps");
SEC("uprobe/{target}")
int BPF_KPROBE(on_entry, int x)
{{
	struct call c = {{ x, bpf_get_current_pid_tgid() >> 32 }};
	bpf_ringbuf_output(&entries, &c, sizeof(c), 0);
	return 0;
}}
SEC("uretprobe/{target}")
int BPF_KRETPROBE(on_return, int result)
{{
	struct call c = {{ result, bpf_get_current_pid_tgid() >> 32 }};
	bpf_ringbuf_output(&returns, &c, sizeof(c), 0);
	return 0;
}}
"""

# Every signal that a process sends to itself.
SIGNALS = {
    "raw_tracepoint": """
        const volatile u32 only = 0;
        const volatile int wanted = 0;
        u64 seen = 0;
        SEC("raw_tp/signal_generate") int on_signal(struct bpf_raw_tracepoint_args *ctx)
        {
            if ((bpf_get_current_pid_tgid() >> 32) == only && (int)ctx->args[0] == wanted)
                __sync_fetch_and_add(&seen, 1);
            return 0;
        }
    """,
    "tp_btf": """
        const volatile u32 only = 0;
        const volatile int wanted = 0;
        u64 seen = 0;
        SEC("tp_btf/signal_generate")
        int BPF_PROG(on_signal, int sig, struct kernel_siginfo *info, struct task_struct *task)
        {
            if (task->tgid == only && sig == wanted)
                __sync_fetch_and_add(&seen, 1);
            return 0;
        }
    """,
}

CHILDREN = """
const volatile u32 parent = 0;
SEC("iter/task") int children(struct bpf_iter__task *ctx)
{
    struct task_struct *task = ctx->task;
    if (!task || task->pid != task->tgid || task->real_parent->tgid != parent)
        return 0;
    BPF_SEQ_PRINTF(ctx->meta->seq, "%d %s\\n", task->pid, task->comm);
    return 0;
}
"""


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("uprobe tests compile a C program, and there is no gcc")
    folder = tmp_path_factory.mktemp("binary")
    source, path = folder / "target.c", folder / "target"
    source.write_text(TARGET_C)
    subprocess.run([compiler, "-O2", "-o", path, source], check=True, timeout=60)
    return path


def libc():
    # The file that this very process calls, wherever the distribution keeps it.
    found = re.search(r"(/\S*/libc\.so\.6|/\S*/libc-[\d.]+\.so)$", Path("/proc/self/maps").read_text(), re.MULTILINE)
    if found is None:
        pytest.skip("this Python does not use glibc as a shared library")
    return found[1]


@pytest.mark.parametrize("section", ["tp/syscalls/sys_enter_getppid", "tracepoint/syscalls/sys_enter_getppid"])
def test_a_tracepoint_counts_every_call(load, section):
    source = cells.COUNTER.replace("tp/syscalls/sys_enter_getppid", section)
    session = load(source, vars={"only": os.getpid()})
    cells.call_getppid(CALLS)
    assert session.vars["seen"] == CALLS


def test_a_tracepoint_context_has_the_fields_of_its_format_file(load):
    source = """
    const volatile u32 only = 0;
    long asked = 0;
    char name[16] = "";
    SEC("tp/syscalls/sys_enter_prctl")
    int on_prctl(struct tracepoint__syscalls__sys_enter_prctl *ctx)
    {
        if ((bpf_get_current_pid_tgid() >> 32) == only) {
            asked = ctx->option;
            bpf_probe_read_user_str(name, sizeof(name), (const void *)ctx->arg2);
        }
        return 0;
    }
    """
    library = ctypes.CDLL(None)
    pr_set_name = 15  # include/uapi/linux/prctl.h
    old = Path("/proc/self/comm").read_text().strip().encode()
    session = load(source, vars={"only": os.getpid()})
    try:
        library.prctl(pr_set_name, b"told-by-prctl", 0, 0, 0)
    finally:
        session.detach()
        library.prctl(pr_set_name, old, 0, 0, 0)
    assert (session.vars["asked"], session.vars["name"]) == (pr_set_name, "told-by-prctl")


@pytest.mark.parametrize("kind", SIGNALS)
def test_raw_and_typed_tracepoints_count_every_signal(load, kind):
    session = load(SIGNALS[kind], vars={"only": os.getpid(), "wanted": int(signal.SIGURG)})
    for _ in range(CALLS):
        os.kill(os.getpid(), signal.SIGURG)  # ignored by default
    assert session.vars["seen"] == CALLS
    assert session.links["hook"].tolist() == [kind]


def test_uprobes_of_a_compiled_program_see_every_call_and_every_result(load, binary):
    session = load(PROBES.format(target=f"{binary}:triple"))
    process = subprocess.Popen([binary, str(CALLS)], stdout=subprocess.PIPE, text=True)
    output, _ = process.communicate(timeout=20)
    session.detach()
    entries, returns = session.streams["entries"].df(), session.streams["returns"].df()
    assert entries["value"].tolist() == list(range(CALLS))
    assert returns["value"].tolist() == [3 * x for x in range(CALLS)]
    assert set(entries["pid"]) == set(returns["pid"]) == {process.pid}
    assert returns["value"].sum() == int(output)


@pytest.mark.parametrize("by_path", [True, False])
def test_uprobes_of_libc_see_every_call_and_every_result(load, by_path):
    path = libc()
    session = load(PROBES.format(target=f"{path if by_path else 'libc.so.6'}:getppid"))
    cells.call_getppid(CALLS)
    session.detach()
    returns = session.streams["returns"].df()
    assert returns[returns["pid"] == os.getpid()]["value"].tolist() == [os.getppid()] * CALLS


def test_an_iterator_lists_exactly_our_children_as_proc_does(load):
    sleepers = [subprocess.Popen(["sleep", "60"]) for _ in range(5)]
    try:
        session = load(CHILDREN, vars={"parent": os.getpid()})
        cells.wait_until(lambda: all(_comm(child.pid) == "sleep" for child in sleepers))
        text = session.iterate()
        assert sorted(text.splitlines()) == sorted(f"{pid} {_comm(pid)}" for pid in _children())
        assert {child.pid for child in sleepers} <= {int(line.split()[0]) for line in text.splitlines()}
        assert session.iterate("children") == text
    finally:
        for child in sleepers:
            child.kill()
            child.wait()


def _children():
    stats = {path.parent.name: _text(path) for path in Path("/proc").glob("[0-9]*/stat")}
    return [int(pid) for pid, text in stats.items() if text and int(text.rpartition(")")[2].split()[1]) == os.getpid()]


def _comm(pid):
    return _text(Path(f"/proc/{pid}/comm")).rstrip("\n")


def _text(path):
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_a_program_moves_to_the_tracepoint_that_targets_names(load):
    section = "tp/syscalls/sys_enter_getppid"
    session = load(cells.COUNTER, vars={"only": os.getpid()}, targets={section: "syscalls:sys_enter_getuid"})
    cells.call_getppid(5)
    for _ in range(CALLS):
        os.getuid()
    assert session.vars["seen"] == CALLS
    assert session.links["target"].tolist() == ["syscalls:sys_enter_getuid"]


def test_targets_takes_the_name_of_a_program_too(load):
    session = load(cells.COUNTER, vars={"only": os.getpid()}, targets={"count": "syscalls/sys_enter_getuid"})
    for _ in range(11):
        os.getuid()
    assert session.vars["seen"] == 11


def test_a_typed_tracepoint_moves_before_it_is_verified(load):
    source = """
    const volatile u32 only = 0;
    u64 seen = 0;
    SEC("tp_btf/sched_switch") int count(u64 *ctx)
    {
        if ((bpf_get_current_pid_tgid() >> 32) == only)
            __sync_fetch_and_add(&seen, 1);
        return 0;
    }
    """
    session = load(source, vars={"only": os.getpid()}, targets={"count": "signal_generate"})
    for _ in range(13):
        os.kill(os.getpid(), signal.SIGURG)
    assert session.vars["seen"] == 13
    assert session.links["target"].tolist() == ["signal_generate"]


def test_a_typed_tracepoint_that_is_already_verified_cannot_move(load):
    session = load(SIGNALS["tp_btf"], attach=False)
    with pytest.raises(AttachError, match="sched_switch") as caught:
        session.attach("on_signal", target="sched_switch")
    assert "targets" in caught.value.hint
    assert session.links.empty


def test_several_programs_of_a_cell_are_attached_and_counted_apart(load):
    second = """
    u64 users = 0;
    SEC("tp/syscalls/sys_enter_getuid") int count_users(void *ctx)
    {
        if ((bpf_get_current_pid_tgid() >> 32) == only)
            __sync_fetch_and_add(&users, 1);
        return 0;
    }
    """
    session = load(cells.COUNTER + second, vars={"only": os.getpid()})
    cells.call_getppid(7)
    for _ in range(11):
        os.getuid()
    assert (session.vars["seen"], session.vars["users"]) == (7, 11)
    assert session.links["program"].tolist() == ["count", "count_users"]


def test_a_program_counts_only_while_it_is_attached(load):
    session = load(cells.COUNTER, vars={"only": os.getpid()}, attach=False)
    cells.call_getppid(3)
    assert session.vars["seen"] == 0
    session.attach()
    cells.call_getppid(5)
    session.detach()
    cells.call_getppid(7)
    assert session.vars["seen"] == 5
    session.attach("count")
    cells.call_getppid(11)
    assert session.vars["seen"] == 16


def test_attaching_what_is_attached_already_attaches_nothing_twice(load):
    session = load(cells.COUNTER, vars={"only": os.getpid()})
    session.attach()
    cells.call_getppid(5)
    assert session.vars["seen"] == 5
    assert len(session.links) == 1


def test_when_one_of_two_attachments_fails_neither_stays(load):
    source = cells.COUNTER + f'SEC("uprobe/{libc()}:getpppid") int lost(void *ctx) {{ return 0; }}'
    session = load(source, vars={"only": os.getpid()}, attach=False)
    with pytest.raises(HookNotFoundError) as caught:
        session.attach()
    assert "getppid" in caught.value.nearest
    assert session.links.empty
    assert session.state == "loaded"
    cells.call_getppid(5)
    assert session.vars["seen"] == 0


def test_a_load_that_cannot_attach_everything_leaves_no_session():
    source = cells.COUNTER + f'SEC("uprobe/{libc()}:getpppid") int lost(void *ctx) {{ return 0; }}'
    with pytest.raises(HookNotFoundError):
        ebpflab.load(source)
    assert ebpflab.sessions() == []


def test_a_syscall_program_runs_on_request_with_its_context(load):
    source = """
    struct numbers { u64 a, b; };
    u64 sum = 0;
    SEC("syscall") int add(struct numbers *n) { sum = n->a + n->b; return 42; }
    """
    session = load(source)
    assert session.links.empty
    result = session.test_run(ctx=struct.pack("QQ", 2**40, 3))
    assert result["retval"] == 42
    assert session.vars["sum"] == 2**40 + 3


def test_a_context_that_is_too_short_is_refused_with_a_hint(load):
    source = """
    struct numbers { u64 a, b; };
    SEC("syscall") int add(struct numbers *n) { return n->a + n->b; }
    """
    session = load(source)
    with pytest.raises(LoadError, match="test run of add failed") as caught:
        session.test_run(ctx=bytes(8))
    assert "ctx=" in caught.value.hint


def test_a_raw_tracepoint_program_runs_on_request_with_its_arguments(load):
    source = """
    u64 sum = 0;
    SEC("raw_tp/sys_enter") int add(struct bpf_raw_tracepoint_args *ctx)
    { sum = ctx->args[0] + ctx->args[1]; return 0; }
    """
    session = load(source, attach=False)
    session.test_run("add", ctx=struct.pack("QQ", 7, 1 << 50))
    assert session.vars["sum"] == (1 << 50) + 7


def test_a_type_that_the_kernel_cannot_run_on_request_says_so(load):
    session = load(cells.COUNTER, attach=False)
    with pytest.raises(LoadError, match="cannot test-run count") as caught:
        session.test_run("count")
    assert caught.value.hint


def test_iterating_what_is_no_iterator_is_a_session_error_with_a_hint(load):
    with pytest.raises(SessionError, match="no attached iterator") as caught:
        load(cells.COUNTER).iterate()
    assert caught.value.hint


def test_hooks_finds_what_a_cell_can_then_attach_to(load):
    found = ebpflab.hooks("sys_enter_getppid", kind="tracepoint")
    assert found["available"].all()
    (section,) = found["section"]
    session = load(cells.COUNTER.replace("tp/syscalls/sys_enter_getppid", section), vars={"only": os.getpid()})
    cells.call_getppid(5)
    assert session.vars["seen"] == 5


def test_programs_of_an_object_file_of_clang_are_loaded_as_they_are(load, tmp_path):
    path = tmp_path / "foreign.bpf.c"
    path.write_text(
        '#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nint n = 0;\nSEC("syscall") int step(void *ctx)'
        ' { n += 3; return 0; }\nchar LICENSE[] SEC("license") = "GPL";\n'
    )
    multiarch = f"/usr/include/{os.uname().machine}-linux-gnu"
    command = [
        "clang",
        "-target",
        "bpf",
        "-O2",
        "-g",
        f"-I{multiarch}",
        "-c",
        path,
        "-o",
        tmp_path / "foreign.o",
    ]
    subprocess.run(command, check=True, timeout=60, stderr=sys.stderr)
    session = load(tmp_path / "foreign.o")
    session.test_run("step")
    assert session.vars["n"] == 3
    assert session.source == ""
