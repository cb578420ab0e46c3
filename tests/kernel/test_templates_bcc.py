"""Templates in BCC's C: each compiles, and tells what the test does where the kernel has the hook."""

from __future__ import annotations

import ctypes
import os
import random
import re
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import netns as net
import pytest
from cells import wait_until
from test_hook_tracing_user import folder  # noqa: F401 (a fixture)
from test_hook_tracing_user import library as probed  # noqa: F401 (a fixture)
from test_templates import BLOCKED, CGROUPS, PORT, marked, send_in, send_out
from test_templating_hooks import HOOKED

import ebpflab
from ebpflab.bcc import building, library, process
from ebpflab.cell import Cell
from ebpflab.errors import HookNotFoundError, ToolMissingError
from ebpflab.inspectors import bcc_names, functions, search, tracefs
from ebpflab.inspectors.kernel import tracefs_path
from ebpflab.inspectors.templating import template
from ebpflab.program_types import BY_KIND

N = 23
KNOWN = [kind for kind in BY_KIND if kind in bcc_names.KINDS]


@pytest.fixture(autouse=True)
def bcc():
    try:
        library.find_libbcc()
    except ToolMissingError as error:
        pytest.skip(str(error))
    yield
    process.close()


def in_bcc(hook):
    return template(hook, engine="bcc")


def compiled(made):
    return building.build(Cell(made.source), targets=made.targets)


def rows(session, count):
    """The rows of a session, of which there have to be so many."""
    wait_until(lambda: session.events.stats()["received"] >= count, 30)
    assert session.events.stats()["lost"] == 0
    return session.events.df()


def of_this_process(session, count):
    wait_until(lambda: (session.events.df()["pid"] == os.getpid()).sum() >= count, 30)
    frame = session.events.df()
    return frame[frame["pid"] == os.getpid()]


@pytest.mark.parametrize("kind", KNOWN)
def test_the_template_of_every_kind_that_bcc_knows_compiles_and_knows_where_to_attach(kind):
    made = in_bcc(kind)
    built = compiled(made)
    assert Cell(made.source).dialect == "bcc"
    assert "SEC(" not in made.source
    assert "BPF_CORE_READ" not in made.source
    assert built.waiting == ()
    assert dict(built.targets).keys() == made.targets.keys()
    assert [word for word in made.cell.split("\n")[0].split() if word == "--attach"] == ["--attach"] * len(made.targets)


@pytest.mark.parametrize("kind", [kind for kind in BY_KIND if kind not in bcc_names.KINDS])
def test_a_kind_that_bcc_does_not_know_is_an_error_that_names_the_template_in_libbpfs_c(kind):
    with pytest.raises(HookNotFoundError, match="no BCC template") as caught:
        in_bcc(kind)
    named = caught.value.hint.partition("%bpf template ")[2].partition(";")[0]
    assert template(named).engine == "libbpf"


SEED = 20261123
PICKED = ["tracepoint", "kprobe", "fentry", "raw_tracepoint", "lsm", "iter"]


@pytest.mark.parametrize("kind", PICKED)
def test_templates_of_hooks_picked_by_seed_compile(kind):
    # Elements of maps are visited by way of a map of the cell, which BCC has no iterators for.
    names = {
        "tracepoint": lambda: [name.replace(":", "/") for name in tracefs.events()],
        "kprobe": lambda: sorted(functions.typed()),
        "fentry": lambda: sorted(functions.typed()),
        "iter": lambda: sorted(set(search.names("iter")) - {"bpf_map_elem", "bpf_sk_storage_map", "sockmap"}),
    }.get(kind, lambda: sorted(search.names(kind)))()
    prefix = {"tracepoint": "tp", "raw_tracepoint": "raw_tp"}.get(kind, kind)
    for name in random.Random(SEED).sample(names, 2):
        made = in_bcc(f"{prefix}/{name}")
        assert compiled(made).object[:4] == b"\x7fELF", name


def test_fields_and_texts_of_a_tracepoint_are_what_the_process_gave(load, tmp_path):
    made = in_bcc("syscalls:sys_enter_unlinkat")
    session = load(made.source, targets=made.targets)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        for number in range(N):
            (tmp_path / f"{number}").touch()
            os.unlink(f"{number}", dir_fd=descriptor)
        frame = of_this_process(session, N)
    finally:
        os.close(descriptor)
    assert session.engine == "bcc"
    assert frame["pathname"].astype(str).tolist() == [f"{number}" for number in range(N)]
    assert set(frame["dfd"]) == {descriptor}
    assert frame["time"].is_monotonic_increasing
    assert str(frame["time"].dtype).startswith("datetime64")


def rename_this_thread():
    """Give this thread N names one after the other, and then its own again."""
    comm = Path("/proc/thread-self/comm")
    before = comm.read_text().strip()
    try:
        for number in range(N):
            comm.write_text(f"named {number}")
    finally:
        comm.write_text(before)


def test_both_engines_templates_tell_the_same_of_the_same_events(load):
    sessions = [load(template("task:task_rename", engine=engine).source) for engine in ("libbpf", "bcc")]
    rename_this_thread()
    # Other threads of this process may get a name meanwhile.
    first, second = (of_this_process(session, N + 1).drop(columns="time").astype(str) for session in sessions)
    first, second = (frame[frame["newcomm"].str.startswith("named ")] for frame in (first, second))
    assert first.columns.tolist() == second.columns.tolist()
    assert first["newcomm"].tolist() == [f"named {number}" for number in range(N)]
    assert first.to_numpy().tolist() == second.to_numpy().tolist()


def test_a_raw_tracepoint_has_its_arguments_and_what_is_behind_their_pointers(load):
    session = load(in_bcc("RAW_TRACEPOINT_PROBE(task_rename)").source)
    rename_this_thread()
    frame = of_this_process(session, N + 1)
    # At the hook the task has its old name, and the new one is an argument.
    frame = frame[frame["task_pid"] == int(Path("/proc/thread-self").readlink().name)]
    assert frame["hook_comm"].astype(str).tolist()[:N] == [f"named {number}" for number in range(N)]
    assert frame["task_comm"].astype(str).tolist()[1:] == [f"named {number}" for number in range(N)]


def test_text_of_any_length_and_addresses_are_shown_as_such(netns, load):
    net.ip("link set lo up")
    session = load(in_bcc("sock:inet_sock_set_state").source)
    with socket.create_server(("127.0.0.1", PORT)) as server:
        for _ in range(N):
            with socket.create_connection(("127.0.0.1", PORT), timeout=20):
                server.accept()[0].close()
        listening = load(in_bcc("iter/tcp").source).iterate_df()
    wait_until(lambda: ((session.events.df()["dport"] == PORT) & (session.events.df()["newstate"] == 2)).sum() >= N, 30)
    frame = session.events.df()
    connects = frame[(frame["dport"] == PORT) & (frame["newstate"] == 2)]  # TCP_SYN_SENT
    assert len(connects) == N
    assert set(connects["daddr"].astype(str)) == {"127.0.0.1"}
    assert set(connects["daddr_v6"].astype(str)) == {"::ffff:127.0.0.1"}
    bound = listening[(listening["sport"] == PORT) & (listening["state"] == 10)]  # TCP_LISTEN
    assert bound["saddr"].astype(str).tolist() == ["127.0.0.1"]


@pytest.mark.hook("uprobe")
def test_a_function_of_a_library_and_its_result(load):
    sessions = []
    for kind in ("uprobe", "uretprobe"):
        made = in_bcc(f"{kind}/libc.so.6:labs")
        assert dict(made.targets) == {"on_labs": f"{kind}:libc.so.6:labs"}
        assert f"--attach on_labs={kind}:libc.so.6:labs." in made.source.replace("\n// ", " ")
        sessions.append(load(made.source, targets=made.targets))
    for number in range(N):
        ctypes.CDLL(None).labs(1000 + number)
    expected = [1000 + number for number in range(N)]
    assert of_this_process(sessions[0], N)["arg1"].tolist() == expected
    assert of_this_process(sessions[1], N)["ret"].tolist() == expected


@pytest.mark.hook("usdt")
def test_arguments_of_a_static_probe(load, folder, probed):  # noqa: F811
    made = in_bcc(f"usdt/{folder}/libprobed.so:lab:fired")
    session = load(made.source, targets=made.targets)
    for number in range(N):
        probed.fire(-number, number << 33)
    frame = rows(session, N)
    assert frame["arg1"].tolist() == [-number for number in range(N)]
    assert frame["arg2"].tolist() == [number << 33 for number in range(N)]


@pytest.mark.hook("perf_event")
def test_samples_of_a_busy_cpu(load):
    made = in_bcc("perf_event")
    assert dict(made.targets) == {"on_sample": "perf_event:cpu-clock,freq=99"}
    session = load(made.source, targets={"on_sample": f"perf_event:cpu-clock,freq=99,pid={os.getpid()}"})
    began = time.process_time()
    while time.process_time() - began < 0.5:
        pass
    assert set(rows(session, 7)["pid"]) == {os.getpid()}


@pytest.mark.hook("iter")
def test_the_row_of_an_iterator_is_what_proc_says_of_this_process(load):
    frame = load(in_bcc("iter/task").source).iterate_df()
    [comm] = frame[frame["pid"] == os.getpid()]["comm"].astype(str)
    assert comm == Path("/proc/self/comm").read_text().strip()
    threads = {int(each.name) for each in Path("/proc/self/task").iterdir()}
    assert set(frame[frame["tgid"] == os.getpid()]["pid"]) == threads


@pytest.mark.parametrize(
    ("hook", "send"),
    [
        pytest.param("xdp", send_in, marks=pytest.mark.hook("xdp")),
        pytest.param("tc/egress", send_out, marks=pytest.mark.hook("tc")),
    ],
)
def test_packets_are_shown_and_those_to_the_blocked_port_dropped(wire, load, hook, send):
    made = in_bcc(f"{hook}:near0")
    assert dict(made.targets) == {"on_packet": f"{hook}:near0"}
    source = made.source.replace("#define BLOCKED 0", f"#define BLOCKED {BLOCKED}")
    session = load(source, targets=made.targets)
    with ExitStack() as stack:
        if send is send_in:
            wanted, unwanted = (stack.enter_context(net.udp_receiver(wire.near_address, p)) for p in (PORT, BLOCKED))
        else:
            wanted, unwanted = (stack.enter_context(wire.far_receiver(p)) for p in (PORT, BLOCKED))
        send(wire, PORT, N)
        send(wire, BLOCKED, N)
        assert net.received(wanted, N) == N
        assert net.received(unwanted, 0) == 0
    frame = rows(session, 2 * N)
    assert (frame["port"] == PORT).sum() == N
    assert (frame["dropped"] & (frame["port"] == BLOCKED)).sum() == N


@pytest.mark.hook("socket_filter")
def test_a_socket_filter_shows_packets_and_lets_them_pass(wire, load):
    made = in_bcc("socket:near0")
    assert dict(made.targets) == {"on_packet": "socket:near0"}
    session = load(made.source, targets=made.targets)
    with net.udp_receiver(wire.near_address, PORT) as receiver:
        send_in(wire, PORT, N)
        assert net.received(receiver, N) == N
    assert rows(session, N)["port"].tolist() == [PORT] * N


@pytest.mark.parametrize("kind", marked(CGROUPS))
def test_what_the_processes_of_a_cgroup_do_is_shown_and_refused(netns, group, load, kind):
    program, cause = CGROUPS[kind]
    made = in_bcc(kind)
    source = made.source.replace("#define REFUSED 0", f"#define REFUSED {BLOCKED}")
    targets = {program: target.replace(":self", f":{group.path}") for program, target in made.targets.items()}
    assert list(targets) == [program]
    session = load(source, targets=targets)
    with group.inside():
        cause()
    rows(session, 7)
    assert session.events.stats()["received"] == 7  # what `cause` does
    session.close()


@pytest.mark.hook("sockops")
def test_both_ends_of_each_connection_of_a_cgroup_are_shown(netns, group, load):
    session = load(in_bcc("sockops").source, targets={"on_event": f"sockops:{group.path}"})
    with group.inside(), socket.create_server(("127.0.0.1", PORT)) as server:
        for _ in range(N):
            with socket.create_connection(("127.0.0.1", PORT), timeout=20):
                server.accept()[0].close()
    assert len(rows(session, 2 * N)) == 2 * N
    session.close()


OF_FUNCTIONS = [kind for kind in HOOKED if kind in bcc_names.KINDS]


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.hook(kind)) for kind in OF_FUNCTIONS])
def test_a_function_that_opens_files_tells_each_open_and_its_name(load, tmp_path, kind):
    made = in_bcc(HOOKED[kind])
    session = load(made.source)
    path = tmp_path / "an opened file"
    path.touch()
    before = len(of_this_process(session, 1))
    for _ in range(N):
        path.read_bytes()
    found = of_this_process(session, before + N)
    if kind == "kretprobe":  # which has no arguments any more
        assert found["ret"].tolist()[-N:] == [0] * N
        return
    column = "file_name" if made.section.endswith("file_open") else "path_name"
    assert (found[column].astype(str) == path.name).sum() == N + 1


@pytest.mark.parametrize("hook", ["kretprobe/vfs_read", "kretsyscall/openat", "uretprobe/libc.so.6:malloc"])
def test_what_a_function_returned_comes_from_the_register_of_results(hook):
    # As a parameter, BCC would read it from the register of the first argument.
    made = in_bcc(hook)
    assert re.search(r"\(struct pt_regs \*ctx\)\n\{\n\t\w+ ret = \(\w+\)PT_REGS_RC\(ctx\);", made.source)


@pytest.mark.hook("ksyscall")
def test_a_system_call_at_a_kprobe_reads_what_the_process_gave(load, tmp_path):
    session = load(in_bcc("ksyscall/unlinkat").source)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        for number in range(N):
            (tmp_path / f"{number}").touch()
            os.unlink(f"{number}", dir_fd=descriptor)
        found = of_this_process(session, N)
    finally:
        os.close(descriptor)
    assert found["pathname"].astype(str).tolist() == [f"{number}" for number in range(N)]


def test_contexts_in_bccs_c_read_every_field_of_the_tracepoint_by_its_name(load):
    text = (tracefs_path() / "events/sched/sched_switch/format").read_text()
    context = ebpflab.context("TRACEPOINT_PROBE(sched, sched_switch)", "bcc")
    names = [f.name for f in context.members]
    assert all(f" {name}" in text for name in names)
    # The compiler is asked whether BCC's C has these fields.
    plain = [f"x = (u64)({f.read.replace('[i]', '[0]')});" for f in context.members]
    assert len(plain) == 7
    load("TRACEPOINT_PROBE(sched, sched_switch) { volatile u64 x; " + " ".join(plain) + " return 0; }")


def test_the_search_for_hooks_tells_bccs_words_and_takes_them():
    found = ebpflab.hooks("sched_switch", engine="bcc")
    said = dict(zip(found["kind"], found["bcc"], strict=True))
    assert said["tracepoint"] == "TRACEPOINT_PROBE(sched, sched_switch)"
    assert said["raw_tracepoint"] == "RAW_TRACEPOINT_PROBE(sched_switch)"
    assert "tp_btf" not in said
    assert "kprobe/vfs_read" in ebpflab.hooks("kprobe__vfs_read")["section"].tolist()
    assert "in BCC: TRACEPOINT_PROBE(sched, sched_switch); args->" in repr(ebpflab.format("sched:sched_switch"))
