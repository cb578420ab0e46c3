"""libbpf, BCC and bpftrace asked for one count: the numbers are those of the events that the test makes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cells
import pytest

import ebpflab
from ebpflab import cli
from ebpflab.bcc import library, process
from ebpflab.errors import CellError, HookNotFoundError, ToolMissingError
from ebpflab.toolchain import find_bpftrace
from ebpflab.witnesses import checking
from ebpflab.witnesses.texts import texts

WITNESSES = ["libbpf", "bcc", "bpftrace"]
EXEC = "tp/sched/sched_process_exec"
# 23 programs: the shell, 19 of its own, and three in a new session, which stays in the namespace all the same.
SHELL = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do /bin/true; done; setsid -w sh -c '/bin/true; :'"
# Calls that are not to be counted, while the others are.
CALLING = "import os, time\nwhile True: os.getppid(); time.sleep(0.001)"


@pytest.fixture(autouse=True)
def process_of_bcc():
    yield
    process.close()


@pytest.fixture
def all_three():
    try:
        library.find_libbcc()
        find_bpftrace()
    except ToolMissingError as error:
        pytest.skip(str(error))


def namespace():
    return Path("/proc/thread-self/ns/uts").readlink()


def counted(check):
    return dict(zip(check.frame["witness"], check.frame["counted"], strict=True))


def running(word):
    """The processes that have this word on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += [int(path.parts[2])] if word.encode() in words else []
    return found


def wait_until(true, seconds=20):
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


@pytest.mark.usefixtures("all_three")
def test_all_three_count_each_of_10007_calls_and_nobody_elses():
    noise = subprocess.Popen([sys.executable, "-c", CALLING])
    try:
        check = ebpflab.check()
    finally:
        noise.kill()
        noise.wait()
    assert counted(check) == dict.fromkeys(WITNESSES, 10_007)
    assert (check.agree, check.expected, check.tolerance) == (True, 10_007, 0)
    assert repr(check).startswith("tp/syscalls/sys_enter_getppid [agree] 10,007 calls of getppid() by a process")
    # The noise ran as well, and was left out by each of them.
    assert (check.frame["runs"] > 10_007).all()
    assert check.frame["ns_per_run"].between(1, 100_000).all()
    assert (check.frame["ready_ms"] > check.frame["started_ms"]).all()
    assert list(ebpflab.sessions()) == []


@pytest.mark.usefixtures("all_three")
def test_a_command_counts_with_all_that_it_starts():
    check = ebpflab.check(EXEC, workload=["sh", "-c", SHELL])
    assert counted(check) == dict.fromkeys(WITNESSES, 23)
    assert (check.agree, check.status, check.command[:2]) == (True, 0, ("sh", "-c"))


@pytest.mark.usefixtures("all_three")
def test_a_function_counts_with_what_it_starts_and_without_the_other_threads():
    before = namespace()
    done = threading.Event()
    other = threading.Thread(target=lambda: [os.getuid() for _ in iter(lambda: done.wait(0.0005), True)])

    def calls():
        for _ in range(103):
            os.getuid()

    other.start()
    try:
        check = ebpflab.check("tp/syscalls/sys_enter_getuid", workload=calls)
    finally:
        done.set()
        other.join()
    assert counted(check) == dict.fromkeys(WITNESSES, 103)
    assert check.events == "calls() and what it starts"
    assert namespace() == before


@pytest.mark.usefixtures("all_three")
def test_a_raw_tracepoint_is_counted_by_all_also_where_bpftrace_has_none():
    check = ebpflab.check("raw_tp/sched_process_exec", workload=["sh", "-c", SHELL])
    assert counted(check) == dict.fromkeys(WITNESSES, 23)
    assert 'SEC("raw_tp/sched_process_exec")' in check.texts["libbpf"]
    assert check.texts["bpftrace"].startswith(
        ("rawtracepoint:sched_process_exec", "tracepoint:sched:sched_process_exec")
    )
    note = check.frame["note"][2]
    assert ("no raw tracepoints" in note) == check.texts["bpftrace"].startswith("tracepoint:")


@pytest.mark.usefixtures("all_three")
def test_a_function_of_a_library_is_counted_in_a_child():
    libc = next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/libc.so" in line)
    program = "import os\nfor _ in range(1009): os.getppid()"
    check = ebpflab.check(f"uprobe/{libc}:getppid", workload=[sys.executable, "-I", "-S", "-c", program])
    assert counted(check) == dict.fromkeys(WITNESSES, 1009)


@pytest.mark.hook("kprobe")
def test_a_function_of_the_kernel_is_counted_by_whom_there_is():
    symbols = Path("/proc/kallsyms").read_text()
    name = re.search(r" T (__\w+_sys_getppid)$", symbols, re.MULTILINE)[1]
    check = ebpflab.check(f"kprobe/{name}")
    present = check.frame[check.frame["counted"].notna()]
    assert present["counted"].tolist() == [10_007] * len(present)
    assert "libbpf" in present["witness"].tolist()
    # A guest of tests/vm may be without the other two, and nothing else keeps them from counting.
    assert all("was not found" in note for note in check.frame["note"][check.frame["counted"].isna()])


def test_a_witness_that_is_missing_has_a_row_that_says_how_to_install_it(monkeypatch, tmp_path):
    for tool in ("clang", "apt-get"):
        if path := shutil.which(tool):
            (tmp_path / tool).symlink_to(Path(path).resolve())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("EBPFLAB_LIBBCC", str(tmp_path / "libbcc.so"))
    check = ebpflab.check("tp/syscalls/sys_enter_sched_yield")
    assert check.frame["counted"].isna().tolist() == [False, True, True]
    assert check.frame["counted"][0] == 10_007
    assert check.agree is None
    _, bcc, bpftrace = check.frame["note"]
    assert bcc.startswith(f"EBPFLAB_LIBBCC names {tmp_path}/libbcc.so, and there is no such file")
    assert bpftrace.startswith("bpftrace was not found")
    assert "install" in bpftrace.partition("; ")[2]
    assert f"  bpftrace: {bpftrace}" in repr(check).splitlines()


@pytest.mark.usefixtures("all_three")
def test_a_witness_that_counts_something_else_is_shown_to_differ(monkeypatch):
    def tampered(section, scope):
        libbpf, bcc, bpftrace = texts(section, scope)
        twice = bpftrace.source.replace("@counted = count();", "@counted = count(); @counted = count();")
        return libbpf, bcc, checking.Text("bpftrace", twice)

    monkeypatch.setattr(checking, "texts", tampered)
    check = ebpflab.check()
    assert counted(check) == {"libbpf": 10_007, "bcc": 10_007, "bpftrace": 20_014}
    assert check.agree is False
    assert "[differ]" in repr(check).splitlines()[0]
    assert "differ" in check._repr_html_()


@pytest.mark.usefixtures("all_three")
def test_a_witness_that_is_gone_before_it_is_asked_has_no_count():
    def calls():
        os.kill(next(each.pid for each in ebpflab.sessions() if each.name == "check_bpftrace"), signal.SIGKILL)
        for _ in range(103):
            os.getuid()

    check = ebpflab.check("tp/syscalls/sys_enter_getuid", workload=calls)
    assert check.frame["counted"].isna().tolist() == [False, False, True]
    assert check.frame["counted"][:2].tolist() == [103, 103]
    assert check.agree is True
    assert "bpftrace ended without saying what it counted" in repr(check)


@pytest.mark.usefixtures("all_three")
def test_a_window_of_time_is_the_same_for_all_to_within_an_event_for_each_end_and_processor():
    check = ebpflab.check("tp/sched/sched_switch", seconds=0.3)
    assert check.tolerance == 2 * os.cpu_count()
    assert check.agree is True
    assert (check.frame["counted"] > 0).all()
    assert check.events == "all processes, for 0.3 s"


@pytest.mark.usefixtures("all_three")
def test_the_events_of_a_process_are_counted_by_its_number():
    # It calls once a millisecond at most; together with the other there would be twice as many.
    ours, noise = (subprocess.Popen([sys.executable, "-c", CALLING]) for _ in range(2))
    try:
        check = ebpflab.check("tp/syscalls/sys_enter_getppid", pid=ours.pid, seconds=0.5)
    finally:
        for each in (ours, noise):
            each.kill()
            each.wait()
    assert check.agree is True
    assert check.frame["counted"].between(1, 500 + check.tolerance).all()


@pytest.mark.usefixtures("all_three")
def test_interrupts_are_counted_while_the_command_runs_whoever_is_interrupted():
    check = ebpflab.check("tp/irq/softirq_entry", workload="sleep 0.3")
    assert check.agree is True
    assert (check.frame["counted"] > 0).all()
    assert "all processes, while sleep 0.3 and what it starts ran" in check.events
    assert any("not the doing of the process" in note for note in check.notes)


@pytest.mark.usefixtures("all_three")
def test_the_stop_button_ends_all_that_was_started_and_leaves_nothing_attached(tmp_path):
    # The command tells that it runs, and has a process in another session.
    begun, length = tmp_path / "begun", "613.25"
    command = f"setsid sleep {length} & : > {begun}; sleep {length}"

    def stop():
        if wait_until(begun.exists):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    button = threading.Thread(target=stop)
    button.start()
    with pytest.raises(KeyboardInterrupt):
        ebpflab.check(EXEC, workload=["sh", "-c", command])
    button.join()
    assert running(length) == []
    assert begun.exists()


def test_a_check_that_is_killed_takes_its_command_with_it():
    length = "617.25"
    code = f"import ebpflab; ebpflab.check({EXEC!r}, workload='sleep {length}')"
    killed = subprocess.Popen([sys.executable, "-c", code], env=cells.environment())
    try:
        # The command's words are on the command line of what holds it, too: it runs when sleep itself does.
        assert wait_until(lambda: any(Path(f"/proc/{pid}/comm").read_text() == "sleep\n" for pid in running(length)))
    finally:
        killed.kill()
        killed.wait()
    assert wait_until(lambda: running(length) == [])


def test_processes_that_outlive_the_command_are_said(tmp_path):
    length = "619.25"
    check = ebpflab.check(EXEC, workload=["sh", "-c", f"sleep {length} & echo $! > {tmp_path}/pid"])
    left = int((tmp_path / "pid").read_text())
    assert left in running(length)
    os.kill(left, signal.SIGKILL)
    assert any(note.startswith("a process that the workload started outlived it") for note in check.notes)


def test_the_command_line_prints_json_and_its_exit_code_says_whether_they_agree(capsys):
    code = cli.main(["check", EXEC, "--json", "--", "sh", "-c", "echo some words; exit 7"])
    plain = json.loads(capsys.readouterr().out)
    assert (plain["status"], plain["output"], plain["command"]) == (
        7,
        "some words\n",
        ["sh", "-c", "echo some words; exit 7"],
    )
    assert code == (0 if plain["agree"] else 1)
    assert plain["counts"][0]["counted"] == 1


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("xdp", "not all three can count such events"),
        ("kprobe/vfs_*", "not all three take such a name"),
        ("tp/sched/sched_swich", "sched_swich"),
        ("uprobe/libc.so.6:mallok", "mallok"),
    ],
)
def test_a_hook_that_not_all_can_count_is_refused_before_anything_starts(hook, said):
    with pytest.raises((HookNotFoundError, CellError)) as caught:
        ebpflab.check(hook)
    assert said in caught.value.what
    assert caught.value.hint
