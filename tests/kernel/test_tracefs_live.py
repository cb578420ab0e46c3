"""Tracepoints and hooks of the running kernel, against what other programs and the kernel itself say of them."""

from __future__ import annotations

import ctypes as ct
import ctypes.util
import errno
import functools
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpflab.errors import HookNotFoundError, KernelSupportError, PrivilegeError
from ebpflab.inspectors import tracefs
from ebpflab.inspectors.binaries import function_names, resolve_binary
from ebpflab.inspectors.search import explain_missing, hooks

BTF = Path("/sys/kernel/btf/vmlinux")
BPF_PROG_TYPE_RAW_TRACEPOINT = 17  # include/uapi/linux/bpf.h


@pytest.fixture
def root() -> Path:
    try:
        return tracefs.tracefs_root()
    except (KernelSupportError, PrivilegeError) as error:
        pytest.skip(str(error))


@pytest.fixture
def nobody() -> Iterator[None]:
    """Take root's capabilities away for the length of a test, as changing the effective user does."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    hooks("sched_switch")  # nobody may be unable to read the modules that this imports
    os.seteuid(65534)
    yield
    os.seteuid(0)


def tool(name: str, package: str) -> str:
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed: apt install {package}")
    return path


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def compile_bpf(source: str, folder: Path) -> None:
    path = folder / "source.c"
    path.write_text(source)
    command = [tool("clang", "clang"), "-target", "bpf", "-std=gnu11", "-Wall", "-fsyntax-only", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[:4000]
    assert done.stderr == ""


def assertions(text: str, tag: str) -> list[str]:
    """Return C that does not compile unless every field is at the offset, and of the size, that its line says."""
    lines = []
    for declaration, offset, size in re.findall(r"field:(.*);\toffset:(.*);\tsize:(.*);\tsigned:", text):
        name = declaration.split()[-1].split("[")[0].lstrip("*")
        if declaration.startswith(("__data_loc", "__rel_loc")):
            name = f"{declaration.split()[0]}_{name}"
        member = f"((struct {tag} *)0)->{name}"
        lines.append(f'_Static_assert(__builtin_offsetof(struct {tag}, {name}) == {offset}, "{tag}");')
        lines.append(f'_Static_assert(sizeof({member}) == {size}, "{tag}.{name}");')
    return lines


@functools.lru_cache(maxsize=1)
def btf_types() -> tuple[tuple[str, str], ...]:
    """Return kind and name of every type in the kernel's BTF, as bpftool reads them."""
    if not BTF.exists():
        pytest.skip("this kernel carries no BTF")
    lines = output(tool("bpftool", "bpftool"), "btf", "dump", "file", str(BTF), "format", "raw").splitlines()
    words = (line.split(None, 3) for line in lines if line.startswith("["))
    return tuple((kind, name.strip("'")) for _, kind, name, *_ in words)


def test_events_are_the_folders_that_have_an_id(root: Path) -> None:
    # Only what perf, and so a BPF program, can open has an id; ftrace's own records have a folder all the same.
    folders = {f"{path.parent.parent.name}:{path.parent.name}" for path in root.glob("events/*/*/id")}
    assert set(tracefs.events()) == {name for name in folders if not name.startswith("ftrace:")}
    assert list(tracefs.events()) == sorted(tracefs.events())


def test_clang_puts_every_field_of_every_tracepoint_where_the_kernel_says(root: Path, tmp_path: Path) -> None:
    parts = []
    for name in tracefs.events():
        read = tracefs.format(name)
        text = (root / "events" / name.replace(":", "/") / "format").read_text()
        lines = assertions(text, read.tag)
        assert len(lines) == 2 * len(read.members)
        parts += [read.c(), *lines]
    compile_bpf("\n".join(parts), tmp_path)


def test_every_struct_is_found_again_by_its_tag(root: Path) -> None:
    names = random.Random(23).sample(tracefs.events(), 23)
    for name in names:
        read = tracefs.format(name)
        assert tracefs.struct_for(read.tag) == read


@pytest.mark.usefixtures("root")
def test_structs_agree_with_those_that_the_kernel_was_built_with(tmp_path: Path) -> None:
    events = {
        "sched:sched_switch": ["prev_comm", "prev_pid", "prev_state", "next_pid", "next_prio"],
        "sched:sched_process_exec": ["__data_loc_filename", "pid", "old_pid"],
        "signal:signal_generate": ["sig", "errno", "code", "comm", "group"],
        "irq:irq_handler_entry": ["irq", "__data_loc_name"],
    }
    built_with = {name for kind, name in btf_types() if kind == "STRUCT"}
    header = output(tool("bpftool", "bpftool"), "btf", "dump", "file", str(BTF), "format", "c")
    (tmp_path / "vmlinux.h").write_text(header)
    source = ['#include "vmlinux.h"']
    for name, fields in events.items():
        read = tracefs.format(name)
        theirs = f"trace_event_raw_{read.name}"
        assert theirs in built_with
        source.append(read.c())
        for field in fields:
            for ours in ("__builtin_offsetof({}, {})", "sizeof((({} *)0)->{})"):
                left, right = ours.format(f"struct {read.tag}", field), ours.format(f"struct {theirs}", field)
                source.append(f'_Static_assert({left} == {right}, "{name} {field}");')
    compile_bpf("\n".join(source), tmp_path)


def test_an_unknown_tracepoint_offers_the_nearest_real_one(root: Path) -> None:
    with pytest.raises(HookNotFoundError) as caught:
        tracefs.format("sched:sched_swich")
    assert caught.value.nearest[0] == "sched:sched_switch"
    assert (root / "events/sched/sched_switch").is_dir()


def test_tracepoints_with_btf_are_those_that_bpftool_sees() -> None:
    typedefs = {name for kind, name in btf_types() if kind == "TYPEDEF"}
    expected = {name.removeprefix("btf_trace_") for name in typedefs if name.startswith("btf_trace_")}
    assert expected
    # Modules add to what the kernel itself has.
    assert expected <= set(hooks(kind="tp_btf")["name"])
    if len(list(BTF.parent.iterdir())) == 1:
        assert expected == set(hooks(kind="tp_btf")["name"])


def test_iterators_are_the_functions_that_have_a_context_struct() -> None:
    functions = {name for kind, name in btf_types() if kind == "FUNC"}
    structs = {name for kind, name in btf_types() if kind == "STRUCT"}
    expected = {
        name.removeprefix("bpf_iter__")
        for name in structs
        if name.startswith("bpf_iter__") and name.replace("bpf_iter__", "bpf_iter_", 1) in functions
    }
    assert "task" in expected
    assert expected <= set(hooks(kind="iter")["name"])


def test_the_kernel_opens_the_raw_tracepoints_that_are_listed_and_no_others() -> None:
    library = ctypes.util.find_library("bpf")
    if library is None:
        pytest.skip("libbpf is not installed: apt install libbpf1")
    bpf = ct.CDLL(library, use_errno=True)
    # r0 = 0; exit
    program = bytes.fromhex("b700000000000000 9500000000000000")
    loaded = bpf.bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, b"nothing", b"GPL", program, ct.c_size_t(2), None)
    if loaded < 0:
        pytest.skip(f"the kernel does not load a program: {os.strerror(ct.get_errno())}")

    def opened(name: str) -> int:
        link = bpf.bpf_raw_tracepoint_open(name.encode(), loaded)
        number = ct.get_errno() if link < 0 else 0
        if link >= 0:
            os.close(link)
        return number

    try:
        names = random.Random(23).sample(hooks(kind="raw_tracepoint")["name"].tolist(), 23)
        assert {name: opened(name) for name in names} == dict.fromkeys(names, 0)
        for missing in ("sched_swich", "sys_enter_openat"):
            assert opened(missing) == errno.ENOENT
            assert explain_missing("raw_tracepoint", missing) is not None
    finally:
        os.close(loaded)


@pytest.mark.usefixtures("root")
def test_a_warm_search_takes_less_than_100_ms() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        assert len(hooks("sched_switch")) >= 1
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.1


@pytest.mark.usefixtures("root", "nobody")
def test_without_capabilities_tracefs_is_a_matter_of_privilege(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PrivilegeError) as caught:
        tracefs.tracefs_root()
    assert caught.value.cause == "CAP_DAC_READ_SEARCH"
    [row] = hooks("openat", kind="tracepoint").to_dict("records")
    assert (row["name"], row["available"]) == ("*", False)
    assert "CAP_DAC_READ_SEARCH" in row["why"]
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("nobody")
def test_without_capabilities_names_are_found_and_their_need_is_said() -> None:
    if not BTF.exists():
        pytest.skip("this kernel carries no BTF")
    frame = hooks("sched_switch", kind="raw_tracepoint")
    assert frame["name"].tolist() == ["sched_switch"]
    assert frame["why"].tolist() == ["needs CAP_BPF and CAP_PERFMON"]


def test_functions_of_the_c_library_are_those_that_readelf_sees() -> None:
    path = resolve_binary("libc.so.6")
    if path is None:
        pytest.skip("no libc.so.6 on this machine")
    rows = [line.split() for line in output(tool("readelf", "binutils"), "-Ws", str(path)).splitlines()]
    # Num: Value Size Type Bind Vis Ndx Name
    functions = {row[7].split("@")[0] for row in rows if len(row) >= 8 and row[3] == "FUNC" and row[6] != "UND"}
    assert "malloc" in functions
    assert function_names(path) == functions
    assert explain_missing("uprobe", "libc.so.6:malloc") is None
    error = explain_missing("uprobe", "libc.so.6:maloc")
    assert error is not None
    assert error.nearest[0] == "malloc"
