"""Functions and USDT probes of binaries: each kind counts exactly the calls that the test made."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cells_tracing import CELLS, LIBRARY, PROGRAM
from test_hook_tracing import CALLS, LATER, check_life, events_held, me

from ebpflab.errors import AttachError, HookNotFoundError

NOBODY = 0x3FFFFFFF  # above the highest pid_max
MULTI = [pytest.param(k, marks=pytest.mark.hook("uprobe.multi")) for k in ("uprobe.multi", "uretprobe.multi")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A library, and a program that calls it in a process of its own."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("these tests compile a C library, and there is no gcc")
    made = tmp_path_factory.mktemp("probed")
    (made / "probed.c").write_text(LIBRARY)
    (made / "caller.c").write_text(PROGRAM)
    for arguments in (
        ["-shared", "-fPIC", "-o", "libprobed.so", "probed.c"],
        ["-o", "caller", "caller.c", "-L.", "-lprobed", "-Wl,-rpath,$ORIGIN"],
    ):
        subprocess.run([compiler, "-O2", *arguments], check=True, timeout=120, cwd=made)
    return made


@pytest.fixture(scope="module")
def library(folder):
    loaded = ctypes.CDLL(str(folder / "libprobed.so"))
    loaded.fire.argtypes, loaded.fire.restype = (ctypes.c_int, ctypes.c_long), ctypes.c_long
    return loaded


def another_process(folder, times):
    subprocess.run([folder / "caller", str(times)], check=True, timeout=60)


def numbers(times):
    return sum(range(times))


@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.hook(k)) for k in ("uprobe", "uretprobe")])
def test_a_uprobe_sees_every_call_while_it_is_attached(load, folder, library, kind):
    target = f"{folder}/libprobed.so:triple"
    session = load(CELLS[kind], vars=me(), targets={"on": target})
    check_life(session, kind, target, lambda times: [library.triple(i) for i in range(times)])
    if kind == "uprobe":
        assert session.vars["total"] == numbers(CALLS)
    else:
        assert session.vars["total"] == 3 * numbers(CALLS)


@pytest.mark.hook("uprobe")
def test_a_uprobe_at_a_place_in_the_file_is_at_the_function_there(load, folder, library):
    offset = offset_of(folder / "libprobed.so", "twice")
    session = load(CELLS["uprobe"], vars=me(), targets={"on": f"{folder}/libprobed.so:{offset:#x}"})
    for i in range(CALLS):
        library.twice(i)
        library.triple(i)
    assert (session.vars["seen"], session.vars["total"]) == (CALLS, numbers(CALLS))


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        pytest.param("uprobe", "triple", marks=pytest.mark.hook("uprobe")),
        pytest.param("uretprobe", "triple", marks=pytest.mark.hook("uretprobe")),
        pytest.param("uprobe.multi", "tr*", marks=pytest.mark.hook("uprobe.multi")),
        pytest.param("usdt", "lab:fired", marks=pytest.mark.hook("usdt")),
    ],
)
def test_with_a_pid_only_that_process_counts(load, folder, library, kind, place):
    session = load(CELLS[kind], attach=False)
    for number, pid in enumerate((os.getpid(), 0), start=1):  # 0 is this process
        session.attach(target=f"{folder}/libprobed.so:{place}", pid=pid)
        another_process(folder, LATER)
        for i in range(CALLS):
            library.triple(i)
            library.fire(i, i)
        assert session.vars["seen"] == number * CALLS
        (target,) = session.links["target"]
        assert f"pid={pid}" in target
        session.detach()


@pytest.mark.hook("uprobe")
def test_without_a_pid_every_process_counts(load, folder, library):
    session = load(CELLS["uprobe"], targets={"on": f"{folder}/libprobed.so:triple"})
    another_process(folder, LATER)
    for i in range(CALLS):
        library.triple(i)
    assert session.vars["seen"] == CALLS + LATER


@pytest.mark.parametrize("section", MULTI)
def test_a_pattern_probes_every_function_once_whatever_its_names(load, folder, library, section):
    # triple() is thrice() by another name.
    target = f"{folder}/libprobed.so:t*"
    session = load(CELLS[section], vars=me(), targets={"on": target})

    def cause(times):
        for i in range(times):
            library.triple(i)

    check_life(session, "uprobe.multi", f"{target} (2 functions)", cause)
    session.attach()
    for i in range(LATER):
        library.twice(i)
    assert session.vars["seen"] == CALLS + LATER
    if section == "uprobe.multi":
        assert session.vars["total"] == numbers(CALLS) + numbers(LATER)
    else:
        assert session.vars["total"] == 3 * numbers(CALLS) + 2 * numbers(LATER)


@pytest.mark.hook("uprobe.session")
@pytest.mark.parametrize(("skip_return", "times"), [(0, 2), (1, 1)])
def test_a_session_uprobe_runs_at_the_return_as_it_says_at_entry(load, folder, library, skip_return, times):
    variables = {**me(), "skip_return": skip_return}
    session = load(CELLS["uprobe.session"], vars=variables, targets={"on": f"{folder}/libprobed.so:twice"})
    for i in range(CALLS):
        library.twice(i)
    session.detach()
    library.twice(1)
    assert session.vars["seen"] == times * CALLS


@pytest.mark.hook("usdt")
def test_a_usdt_probe_sees_every_hit_and_its_arguments(load, folder, library):
    target = f"{folder}/libprobed.so:lab:fired,pid={os.getpid()}"
    session = load(CELLS["usdt"], vars=me(), targets={"on": target})
    assert session.links[["hook", "target"]].values.tolist() == [["usdt", target]]
    assert [link.fd for link in session._links] == [None]  # it is many links in one
    for i in range(CALLS):
        library.fire(-i, i << 33)
    session.detach()
    assert events_held() == []
    library.fire(1, 1)
    assert session.vars["seen"] == CALLS
    assert session.vars["small"] == -numbers(CALLS)
    assert session.vars["large"] == numbers(CALLS) << 33


@pytest.mark.hook("usdt")
def test_a_usdt_probe_of_all_processes_needs_cookies(load, folder, library):
    # They came with Linux 5.15 (BPF_FUNC_get_attach_cookie); before, libbpf has to know the process.
    session = load(CELLS["usdt"], attach=False)
    cookies = b"BPF_FUNC_get_attach_cookie" in Path("/sys/kernel/btf/vmlinux").read_bytes()
    target = f"{folder}/libprobed.so:lab:fired"
    if not cookies:
        with pytest.raises(AttachError, match="only for one process") as caught:
            session.attach(target=target)
        assert "pid=" in caught.value.hint
        return
    session.attach(target=target)
    another_process(folder, LATER)
    for i in range(CALLS):
        library.fire(i, i)
    assert session.vars["seen"] == CALLS + LATER


def bad(kind, target, error, what, hint):
    return pytest.param(kind, target, error, what, hint, marks=pytest.mark.hook(kind), id=f"{kind} {target}")


@pytest.mark.parametrize(
    ("kind", "target", "error", "what", "hint"),
    [
        bad("uprobe", "libprobed.so:tripel", HookNotFoundError, "tripel", "triple"),
        bad("uprobe", "libprobde.so:triple", HookNotFoundError, "no binary", "libprobed.so"),
        bad("uprobe", "probed.c:triple", HookNotFoundError, "not an ELF", ""),
        bad("uprobe", f"libprobed.so:triple,pid={NOBODY}", AttachError, f"no process {NOBODY}", "pid="),
        bad("uprobe", "libprobed.so:triple,pdi=1", AttachError, "no option 'pdi'", "pid"),
        bad("uretprobe", "libprobed.so:triple+4", AttachError, "no offset", "libprobed.so:triple"),
        bad("uprobe.multi", "libprobed.so:trapl*", HookNotFoundError, "matches 'trapl[*]'", "triple"),
        bad("uprobe.multi", "libprobde.so:t*", HookNotFoundError, "no binary", "libprobed.so"),
        bad("uprobe.multi", "probed.c:t*", HookNotFoundError, "not an ELF", ""),
        bad("uprobe.multi", "libprobed.so:t*,pid=4294967297", AttachError, "no process 4294967297", "pid="),
        bad("uprobe.multi", "libprobed.so:0x10000000000000001", AttachError, "is not a number", "0x1234"),
        bad("uprobe.multi", f"libprobed.so:t*,pid={NOBODY}", AttachError, f"no process {NOBODY}", "pid="),
        bad("usdt", "libprobed.so:lab:fried", HookNotFoundError, "lab:fried", "lab:fired"),
        bad("usdt", "libprobde.so:lab:fired", HookNotFoundError, "no binary", "libprobed.so"),
        bad("usdt", "probed.c:lab:fired", HookNotFoundError, "not an ELF", ""),
        bad("usdt", "libprobed.so:lab", AttachError, "does not name a USDT probe", "provider"),
        bad("usdt", f"libprobed.so:lab:fired,pid={NOBODY}", AttachError, f"no process {NOBODY}", "pid="),
    ],
)
def test_a_wrong_target_is_named_with_what_is_there(load, folder, kind, target, error, what, hint):
    session = load(CELLS[kind], attach=False)
    with pytest.raises(error, match=what) as caught:
        session.attach(target=f"{folder}/{target}")
    assert hint in (caught.value.hint or "")
    assert events_held() == []


def offset_of(path, function):
    """Where a function is in its file, by what readelf(1) says of symbols and sections."""
    command = ["readelf", "--symbols", "--sections", "--wide", path]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    symbol = rf": ([0-9a-f]+) .* FUNC +GLOBAL +DEFAULT +(\d+) {function}$"
    address, section = re.search(symbol, text, re.MULTILINE).groups()
    start, offset = re.search(rf"\[ *{section}\] \S+ +PROGBITS +([0-9a-f]+) ([0-9a-f]+)", text).groups()
    return int(address, 16) - int(start, 16) + int(offset, 16)
