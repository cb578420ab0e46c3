"""BCC's own tools, and small programs like them, with the kprobes that a stock kernel has."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
from pathlib import Path

import bcc_corpus
import bcc_trial
import bcc_workload
import pytest
from bcc_cells import CELLS

from ebpflab.bcc import library, process
from ebpflab.errors import ToolMissingError

# Tools for every kind of hook, among them what a kernel may lack: kprobes, trampolines, a processor's counters.
_QUICK = ("bashreadline", "execsnoop", "llcstat", "profile", "runqlat", "syscount", "tcpstates", "threadsnoop")
_AT_ONCE = 7  # texts for one workload
# What tests/vm/warm_bcc.py lists for a virtual machine, which has no package to take the tools from.
_WANTED = os.environ.get("EBPFLAB_BCC_CORPUS", "")
_LISTED = Path(os.environ.get("EBPFLAB_CACHE", "/nonexistent"), f"bcc_corpus-{_WANTED}.json")
# Modules that tools look into, as in tests/vm/facts.py. Not every kernel has all.
_MODULES = ("ext4", "xfs", "btrfs", "nfs", "kvm", "md_mod")


@pytest.fixture(autouse=True)
def bcc():
    try:
        library.find_libbcc()
    except ToolMissingError as error:
        pytest.skip(str(error))
    yield
    process.close()


@pytest.fixture
def cell(load):
    """Load one of the small cells."""
    return lambda name, **more: load(CELLS[name][0], engine="bcc", targets=dict(CELLS[name][1]), **more)


@pytest.mark.hook("kretprobe")
def test_each_exec_of_a_prime_number_is_an_event_with_its_parent_and_result(cell):
    session = cell("exec")
    for number in range(11):
        subprocess.run(["/bin/true", str(number)], check=True)
    session.events.wait(11, timeout=20)
    session.detach()
    frame = session.events.df()
    mine = frame[frame["ppid"] == os.getpid()]
    assert mine["path"].tolist() == ["/bin/true"] * 11
    assert mine["comm"].tolist() == ["true"] * 11
    assert mine["ret"].tolist() == [0] * 11
    assert mine["pid"].nunique() == 11
    assert session.events.stats()["lost"] == 0


@pytest.mark.hook("kretprobe")
def test_pointers_are_followed_from_the_arguments_of_a_function(cell, tmp_path):
    path = tmp_path / "eleven.char"
    path.write_bytes(b"x" * 13)
    session = cell("read")
    with path.open("rb", buffering=0) as file:
        for _ in range(31):
            file.seek(0)
            file.read(17)
    session.events.wait(31, timeout=20)
    session.detach()
    frame = session.events.df()
    frame = frame[frame["pid"] == os.getpid()]
    rows = set(map(tuple, frame[["name", "bytes", "wanted"]].itertuples(index=False)))
    assert (rows, len(frame)) == ({("eleven.char", 13, 17)}, 31)


@pytest.mark.hook("kretprobe")
def test_each_connection_is_an_event_with_its_port(cell):
    session = cell("connect")
    ports = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        for _ in range(13):
            with socket.create_connection(server.getsockname()) as client:
                ports.append(client.getpeername()[1])
                server.accept()[0].close()
    session.events.wait(13, timeout=20)
    session.detach()
    frame = session.events.df()
    frame = frame[frame["pid"] == os.getpid()]
    assert frame["dport"].tolist() == ports
    assert frame["daddr"].unique().tolist() == [int.from_bytes(socket.inet_aton("127.0.0.1"), "little")]
    assert frame["family"].unique().tolist() == [socket.AF_INET]


def _count_folders(session, folder):
    # 7 are made, 5 of them removed.
    for number in range(7):
        (folder / str(number)).mkdir()
    for number in range(5):
        (folder / str(number)).rmdir()
    session.detach()
    return dict(session.maps["counts"])[os.getpid()]


@pytest.mark.hook("kretprobe")
@pytest.mark.parametrize("name", ["count", "count returns"])
def test_one_function_is_attached_in_several_places_as_funccount_does(cell, name, tmp_path):
    session = cell(name)
    session.attach("count", target="vfs_mkdir")
    assert session.links["target"].tolist() == ["vfs_rmdir", "vfs_mkdir"]
    assert _count_folders(session, tmp_path) == 7 + 5


@pytest.mark.hook("kprobe.multi")
@pytest.mark.parametrize("name", ["count many", "count many returns"])
def test_a_pattern_stands_for_all_functions_that_match(cell, name, tmp_path):
    session = cell(name)
    assert session.links["target"].tolist() == ["vfs_??dir (2 functions)"]
    assert _count_folders(session, tmp_path) == 7 + 5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    if _WANTED and os.environ.get("EBPFLAB_VM"):
        for name in _MODULES:
            subprocess.run(["modprobe", "-q", name], check=False)
        return bcc_corpus.read(_LISTED)
    if os.environ.get("EBPFLAB_VM"):
        pytest.skip("not in this kernel: the programs of BCC's tools, which EBPFLAB_BCC_CORPUS=first or =all asks for")
    if reason := bcc_corpus.missing():
        pytest.skip(reason)
    folder = bcc_corpus.fetch(tmp_path_factory.mktemp("tools"))
    return bcc_corpus.texts(folder, every=_WANTED == "all", only=() if _WANTED else _QUICK)


@pytest.fixture
def counted():
    """Have the kernel count how often programs run."""
    switch = Path("/proc/sys/kernel/bpf_stats_enabled")
    before = switch.read_text()
    switch.write_text("1")
    yield
    switch.write_text(before)


def _trials(corpus, folder):
    several = iter(corpus)
    while batch := list(itertools.islice(several, _AT_ONCE)):
        started = [bcc_trial.start(text) for text in batch]
        bcc_workload.run(folder)
        for trial, session in started:
            bcc_trial.finish(trial, session)
            yield trial


def test_the_programs_of_bcc_s_tools_load_attach_and_run(corpus, counted, tmp_path):
    trials = []
    report = Path(os.environ.get("EBPFLAB_BCC_REPORT", tmp_path / "bcc.json"))
    for trial in _trials(corpus, tmp_path):
        trials.append(trial)
        report.write_text(json.dumps([each.row for each in trials]))
    surprises = {trial.name: found for trial in trials if (found := bcc_trial.unexplained(trial))}
    assert surprises == {}
    loaded = [trial for trial in trials if not trial.stopped]
    attached = [trial for trial in loaded if trial.attached]
    assert len(loaded) >= 0.9 * len(trials)
    assert {trial.tool for trial in attached if not any(trial.runs.values())} <= bcc_trial.UNREACHED
