"""Cells that are made for a hook: they compile, load and attach on this kernel, and their rows say what happened."""

from __future__ import annotations

import ctypes
import os
import random
import shlex
import signal
import socket
import subprocess
from pathlib import Path

import kernel_has
import netns as net
import pytest
from cells import wait_until

import ebpflab
from ebpflab import options
from ebpflab.cell import Cell
from ebpflab.compile import compile_cell, kept_types
from ebpflab.errors import HookNotFoundError, KernelSupportError, PrivilegeError
from ebpflab.inspectors.templating import template
from ebpflab.program_types import PROGRAM_TYPES, parse_section

if "EBPFLAB_VM" in os.environ:
    reason = "each compiles a cell of its own, seconds under emulation; test_templating_hooks.py is for all kernels"
    pytest.skip(reason, allow_module_level=True)

SEED = 20260813
N = 23
# How many hooks of a kind: 50 in all.
TAKEN = {
    "tracepoint": 16,
    "raw_tracepoint": 7,
    "tp_btf": 7,
    "perf_event": 3,
    "iter": 5,
    "uprobe": 3,
    "uretprobe": 2,
    "usdt": 2,
    "netfilter": 1,
    "xdp": 1,
    "tc": 1,
    "socket_filter": 1,
    "sk_lookup": 1,
}
BINARIES = {"uprobe": "libc.so.6:", "uretprobe": "libc.so.6:", "usdt": "/usr/bin/python3:python:"}
UNLOADED = ("kprobe", "kretprobe", "ksyscall", "fentry", "fexit", "fmod_ret", "lsm")


def picked(kind, count):
    """Hooks of a kind, the same ones each time on one kernel; a place follows where a section does not say it."""
    rows = ebpflab.hooks(BINARIES.get(kind, ""), kind=kind)
    assert len(rows) >= count, f"this machine has {len(rows)} hooks of kind {kind}"
    rows = rows.sort_values("name").iloc[random.Random(f"{SEED} {kind}").sample(range(len(rows)), count)]
    named = rows["section"].str.contains("/")
    return [s if has else f"{s}:{n}" for s, n, has in zip(rows["section"], rows["name"], named, strict=True)]


def written(made):
    """The options of a cell's first line, as the magic reads them."""
    magic, _, rest = made.cell.partition("\n")
    assert magic.startswith("%%bpf ")
    assert rest == made.source
    return options.parse(magic.removeprefix("%%bpf "))


@pytest.mark.parametrize(
    ("kind", "nth"),
    [pytest.param(kind, n, marks=pytest.mark.hook(kind)) for kind, count in TAKEN.items() for n in range(count)],
)
def test_a_template_of_a_hook_picked_by_seed_loads_and_attaches_and_leaves_nothing(netns, load, kind, nth):
    net.ip("link set lo up")
    hook = picked(kind, TAKEN[kind])[nth]
    made = template(hook)
    asked = written(made)
    assert asked.name == made.name
    session = load(made.source, targets=asked.targets)
    assert session.state == "attached", hook
    assert len(session.links) == len(session.programs) == 1
    assert session.programs["section"].tolist() == [made.section]
    session.close()


def test_fifty_hooks_are_picked():
    assert sum(TAKEN.values()) == 50


@pytest.mark.parametrize("kind", UNLOADED)
def test_templates_of_functions_compile_and_are_refused_only_where_the_kernel_cannot_hook_them(load, kind):
    for hook in picked(kind, 3):
        made = template(hook)
        cell = Cell(made.source)
        assert not compile_cell(cell, keep_types=kept_types(cell)).warnings, hook
        if kernel_has.absent(kind) is None:
            assert load(made.source).state == "attached"
            continue
        with pytest.raises((KernelSupportError, PrivilegeError)) as caught:
            load(made.source)
        assert "kprobes" in str(caught.value) or "ftrace" in str(caught.value)


CGROUP_SECTIONS = (
    "cgroup/bind4",
    "cgroup/connect4",
    "cgroup/connect6",
    "cgroup/sendmsg6",
    "cgroup/sock_create",
    "cgroup/setsockopt",
    "cgroup/sysctl",
    "cgroup/dev",
    "cgroup_skb/ingress",
    "cgroup_skb/egress",
    "sockops",
)


@pytest.mark.parametrize("section", CGROUP_SECTIONS)
def test_a_template_for_a_cgroup_attaches_to_the_one_that_follows_the_section(group, load, section):
    made = template(f"{section}:{group.path}")
    assert list(made.targets.values()) == [str(group.path)]
    assert list(written(template(section)).targets.values()) == ["self"]
    session = load(made.source, targets=made.targets)
    assert session.programs["section"].tolist() == [section]
    assert session.state == "attached"
    session.close()


PLAIN = [section for row in PROGRAM_TYPES for section in row.sections if not section.endswith("+")]


@pytest.mark.parametrize("section", PLAIN)
def test_a_template_for_every_section_without_a_target_loads(load, section):
    made = template(section)
    assert (made.section, written(made).attach) == (section, made.attach)
    reason = kernel_has.absent(parse_section(section).kind)
    if reason is None:
        session = load(made.source, attach=False)
        assert section in session.programs["section"].tolist()
    else:
        cell = Cell(made.source)
        assert not compile_cell(cell, keep_types=kept_types(cell)).warnings, reason


def of_this_process(session, at_least):
    wait_until(lambda: (session.events.df()["pid"] == os.getpid()).sum() >= at_least, 30)
    frame = session.events.df()
    return frame[frame["pid"] == os.getpid()]


def test_the_template_of_openat_has_the_names_flags_and_modes_of_files_that_are_opened(load, tmp_path):
    made = template("openat")
    assert (made.name, made.section) == ("openat", "tp/syscalls/sys_enter_openat")
    session = load(made.source)
    names = [str(tmp_path / f"file {n}") for n in range(N)]
    for name in names:
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o640))
    frame = of_this_process(session, N)
    seen = frame[frame["filename"].astype(str).isin(names)]
    assert seen["filename"].tolist() == names
    assert seen["mode"].tolist() == [0o640] * N
    assert {flags & (os.O_CREAT | os.O_WRONLY) for flags in seen["flags"]} == {os.O_CREAT | os.O_WRONLY}
    assert set(seen["dfd"]) == {-100}  # AT_FDCWD


def test_the_template_of_a_system_calls_end_tells_errors_from_results(load, tmp_path):
    made = template("syscalls:sys_exit_mkdir")
    assert made.name == "mkdir_exit"
    session = load(made.source)
    for number in range(7):
        (tmp_path / f"{number}").mkdir()
        with pytest.raises(FileExistsError):
            (tmp_path / f"{number}").mkdir()
        with pytest.raises(FileNotFoundError):
            (tmp_path / "no" / "such").mkdir()
    frame = of_this_process(session, 21)
    assert frame["error"].astype(str).tolist() == ["OK", "EEXIST", "ENOENT"] * 7
    assert frame["ret"].tolist() == [0, -17, -2] * 7


def test_a_raw_system_call_has_its_name(load):
    session = load(template("raw_syscalls:sys_enter").source)
    for _ in range(N):
        os.getppid()

    def calls():
        frame = session.events.df()
        return frame[(frame["pid"] == os.getpid()) & (frame["id"].astype(str) == "getppid")]

    wait_until(lambda: len(calls()) >= N, 30)
    assert len(calls()) == N


@pytest.mark.parametrize("hook", ["sched:sched_process_exec", "tp_btf/sched_process_exec", "raw_tp/sched_process_exec"])
def test_programs_that_start_are_there_with_their_file_and_process(load, hook):
    made = template(hook)
    session = load(made.source)
    started = []
    for _ in range(7):
        with subprocess.Popen(["/bin/true"]) as child:
            started.append(child.pid)
    wait_until(lambda: session.events.df()["pid"].isin(started).sum() >= 7, 30)
    frame = session.events.df()
    frame = frame[frame["pid"].isin(started)]
    name, pid = ("filename", "hook_pid") if hook.startswith("sched") else ("bprm_filename", "p_pid")
    assert frame[name].astype(str).tolist() == ["/bin/true"] * 7
    assert frame[pid].tolist() == started
    assert frame["old_pid"].tolist() == started


def test_signals_have_names_and_the_process_that_they_are_for(load):
    session = load(template("signal:signal_generate").source)
    children = [subprocess.Popen(["/bin/sleep", "60"]) for _ in range(7)]
    for child in children:
        os.kill(child.pid, signal.SIGTERM)
        child.wait(20)
    of_this_process(session, 7)
    frame = session.events.df()
    frame = frame[(frame["pid"] == os.getpid()) & (frame["sig"].astype(str) == "SIGTERM")]
    assert frame["hook_pid"].tolist() == [child.pid for child in children]
    assert set(frame["hook_comm"].astype(str)) == {"sleep"}


def test_addresses_are_addresses_and_the_ports_of_a_tracepoint_are_numbers_as_people_write_them(netns, load):
    net.ip("link set lo up")
    session = load(template("sock:inet_sock_set_state").source)
    with socket.create_server(("127.0.0.1", 4231)) as server:
        for _ in range(7):
            with socket.create_connection(("127.0.0.1", 4231), timeout=20):
                server.accept()[0].close()
        listening = load(template("iter/tcp").source).iterate_df()
    wait_until(lambda: ((session.events.df()["dport"] == 4231) & (session.events.df()["newstate"] == 2)).sum() >= 7, 30)
    frame = session.events.df()
    connects = frame[(frame["dport"] == 4231) & (frame["newstate"] == 2)]  # TCP_SYN_SENT
    assert set(connects["daddr"].astype(str)) == {"127.0.0.1"}
    assert set(connects["daddr_v6"].astype(str)) == {"::ffff:127.0.0.1"}
    server_rows = listening[(listening["sport"] == 4231) & (listening["state"] == 10)]  # TCP_LISTEN
    assert server_rows["saddr"].astype(str).tolist() == ["127.0.0.1"]
    assert server_rows["uid"].tolist() == [os.getuid()]


def test_an_iterators_row_is_what_proc_says_of_this_process(load):
    made = template("iter/task")
    frame = load(made.source).iterate_df()
    [comm] = frame[frame["pid"] == os.getpid()]["comm"].astype(str)
    assert comm == Path("/proc/self/comm").read_text().strip()
    threads = {int(folder.name) for folder in Path("/proc/self/task").iterdir()}
    assert set(frame[frame["tgid"] == os.getpid()]["pid"]) == threads


def test_an_iterator_over_files_has_the_name_and_number_of_one_that_is_open(load, tmp_path):
    session = load(template("iter/task_file").source)
    with (tmp_path / "held open").open("w") as held:
        frame = session.iterate_df()
        number = held.fileno()
    mine = frame[(frame["task_pid"] == os.getpid()) & (frame["fd"] == number)]
    assert mine["file_name"].astype(str).tolist() == ["held open"]


@pytest.mark.hook("uprobe")
def test_arguments_of_a_library_function_come_by_number(load):
    library = ctypes.CDLL("libc.so.6")
    session = load(template("uprobe/libc.so.6:labs").source)
    back = load(template("uretprobe/libc.so.6:labs").source)
    for number in range(N):
        library.labs(1000 + number)
    assert of_this_process(session, N)["arg1"].tolist() == list(range(1000, 1000 + N))
    assert of_this_process(back, N)["ret"].tolist() == list(range(1000, 1000 + N))


def test_a_bare_name_is_the_hook_of_the_only_kind_that_has_it():
    assert template("sched_switch").section == "tp/sched/sched_switch"
    assert template("connect4").section == "cgroup/connect4"
    assert dict(template("page-faults").targets) == {"on_sample": "page-faults"}
    assert template("task_vma").section == "iter/task_vma"


def test_a_name_that_several_kinds_have_or_none_is_an_error_with_what_may_be_meant():
    with pytest.raises(HookNotFoundError, match="several hooks are called 'netif_rx'") as caught:
        template("netif_rx")
    assert "tp/net/netif_rx" in caught.value.nearest
    assert caught.value.nearest[1] in ("fentry/netif_rx", "kprobe/netif_rx")
    for wrong, right in (
        ("sched_swich", "sched_switch"),
        ("tp/sched/sched_swich", "sched/sched_switch"),
        ("sched:sched_swich", "sched:sched_switch"),
        ("fentry/vfs_raed", "vfs_read"),
        ("lsm_cgroup/socket_bnd", "socket_bind"),
        ("libc.so.6:maloc", "malloc"),
        ("perf_evnt", "perf_event"),
    ):
        with pytest.raises(HookNotFoundError) as caught:
            template(wrong)
        assert right in caught.value.nearest, wrong


def test_the_line_of_a_cell_survives_a_shell_like_split_where_a_target_has_blanks():
    made = template("lwt_out")
    line = made.cell.partition("\n")[0]
    assert shlex.split(line) == ["%%bpf", "lwt_out", "--attach", "on_packet=10.9.9.0/24 dev lo"]
