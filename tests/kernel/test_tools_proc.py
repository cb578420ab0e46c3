"""Tools that look at processes: what they run, how they end, their system calls, signals and capabilities."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from cells import keep_only_capabilities, wait_until
from cgroups import memory_limited
from forked import Child
from workloads_proc import NUMBERS, syscall

OURS = os.getpid()


def drawn(session):
    """Draw a tool's picture; whether there is something in it."""
    axes = session.plot()
    try:
        return axes.has_data()
    finally:
        plt.close(axes.figure)


def rows(session, count, **conditions):
    """The rows that have these values, once there are so many of them."""

    def matching():
        frame = session.rows()
        for name, value in conditions.items():
            frame = frame[frame[name] == value]
        return frame

    wait_until(lambda: len(matching()) >= count, timeout=5)
    session.events.wait(session.events.stats()["received"] + 1, timeout=0.2)  # one too many would come now
    frame = matching()
    assert len(frame) == count, f"{frame.to_string()}\n{session.events.stats()}"
    return frame


def comm():
    return Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text().rstrip("\n")


def test_execsnoop_tells_commands_with_their_arguments_and_parent(tool, tmp_path):
    session = tool("execsnoop", vars={"ppid": OURS})
    pids = []
    for _ in range(7):
        with subprocess.Popen(["/bin/sh", "-c", "exit 0", "two  words", "", "ü"]) as process:
            pids.append(process.pid)
    script = tmp_path / "script"
    script.write_text("#!/bin/sh -e\nexit 0\n")
    script.chmod(0o755)
    subprocess.run([script, "x" * 600], check=True)
    with pytest.raises(FileNotFoundError):
        subprocess.run([tmp_path / "missing"], check=False)
    frame = rows(session, 8)
    shells = frame[frame["path"] == "/bin/sh"]
    assert shells["pid"].tolist() == pids
    assert set(shells["args"]) == {"/bin/sh -c exit 0 two  words  ü"}
    assert set(shells["comm"]) == {"sh"}
    last = frame.iloc[-1]
    assert (last["path"], last["comm"]) == (str(script), "script")
    assert last["args"] == f"/bin/sh -e {script} {'x' * 600}"[:511]
    assert set(frame["ppid"]) == {OURS}
    assert set(frame["parent"]) == {comm()}
    assert set(frame["uid"]) == {os.getuid()}
    assert set(frame["error"]) == {"OK"}
    assert drawn(session)


def test_execsnoop_tells_attempts_that_failed_where_asked(tool, tmp_path):
    session = tool("execsnoop", vars={"ppid": OURS, "failed": True})
    plain = tmp_path / "plain"
    plain.write_text("")
    for _ in range(5):
        with pytest.raises(FileNotFoundError):
            subprocess.run([tmp_path / "missing"], check=False)
        with pytest.raises(PermissionError):
            subprocess.run([plain], check=False)
        subprocess.run(["/bin/true"], check=True)
    fd = os.open(plain, os.O_RDONLY)
    child = Child(lambda tell: tell(str(syscall("execveat", fd, b"", None, None, 0x1000))))  # AT_EMPTY_PATH
    os.close(fd)
    assert (child.line(), child.end()) == (str(-errno.EACCES), 0)
    frame = rows(session, 16)
    assert frame.groupby("path", observed=True)["error"].agg(list).to_dict() == {
        str(tmp_path / "missing"): ["ENOENT"] * 5,
        str(plain): ["EACCES"] * 5,
        "/bin/true": ["OK"] * 5,
        "": ["EACCES"],
    }


def test_exitsnoop_tells_codes_signals_and_lives(tool):
    session = tool("exitsnoop", vars={"ppid": OURS})
    ended = {}
    for command in ["exit 0", "exit 0", "exit 3", "kill -TERM $$", "kill -KILL $$"]:
        process = subprocess.Popen(["/bin/sh", "-c", command])
        status = process.wait()
        ended[process.pid] = (max(status, 0), "0" if status >= 0 else signal.Signals(-status).name)
    sleeper = subprocess.Popen(["/bin/sleep", "0.1"])
    assert sleeper.wait() == 0
    frame = rows(session, 6)
    told = zip(frame["code"], frame["signal"].astype(str), strict=True)
    assert dict(zip(frame["pid"], told, strict=True)) == {**ended, sleeper.pid: (0, "0")}
    lives = frame.set_index("pid")["lived"].dt.total_seconds()
    assert 0.1 <= lives[sleeper.pid] < 60
    assert frame["comm"].tolist() == ["sh"] * 5 + ["sleep"]
    assert set(frame["ppid"]) == {OURS}
    assert not frame["dumped"].any()
    assert drawn(session)


def test_exitsnoop_can_leave_out_what_ended_well(tool):
    session = tool("exitsnoop", vars={"ppid": OURS, "only_failed": True})
    for status in (0, 5, 0, 5, 5):
        assert Child(lambda tell, status=status: os._exit(status)).end() == status
    assert rows(session, 3)["code"].tolist() == [5, 5, 5]


def run_threads(count, leave):
    for _ in range(count):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    leave()


def first_thread_ends_first(then):
    # The process lives on without its first thread, until the other one ends as well.
    threading.Thread(target=lambda: (time.sleep(0.1), then())).start()
    syscall("exit", 7)


@pytest.mark.parametrize(
    ("function", "statuses", "least"),
    [
        (lambda: run_threads(13, lambda: os._exit(3)), {3}, 0),
        (lambda: run_threads(13, lambda: os.kill(os.getpid(), signal.SIGKILL)), {-signal.SIGKILL}, 0),
        (lambda: first_thread_ends_first(lambda: os._exit(11)), {11}, 0.1),
        # The code of the first thread, or since Linux 5.19 of the last one.
        (lambda: first_thread_ends_first(lambda: syscall("exit", 5)), {5, 7}, 0.1),
    ],
    ids=["exit", "killed", "first thread gone", "thread by thread"],
)
def test_exitsnoop_tells_a_process_of_several_threads_once(tool, function, statuses, least):
    session = tool("exitsnoop", vars={"ppid": OURS})
    ends = {Child(lambda tell: function()).end() for _ in range(5)}
    assert len(ends) == 1
    assert ends <= statuses
    frame = rows(session, 5)
    status = ends.pop()
    expected = (status, "0") if status >= 0 else (0, signal.Signals(-status).name)
    assert set(zip(frame["code"], frame["signal"].astype(str), strict=True)) == {expected}
    assert (frame["lived"].dt.total_seconds() >= least).all()


@pytest.mark.skipif("stat" not in NUMBERS, reason="not in this kernel: the old calls, which arm64 does not have")
def test_statsnoop_sees_every_way_to_ask(tool, tmp_path):
    session = tool("statsnoop", vars={"pid": OURS})
    there, missing, state = tmp_path / "there", tmp_path / "missing", ctypes.create_string_buffer(4096)
    there.write_text("")
    for _ in range(7):
        for path in (there, missing):
            name = str(path).encode()
            syscall("stat", name, state)
            syscall("lstat", name, state)
            syscall("newfstatat", -100, name, state, 0)
            syscall("statx", -100, name, 0, 0x7FF, state)
        assert syscall("newfstatat", -100, b"", state, 0) == -errno.ENOENT
        assert syscall("newfstatat", 0, b"", state, 0x1000) == 0  # fstat(3)
    wait_until(lambda: len(ours(session, there, missing)) == 56, timeout=5)
    frame = ours(session, there, missing)
    counted = frame.groupby(["call", "path", "error"], observed=True).size().to_dict()
    calls = ("stat", "lstat", "newfstatat", "statx")
    assert counted == {
        **{(call, str(there), "OK"): 7 for call in calls},
        **{(call, str(missing), "ENOENT"): 7 for call in calls},
    }
    assert set(rows(session, 7, path="")["error"]) == {"ENOENT"}
    assert set(frame["pid"]) == {OURS}
    assert (frame["took"].dt.total_seconds() > 0).all()
    assert drawn(session)


def ours(session, *paths):
    frame = session.rows()
    return frame[frame["path"].isin([str(path) for path in paths])]


def test_statsnoop_can_leave_out_what_worked(tool, tmp_path):
    session = tool("statsnoop", vars={"pid": OURS, "only_failed": True})
    for _ in range(11):
        tmp_path.stat()
        with pytest.raises(FileNotFoundError):
            (tmp_path / "missing").stat()
    assert set(rows(session, 11, path=str(tmp_path / "missing"))["error"]) == {"ENOENT"}
    assert ours(session, tmp_path).empty


@pytest.mark.skipif("open" not in NUMBERS, reason="not in this kernel: open(2), which arm64 does not have")
def test_opensnoop_sees_every_way_to_open(tool, tmp_path):
    session = tool("opensnoop", vars={"pid": OURS})
    there = tmp_path / "there"
    there.write_text("")
    how = (ctypes.c_uint64 * 3)(os.O_RDWR)
    for _ in range(5):
        for fd in (
            syscall("open", str(there).encode(), os.O_WRONLY, 0),
            syscall("openat", -100, str(there).encode(), os.O_WRONLY | os.O_APPEND, 0),
            syscall("openat2", -100, str(there).encode(), how, 24),
        ):
            os.close(fd)
        assert syscall("openat", -100, None, os.O_RDONLY, 0) == -errno.EFAULT
    flags = [os.O_WRONLY, os.O_WRONLY | os.O_APPEND, os.O_RDWR] * 5
    assert (rows(session, 16, path=str(there))["flags"].iloc[1:] & ~os.O_CLOEXEC).tolist() == flags
    assert set(rows(session, 5, error="EFAULT")["path"]) == {""}


def total(session, **key):
    frame = session.rows()
    for name, value in key.items():
        frame = frame[frame[name] == value]
    return frame[["count", "failed"]].sum().tolist(), frame["took"].sum().total_seconds()


def test_syscount_counts_calls_failures_and_time(tool):
    session = tool("syscount", vars={"pid": OURS})
    for _ in range(101):
        os.getppid()
    for _ in range(13):
        assert syscall("close", -1) == -errno.EBADF
        assert syscall("lseek", -1, 0, 0) == -errno.EBADF
    for _ in range(3):
        syscall("clock_nanosleep", 0, 0, (ctypes.c_long * 2)(0, 50_000_000), None)
    assert total(session, call="getppid")[0] == [101, 0]
    assert total(session, call="lseek")[0][1] == 13
    assert total(session, call="close")[0][1] == 13
    (count, _), took = total(session, call="clock_nanosleep", comm=comm())
    assert count == 3
    assert 0.15 <= took < 60
    assert set(session.rows()["pid"]) == {OURS}
    assert drawn(session)


def test_syscount_tells_processes_apart_and_can_count_failures_only(tool):
    session = tool("syscount", vars={"only_failed": True})

    def fail(times):
        for _ in range(times):
            syscall("getpriority", 99, 0)
            os.getppid()

    first, second = Child(lambda tell: fail(17)), Child(lambda tell: fail(23))
    pids = first._pid, second._pid
    assert first.end() == second.end() == 0
    assert [total(session, pid=pid, call="getpriority")[0] for pid in pids] == [[17, 17], [23, 23]]
    frame = session.rows()
    assert frame[frame["pid"].isin(pids) & (frame["call"] == "getppid")].empty
    assert (frame["count"] == frame["failed"]).all()


@pytest.mark.parametrize("name", ["syscount", "argsnoop"])
def test_a_call_that_never_returns_leaves_nothing_behind(tool, name):
    session = tool(name)
    ended = [Child(lambda tell: None) for _ in range(23)]
    assert {child.end() for child in ended} == {0}
    session.detach()
    waiting = set(session.maps["calling"].df()["key"])
    assert waiting.isdisjoint(child._pid for child in ended)
    assert not set(session.rows()["call"]) & {"exit", "exit_group"}


def test_argsnoop_tells_arguments_and_results(tool, tmp_path):
    session = tool("argsnoop", vars={"pid": OURS, "nr": NUMBERS["lseek"]})
    file = os.open(tmp_path, os.O_RDONLY)
    os.close(file)
    with Path(os.devnull).open("rb", buffering=0) as null:
        number = null.fileno()
        before = len(session.rows())
        for where in (2, 3, 5, 7, 11):
            syscall("lseek", number, where << 40, os.SEEK_SET)
        for _ in range(3):
            assert syscall("lseek", -1, 13, os.SEEK_END) == -errno.EBADF
    failed = rows(session, 3, error="EBADF")
    assert set(failed["result"]) == {-1}
    assert failed[["args[0]", "args[1]", "args[2]"]].drop_duplicates().values.tolist() == [[-1, 13, os.SEEK_END]]
    frame = rows(session, before + 8)
    worked = frame[(frame["error"] == "OK") & (frame["args[0]"] == number) & (frame["args[1]"] > 0)]
    assert worked["args[1]"].tolist() == [where << 40 for where in (2, 3, 5, 7, 11)]
    assert set(frame["call"]) == {"lseek"}
    assert set(frame["pid"]) == {OURS}
    assert (frame["took"].dt.total_seconds() > 0).all()
    assert drawn(session)


def test_argsnoop_passes_on_all_six_arguments_of_any_call(tool):
    session = tool("argsnoop", vars={"pid": OURS, "only_failed": True})
    for _ in range(7):
        assert syscall("mmap", 0x1234, 0, mmap.PROT_READ, mmap.MAP_PRIVATE, -1, 0x5000) == -errno.EBADF
        syscall("getppid")
    assert syscall("openat", ctypes.c_uint(2**32 - 100), b"/nonexistent", 0) == -errno.ENOENT
    assert rows(session, 1, call="openat", error="ENOENT")["args[0]"].tolist() == [-100]
    frame = rows(session, 7, call="mmap")
    args = [0x1234, 0, mmap.PROT_READ, mmap.MAP_PRIVATE, -1, 0x5000]
    assert frame[[f"args[{i}]" for i in range(6)]].values.tolist() == [args] * 7
    assert set(frame["error"]) == {"EBADF"}
    assert "getppid" not in set(session.rows()["call"])


def test_sigsnoop_tells_sender_target_and_what_became_of_it(tool):
    def wait(tell):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGRTMIN + 1])
        Path("/proc/self/comm").write_text("receiver")
        tell("ready")
        signal.pause()

    child = Child(wait)
    assert child.line() == "ready"
    session = tool("sigsnoop", vars={"target": child._pid})
    for number in [signal.SIGUSR1] * 7 + [signal.SIGRTMIN + 1] * 5 + [signal.SIGCONT] * 3 + [0]:
        os.kill(child._pid, number)
    status = Path(f"/proc/{child._pid}/status").read_text()
    assert child.end(kill=True) == -signal.SIGKILL
    frame = rows(session, 16)
    assert f"{1 << signal.SIGUSR1 - 1 | 1 << signal.SIGRTMIN:016x}" in status.split("ShdPnd:")[1].split("\n")[0]
    assert frame.groupby("signal", observed=True)["fate"].agg(list).to_dict() == {
        "SIGUSR1": ["SENT"] + ["ALREADY_PENDING"] * 6,
        "SIGRTMIN+1": ["SENT"] * 5,
        "SIGCONT": ["IGNORED"] * 3,
        "SIGKILL": ["SENT"],
    }
    assert set(frame["pid"]) == {OURS}
    assert set(frame["comm"]) == {comm()}
    assert set(frame["target_comm"]) == {"receiver"}
    assert set(frame["cause"]) == {"BY_KILL"}
    assert drawn(session)


def test_sigsnoop_tells_causes_apart_and_filters_by_sender_and_signal(tool):
    session = tool("sigsnoop", vars={"pid": OURS, "signal": signal.SIGCONT})

    def send(tell):
        for _ in range(3):
            os.kill(OURS, signal.SIGCONT)

    assert Child(send).end() == 0  # another sender
    for _ in range(5):
        os.kill(OURS, signal.SIGCONT)
        os.kill(OURS, signal.SIGURG)
        assert syscall("tgkill", OURS, OURS, signal.SIGCONT) == 0
    assert rows(session, 10)["cause"].tolist() == ["BY_KILL", "BY_TGKILL"] * 5


def test_sigsnoop_knows_a_signal_of_the_kernel(tool):
    def be_woken(tell):
        came = []
        signal.signal(signal.SIGALRM, lambda number, frame: came.append(number))
        tell("ready")
        wait_until(lambda: came)
        for turn in (1, 2, 3):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            wait_until(lambda turn=turn: len(came) > turn)
        tell(str(len(came)))

    child = Child(be_woken)
    assert child.line() == "ready"
    session = tool("sigsnoop", vars={"signal": signal.SIGALRM, "target": child._pid})
    os.kill(child._pid, signal.SIGALRM)
    assert (child.line(), child.end()) == ("4", 0)
    assert rows(session, 4)["cause"].tolist() == ["BY_KILL"] + ["BY_KERNEL"] * 3


def be_nice(tell):
    for turn in range(2 * 11):
        os.setpriority(os.PRIO_PROCESS, 0, -(turn % 2))  # less than it is: each second time
    keep_only_capabilities(0)
    refused = 0
    for _ in range(13):
        try:
            os.setpriority(os.PRIO_PROCESS, 0, -5)
        except PermissionError:
            refused += 1
    tell(str(refused))


def test_capable_tells_what_was_asked_for_and_whether_it_was_granted(tool):
    session = tool("capable", vars={"every": True})
    child = Child(be_nice)
    assert (child.line(), child.end()) == ("13", 0)
    frame = rows(session, 24, pid=child._pid, capability="CAP_SYS_NICE")
    assert frame["granted"].tolist() == [True] * 11 + [False] * 13
    assert set(frame["uid"]) == {os.getuid()}
    assert drawn(session)


def test_capable_tells_each_answer_to_a_command_once(tool):
    session = tool("capable")
    for _ in range(3):
        child = Child(be_nice)
        assert (child.line(), child.end()) == ("13", 0)
        assert rows(session, 2, pid=child._pid, capability="CAP_SYS_NICE")["granted"].tolist() == [True, False]


def test_capable_filters_by_process_and_by_what_was_refused(tool):
    def when_told(tell):
        os.read(go, 1)
        be_nice(tell)

    go, tells = os.pipe()
    child = Child(when_told)
    session = tool("capable", vars={"pid": child._pid, "only_failed": True, "every": True})
    os.write(tells, b"\n")
    assert (child.line(), child.end()) == ("13", 0)
    assert Child(be_nice).end() == 0  # another process
    os.close(go)
    os.close(tells)
    rows(session, 13, capability="CAP_SYS_NICE")
    frame = session.rows()
    assert set(frame["pid"]) == {child._pid}
    assert not frame["granted"].any()


LIMIT = 16 << 20


def grow(group):
    Path("/proc/self/comm").write_text("greedy")
    Path("/proc/self/oom_score_adj").write_text("500")
    (group / "cgroup.procs").write_text(str(os.getpid()))
    kept = bytearray(16 * LIMIT)
    sys.exit(len(kept))


def test_oomkill_tells_the_victim_and_what_it_had(tool):
    session = tool("oomkill")
    with memory_limited(LIMIT) as group:
        victims = []
        for _ in range(3):
            child = Child(lambda tell: grow(group))
            victims.append(child._pid)
            assert child.end() == -signal.SIGKILL
        counts = (group / "memory.events", group / "memory.oom_control")
        killed = next(path for path in counts if path.exists()).read_text().split()
    assert killed[killed.index("oom_kill") + 1] == "3"
    wait_until(lambda: len(session.rows()) >= 3, timeout=5)
    frame = session.rows()
    frame = frame[frame["victim"].isin(victims)]
    assert frame["victim"].tolist() == frame["pid"].tolist() == victims
    assert set(frame["comm"]) == {"greedy"}
    assert set(frame["victim_comm"]) == {"greedy"}
    assert set(frame["oom_score_adj"]) == {500}
    assert frame["anonymous_bytes"].between(LIMIT // 2, 64 * LIMIT).all()
    assert (frame["total_bytes"] > 16 * LIMIT).all()
    assert drawn(session)
