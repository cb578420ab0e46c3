"""Tracepoints and functions of the kernel: each kind counts exactly what the test itself did."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path

import cells
import kernel_has
import pytest
from cells_tracing import CELLS

import ebpflab
from ebpflab.errors import AttachError, HookNotFoundError, KernelSupportError, LoadError

CALLS, LATER = 97, 53  # primes
SIZE = 13


class Pipe:
    """Reads and writes of a pipe that nobody else has, one system call each."""

    def __init__(self):
        self.out, self.into = os.pipe()
        self.inode = os.fstat(self.out).st_ino

    def read(self, times):
        os.write(self.into, bytes(SIZE * times))
        for _ in range(times):
            assert len(os.read(self.out, SIZE)) == SIZE

    def write(self, times):
        for _ in range(times):
            os.write(self.into, b"x")
        assert len(os.read(self.out, times)) == times


@pytest.fixture
def pipe():
    made = Pipe()
    yield made
    os.close(made.out)
    os.close(made.into)


def me():
    return {"only": threading.get_native_id()}


def events_held():
    """The perf events and links of this process, by its file descriptors."""
    held = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor of the listing itself
            held.append(str(entry.readlink()))
    return [name for name in held if re.search("perf_event|bpf.?link", name)]


def check_life(session, hook, target, cause):
    """It is listed, it counts while it is attached and not after, and its descriptors go."""
    listed = session.links[session.links["program"] == "on"]
    assert listed[["hook", "target"]].values.tolist() == [[hook, target]]
    assert events_held()
    # Before Linux 5.15 a perf event has no link.
    link = next(link for link in session._links if link.program == "on")
    assert link.fd is None or "bpf" in str(Path(f"/proc/self/fd/{link.fd}").readlink())
    cause(CALLS)
    assert session.vars["seen"] == CALLS
    session.detach()
    assert events_held() == []
    assert session.links.empty
    cause(LATER)
    assert session.vars["seen"] == CALLS


def signals(times):
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGURG)  # ignored by default


def priorities(times):
    for _ in range(times):
        os.getpriority(os.PRIO_PROCESS, os.getpid())


@pytest.mark.hook("tracepoint")
def test_a_tracepoint_counts_every_call_while_it_is_attached(load):
    session = load(CELLS["tracepoint"], vars=me())
    check_life(session, "tracepoint", "syscalls/sys_enter_getppid", cells.call_getppid)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.hook(kind)) for kind in ("raw_tracepoint", "tp_btf")],
)
def test_raw_and_typed_tracepoints_count_every_signal_while_they_are_attached(load, kind):
    session = load(CELLS[kind], vars={**me(), "wanted": int(signal.SIGURG)})
    check_life(session, kind, "signal_generate", signals)


@pytest.mark.hook("raw_tracepoint")
def test_a_writable_raw_tracepoint_changes_what_the_kernel_answers(load):
    session = load(CELLS["raw_tracepoint.w"], attach=False, vars={**me(), "result": -errno.EDOM})
    session.attach("on")
    assert session.test_run("victim", data=bytes(64)).retval == 0
    session.vars["armed"] = True
    for _ in range(CALLS):
        with pytest.raises(LoadError) as caught:
            session.test_run("victim", data=bytes(64))
        assert caught.value.errno == errno.EDOM
    session.detach()
    assert session.test_run("victim", data=bytes(64)).retval == 0
    assert session.vars["seen"] == CALLS


@pytest.mark.hook("tp_btf")
def test_a_typed_tracepoint_of_a_module_sees_every_packet(load):
    # vsock(7) within this machine: one packet a send.
    btf = Path("/sys/kernel/btf/vmw_vsock_virtio_transport_common")
    done = subprocess.run(["modprobe", "vsock_loopback"], capture_output=True, text=True, timeout=60, check=False)
    if not btf.exists():
        pytest.skip(f"not in this kernel: vsock_loopback as a module with BTF {done.stderr.strip()}")
    session = load(CELLS["tp_btf of a module"], vars=me())
    with socket.socket(socket.AF_VSOCK) as server, socket.socket(socket.AF_VSOCK) as client:
        server.bind((socket.VMADDR_CID_ANY, 4711))
        server.listen()
        client.connect((1, 4711))  # VMADDR_CID_LOCAL
        accepted, _ = server.accept()
        with accepted:
            for _ in range(CALLS):
                client.send(bytes(SIZE))
            session.detach()
            client.send(bytes(SIZE))
    assert (session.vars["seen"], session.vars["total"]) == (CALLS, CALLS * SIZE)


@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.hook(k)) for k in ("kprobe", "kretprobe")])
def test_kprobes_see_every_read_and_its_size(load, pipe, kind):
    session = load(CELLS[kind], vars={**me(), "inode": pipe.inode})
    check_life(session, kind, "vfs_read", pipe.read)
    assert session.vars["total"] == CALLS * SIZE


@pytest.mark.hook("kprobe")
def test_a_kprobe_at_an_offset_needs_the_start_of_an_instruction(load, pipe):
    # Which of the first bytes start an instruction depends on the compiler; some do, and not all.
    session = load(CELLS["kprobe at an offset"], attach=False, vars=me())
    counted, refused = set(), set()
    for offset in range(1, 12):
        error = refusal(session, f"vfs_read+{offset:#x}")
        if error is None:
            before = session.vars["seen"]
            pipe.read(11)
            session.detach()
            counted.add(session.vars["seen"] - before)
        else:
            refused.add((error.errno, "start of an instruction" in error.hint))
    assert counted == {11}
    assert refused == {(errno.EILSEQ, True)}


def refusal(session, target):
    try:
        session.attach(target=target)
    except AttachError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("section", "times"),
    [
        pytest.param("kprobe.multi", 1, marks=pytest.mark.hook("kprobe.multi")),
        pytest.param("kretprobe.multi", 1, marks=pytest.mark.hook("kprobe.multi")),
        pytest.param("kprobe.session", 2, marks=pytest.mark.hook("kprobe.session")),
    ],
)
def test_a_probe_of_many_functions_knows_which_one_was_called(load, pipe, section, times):
    session = load(CELLS[section], vars={**me(), **addresses("vfs_read", "vfs_write")})
    (target,) = session.links["target"]
    assert target == f"vfs_* ({len(traceable('vfs_'))} functions)"
    before = session.vars["reads"], session.vars["writes"]
    pipe.read(CALLS)
    pipe.write(LATER)
    session.detach()
    assert events_held() == []
    pipe.read(7)
    # Filling the pipe and emptying it again are one call each.
    assert session.vars["reads"] - before[0] == times * (CALLS + 1)
    assert session.vars["writes"] - before[1] == times * (LATER + 1)


@pytest.mark.hook("kprobe.session")
def test_a_session_probe_may_leave_the_return_out(load, pipe):
    skip = {"skip_return": 1}
    source = CELLS["kprobe.session"]
    session = load(source, vars={**me(), **addresses("vfs_read", "vfs_write"), **skip}, targets={"on": "vfs_read"})
    pipe.read(CALLS)
    assert session.vars["reads"] == CALLS
    assert session.links["target"].tolist() == ["vfs_read"]


@pytest.fixture
def vsock():
    """A module, and what calls its function vsock_create()."""
    subprocess.run(["modprobe", "vsock"], capture_output=True, timeout=60, check=False)
    if not re.search("^vsock ", Path("/proc/modules").read_text(), re.MULTILINE):
        pytest.skip("not in this kernel: vsock as a module")

    def create(times):
        for _ in range(times):
            socket.socket(socket.AF_VSOCK).close()

    return create


@pytest.mark.hook("kprobe.multi")
def test_a_pattern_finds_the_functions_of_a_module(load, vsock):
    own = {**me(), "read_at": address("vsock_create")}
    session = load(CELLS["kprobe.multi"], vars=own, targets={"on": "vsock_cre*"})
    vsock(CALLS)
    assert session.vars["reads"] == CALLS


@pytest.mark.hook("fentry")
def test_a_function_of_a_module_has_a_context_though_its_types_are_not_in_the_kernel_s_btf(vsock):
    found = ebpflab.context("fentry/vsock_create")
    assert (found.kind, found.section, found.members) == ("fentry", "fentry/vsock_create", ())


@pytest.mark.hook("kprobe")
def test_a_function_may_be_named_with_its_module(load, vsock):
    session = load(CELLS["kprobe at an offset"], vars=me(), targets={"on": "vsock:vsock_create"})
    check_life(session, "kprobe", "vsock:vsock_create", vsock)


@pytest.mark.hook("ksyscall")
def test_a_system_call_s_probe_sees_every_call_and_its_arguments(load):
    session = load(CELLS["ksyscall"], vars=me())
    check_life(session, "ksyscall", "getpriority", priorities)
    assert session.vars["total"] == CALLS * os.getpid()


@pytest.mark.hook("ksyscall")
def test_a_system_call_s_return_probe_sees_every_result(load):
    session = load(CELLS["kretsyscall"], vars=me())
    check_life(session, "ksyscall", "getpriority", priorities)
    # The system call itself, unlike libc's function, gives 20 minus the nice value (getpriority(2)).
    assert session.vars["total"] == CALLS * (20 - os.getpriority(os.PRIO_PROCESS, 0))


@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.hook(k)) for k in ("fentry", "fexit")])
def test_trampolines_see_every_read_and_its_size(load, pipe, kind):
    session = load(CELLS[kind], vars={**me(), "inode": pipe.inode})
    check_life(session, kind, "vfs_read", pipe.read)
    assert session.vars["total"] == CALLS * SIZE


@pytest.mark.hook("fentry")
def test_a_trampoline_moves_to_another_function_before_it_is_verified(load, pipe):
    # vfs_write() takes the same arguments.
    session = load(CELLS["fentry"], vars={**me(), "inode": pipe.inode}, targets={"on": "vfs_write"})
    pipe.write(CALLS)
    assert session.vars["seen"] == CALLS
    assert session.links["target"].tolist() == ["vfs_write"]


@pytest.mark.hook("fmod_ret")
def test_a_changed_return_value_refuses_to_open_one_file(load):
    file = os.memfd_create("refused")
    path = f"/proc/self/fd/{file}"

    def refused(times):
        for _ in range(times):
            with pytest.raises(PermissionError):
                os.open(path, os.O_RDONLY)

    try:
        session = load(CELLS["fmod_ret"], vars={**me(), "inode": os.fstat(file).st_ino})
        assert session.links[["hook", "target"]].values.tolist() == [["fmod_ret", "security_file_open"]]
        refused(CALLS)
        assert session.vars["seen"] == CALLS
        session.detach()
        os.close(os.open(path, os.O_RDONLY))
        assert session.vars["seen"] == CALLS
    finally:
        os.close(file)


@pytest.mark.hook("fsession")
def test_a_session_trampoline_runs_at_entry_and_at_the_return(load, pipe):
    session = load(CELLS["fsession"], vars={**me(), "inode": pipe.inode})
    assert session.links[["hook", "target"]].values.tolist() == [["fsession", "vfs_read"]]
    pipe.read(CALLS)
    session.detach()
    pipe.read(7)
    assert (session.vars["seen"], session.vars["total"]) == (2 * CALLS, CALLS)


def bad(kind, target, error, what, hint, cell=""):
    marks = pytest.mark.hook(kind)
    return pytest.param(cell or kind, target, error, what, hint, marks=marks, id=f"{cell or kind} {target}")


@pytest.mark.parametrize(
    ("cell", "target", "error", "what", "hint"),
    [
        bad("tracepoint", "syscalls/sys_enter_getpppid", HookNotFoundError, "sys_enter_getpppid", "getppid"),
        bad("raw_tracepoint", "signal_generat", HookNotFoundError, "signal_generat", "signal_generate"),
        bad("tp_btf", "signal_generat", HookNotFoundError, "signal_generat", "signal_generate"),
        bad("kprobe", "vfs_raed", HookNotFoundError, "vfs_raed", "vfs_read"),
        bad("kprobe", "exc_int3", HookNotFoundError, "may not be probed", "calls it"),
        bad("kprobe", "vfs_read+ten", AttachError, "does not name a function", "vfs_read+0x10"),
        bad("kretprobe", "vfs_read+4", AttachError, "takes no offset", "write vfs_read"),
        bad("kprobe.multi", "vfs_raed*", HookNotFoundError, "matches 'vfs_raed[*]'", "vfs_read"),
        bad("kprobe.multi", "vfs_raed", HookNotFoundError, "vfs_raed", "vfs_read"),
        bad("kprobe.multi", "exc_int?", AttachError, "'exc_int[?]' may not be traced: exc_int3", "call them"),
        bad("kprobe.multi", "exc_int3", HookNotFoundError, "exc_int3", ""),
        bad("kprobe.session", "vfs_raed*", HookNotFoundError, "matches 'vfs_raed[*]'", "vfs_read"),
        bad("ksyscall", "getpriorty", HookNotFoundError, "getpriorty", "getpriority"),
        bad("fentry", "vfs_raed", HookNotFoundError, "vfs_raed", "vfs_read"),
        bad("fexit", "vfs_raed", HookNotFoundError, "vfs_raed", "vfs_read"),
        bad("fmod_ret", "security_file_opne", HookNotFoundError, "security_file_opne", "security_file_open"),
        bad("fsession", "vfs_raed", HookNotFoundError, "vfs_raed", "vfs_read"),
    ],
)
def test_a_wrong_target_is_named_with_what_is_there(load, cell, target, error, what, hint):
    with pytest.raises(error, match=what) as caught:
        load(CELLS[cell], targets={"on": target})
    assert hint in (caught.value.hint or "")
    assert events_held() == []


@pytest.mark.parametrize("cell", ["kprobe", "ksyscall", "fentry", "fexit", "fmod_ret"])
def test_a_kind_that_the_kernel_lacks_is_named_with_the_reason(load, cell):
    check_lack(load, cell, cell)


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("kprobe.multi", "vfs_read"),
        ("kprobe.session", "vfs_read"),
        ("fsession", "vfs_read"),
        ("uprobe.multi", "libc.so.6:getppid"),
        ("uprobe.session", "libc.so.6:getppid"),
    ],
)
def test_a_kind_that_is_newer_than_the_kernel_is_named_with_the_reason(load, kind, target):
    check_lack(load, kind, f"{kind} of nothing", targets={"on": target})


def check_lack(load, kind, cell, **options):
    """It is attached where the kernel has it, and elsewhere the error says that it has not."""
    if kernel_has.absent(kind) is None:
        load(CELLS[cell], **options).close()
    else:
        with pytest.raises(KernelSupportError, match="this kernel") as caught:
            load(CELLS[cell], **options)
        assert caught.value.hint
    assert events_held() == []


def address(function):
    found = re.search(rf"^([0-9a-f]+) [tT] {function}(\t|$)", Path("/proc/kallsyms").read_text(), re.MULTILINE)
    return int(found[1], 16)


def addresses(read, write):
    return {"read_at": address(read), "write_at": address(write)}


def traceable(start):
    folders = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
    listed = next(f for folder in folders if (f := folder / "available_filter_functions").exists())
    return {line.split()[0] for line in listed.read_text().splitlines() if line.startswith(start)}
