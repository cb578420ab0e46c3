"""What typedefs mean, for events of this kernel: addresses, names of calls, errors and signals, stacks, symbols."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import cells
import cells_meanings
import numpy as np
import pytest

from ebpflab import decode, stacks

GETPPID = {"x86_64": 110, "aarch64": 173}.get(platform.machine(), -1)  # __NR_getppid


def counts(column):
    return {name: n for name, n in column.value_counts().items() if n}


# --- Addresses -----------------------------------------------------------------------------------------


def test_connections_show_their_addresses_and_ports(load, group):
    targets = {"on_connect4": str(group.path), "on_connect6": str(group.path)}
    session = load(cells_meanings.CONNECT, targets=targets)
    expected = []
    with contextlib.ExitStack() as stack:
        for family, address, times in ((socket.AF_INET, "127.0.0.1", 7), (socket.AF_INET6, "::1", 5)):
            server = stack.enter_context(socket.create_server((address, 0), family=family, backlog=16))
            port = server.getsockname()[1]
            with group.inside():
                for _ in range(times):
                    stack.enter_context(socket.create_connection((address, port)))
            expected += [(family, address, port)] * times
    assert session.events.wait(12, timeout=5)
    frame = session.events.df()
    shown = [r.target if r.family == socket.AF_INET else r.target6 for r in frame.itertuples()]
    assert list(zip(frame["family"], shown, frame["port"], strict=True)) == expected
    assert frame["target"].dtype == "category"


# --- Names ---------------------------------------------------------------------------------------------


def test_system_calls_are_named(load):
    session = load(cells_meanings.CALLS, vars={"only": os.getpid()})
    for _ in range(11):
        os.getsid(0)
    for _ in range(13):
        os.sched_yield()
    for _ in range(17):
        os.umask(os.umask(0o22))
    session.detach()
    seen = counts(session.events.df()["call"])
    assert {name: seen.get(name) for name in ("getsid", "sched_yield", "umask")} == {
        "getsid": 11,
        "sched_yield": 13,
        "umask": 34,
    }
    assert not any(name.lstrip("-").isdecimal() for name in seen)


def test_failing_calls_show_their_errors(load, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    session = load(cells_meanings.OPENS, vars={"only": threading.get_native_id()})
    caused = [
        (11, "nothing", os.O_RDONLY, errno.ENOENT),
        (7, "file/below", os.O_RDONLY, errno.ENOTDIR),
        (5, ".", os.O_WRONLY, errno.EISDIR),
        (3, "link", os.O_RDONLY | os.O_NOFOLLOW, errno.ELOOP),
        (2, "file", os.O_CREAT | os.O_EXCL, errno.EEXIST),
    ]
    for times, name, flags, number in caused:
        for _ in range(times):
            with pytest.raises(OSError) as caught:
                os.open(tmp_path / name, flags)
            assert caught.value.errno == number
    for _ in range(13):
        os.close(os.open(tmp_path / "file", os.O_RDONLY))
    session.detach()
    expected = {errno.errorcode[number]: times for times, _, _, number in caused}
    assert counts(session.events.df()["error"]) == {**expected, "OK": 13}


def test_signals_are_named(load):
    child = subprocess.Popen(["sleep", "60"])
    session = load(cells_meanings.SIGNALS, vars={"only": child.pid})
    sent = [signal.SIGURG, signal.SIGWINCH, signal.SIGCONT, signal.SIGURG]
    try:
        for number in sent:
            child.send_signal(number)
    finally:
        child.kill()
        child.wait()
    assert session.events.wait(5, timeout=5)
    assert session.events.df()["signal"].tolist() == [*(number.name for number in sent), "SIGKILL"]


OWN = """\
typedef struct { u8 bytes[6]; } mac_t;
typedef u16 port_t;
struct event { mac_t mac; port_t port; ipv4_t address; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
SEC("syscall") int send(void *ctx)
{
	struct event e = { .mac = { { 2, 0, 0x5e, 0x10, 0, 1 } }, .port = 443, .address = bpf_htonl(0x0a000001) };
	return bpf_ringbuf_output(&events, &e, sizeof(e), 0);
}
"""


def test_a_cell_may_define_such_a_name_itself_and_a_buffer_need_not_name_its_type(load):
    session = load(OWN)
    session.test_run("send")
    assert session.events.wait(1, timeout=5)
    row = session.events.df().iloc[0]
    assert row.to_dict() == {"mac": "02:00:5e:10:00:01", "port": 443, "address": "10.0.0.1"}


# --- Stacks --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def caller(tmp_path_factory):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("these tests compile a C program, and there is no gcc")
    folder = tmp_path_factory.mktemp("caller")
    (folder / "caller.c").write_text(cells_meanings.CALLER)
    command = [compiler, "-O0", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "caller.c", "-o"]
    for name, flags in (("pie", ["-pie", "-fPIE"]), ("fixed", ["-no-pie", "-fno-pie"])):
        subprocess.run([*command, name, *flags], check=True, timeout=60, cwd=folder)
    shutil.copy(folder / "pie", folder / "stripped")
    subprocess.run(["strip", folder / "stripped"], check=True, timeout=60)
    return folder


class Child:
    """A running caller; each :meth:`call` is so many calls of getppid(2)."""

    def __init__(self, path, times):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([path, str(times)], **pipes, text=True, bufsize=1)
        assert self.process.stdout.readline() == "ready\n"

    def call(self):
        self.process.stdin.write("\n")
        assert self.process.stdout.readline() == "done\n"

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=10)


@pytest.fixture
def start():
    children = []

    def starting(path, times):
        children.append(Child(path, times))
        return children[-1]

    yield starting
    for child in children:
        if child.process.poll() is None:
            child.end()


@contextlib.contextmanager
def found(session):
    resolver = stacks.lookup(session._handle.maps())
    try:
        yield resolver
    finally:
        resolver.close()


@pytest.fixture
def getppids(load):
    """Start watching the getppid(2) of a process; a function that returns the columns of the first so many."""

    def watching(pid):
        session = load(cells_meanings.STACKS, vars={"only": pid, "number": GETPPID})
        following = session.events.batches(timeout=5)

        def columns(count):
            parts = []
            while sum(len(part["pid"]) for part in parts) < count:
                parts.append(next(following))
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

        return session, columns

    return watching


def linear_search(address, symbols):
    best, name = 0, ""
    for start, candidate in symbols:
        if best < start <= address:
            best, name = start, candidate
    return name, address - best


def kernel_symbols():
    rows = (line.split() for line in Path("/proc/kallsyms").read_text().splitlines())
    return [
        (int(words[0], 16), words[2])
        for words in rows
        if words[1] not in "aA" and words[0] >= "8" and not words[2].startswith("__pfx_")
    ]


def test_kernel_stacks_are_the_functions_that_a_linear_search_of_kallsyms_finds(getppids):
    session, columns = getppids(os.getpid())
    cells.call_getppid(7)
    seen = columns(7)
    assert (seen["kernel"] >= 0).all()
    with found(session) as resolver:
        texts = resolver.stacks("kernel", seen["kernel"].astype(np.int64), None)
        symbols = kernel_symbols()
        for row, text in enumerate(texts):
            depth = int(seen["depth"][row])
            addresses = [int(seen[f"frames[{i}]"][row]) for i in range(depth)]
            assert depth > 2
            calls = [addresses[0], *(address - 1 for address in addresses[1:])]
            assert text.split(";") == [linear_search(address, symbols)[0] for address in reversed(calls)]
            shown = resolver.addresses("kernel", np.array(addresses, np.uint64), None)
            for address, symbol in zip(addresses, shown, strict=True):
                name, offset = linear_search(address, symbols)
                assert symbol.partition(" ")[0] == f"{name}+{offset:#x}"
    assert "do_syscall_64" in texts[0] or "el0_svc" in texts[0]
    assert "_on_getppid" in texts[0]  # the program itself: bpf_prog_TAG_on_getppid


@pytest.mark.parametrize("how", ["pie", "fixed"])
def test_user_stacks_are_the_functions_that_called(getppids, start, caller, how):
    child = start(caller / how, 19)
    session, columns = getppids(child.process.pid)
    child.call()
    seen = columns(19)
    with found(session) as resolver:
        texts = resolver.stacks("user", seen["user"].astype(np.int64), seen["pid"])
        assert {text.split(";main;")[-1] for text in texts} == {"outermost;middle;inner"}
        assert all(text.endswith(";main;outermost;middle;inner") for text in texts)


def test_a_file_without_symbols_is_named_in_their_place(getppids, start, caller):
    child = start(caller / "stripped", 3)
    session, columns = getppids(child.process.pid)
    child.call()
    seen = columns(3)
    with found(session) as resolver:
        texts = resolver.stacks("user", seen["user"].astype(np.int64), seen["pid"])
        assert all(text.endswith(";[stripped];[stripped];[stripped];[stripped]") for text in texts)


@pytest.mark.parametrize("kept", [8192, 0])
def test_stacks_of_a_process_that_has_exited_are_shown_if_they_were_remembered(
    getppids, start, caller, kept, monkeypatch
):
    monkeypatch.setattr(stacks, "_MOST_PAIRS", kept)  # with 0, their text is kept at once
    child = start(caller / "pie", 5)
    session, columns = getppids(child.process.pid)
    child.call()
    seen = columns(5)
    ids, pids = seen["user"].astype(np.int64), seen["pid"]
    with found(session) as early, found(session) as late:
        early.remember("user", ids, pids)
        child.end()
        assert all(t.endswith(";main;outermost;middle;inner") for t in early.stacks("user", ids, pids))
        assert set(late.stacks("user", ids, pids)) == {"[exited]"}


def test_stacks_can_be_shown_after_the_session_is_closed(getppids):
    session, columns = getppids(os.getpid())
    cells.call_getppid(3)
    ids = columns(3)["kernel"].astype(np.int64)
    with found(session) as resolver:
        resolver.close()
        session.close()
        # The kernel forgets the program, and its name, a moment later.
        assert cells.wait_until(lambda: not any("_on_getppid" in name for _, name in kernel_symbols()))
        (text,) = set(resolver.stacks("kernel", ids, None))
        assert "_on_getppid" in text
        assert resolver.stacks("kernel", np.array([2**20 + 7, -errno.EEXIST, -errno.EFAULT]), None) == [
            "[missing]",
            "[EEXIST]",
            "[EFAULT]",
        ]


def test_a_frame_shows_stacks_and_symbols_as_categories(getppids):
    session, columns = getppids(os.getpid())
    cells.call_getppid(13)
    seen = columns(13)
    record = session.events.types.candidates[0].type
    table = np.zeros(13, record.dtype)
    for name in ("pid", "kernel", "user", "depth"):
        table[name] = seen[name]
    for i in range(16):
        table["frames"][:, i] = seen[f"frames[{i}]"]
    raw = table.view(np.uint8).reshape(13, record.size)
    with found(session) as resolver:
        decode.remember(record, raw, resolver)
        frame = decode.to_frame(record, [(raw, 0)], resolver)
    assert {str(frame[name].dtype) for name in ("kernel", "user", "frames[0]")} == {"category"}
    assert frame["kernel"].str.contains("_on_getppid").all()
    assert frame["user"].str.contains("getppid").all()
    assert (frame["kernel"].cat.codes == frame["kernel"].cat.codes[0]).all()


def test_hidden_kernel_symbols_are_said_to_be_hidden():
    paranoid = int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    if paranoid <= 1:
        pytest.skip("this kernel shows its symbols to everybody (perf_event_paranoid)")
    done = cells.python(
        f"""\
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import cells
        cells.keep_only_capabilities(0)
        from ebpflab.symbols import KernelSymbols
        symbols = KernelSymbols()
        print(symbols.find([0xffffffff81000010]), symbols.hidden())
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[None] kernel symbols are hidden")
