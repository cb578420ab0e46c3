"""Searching hooks and explaining missing targets: on captured formats, made-up BTF and small binaries."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ebpflab.errors import CellError, DecodeError, HookNotFoundError, KernelSupportError
from ebpflab.inspectors import kernel, search, tracefs
from ebpflab.inspectors.search import explain_missing, function_names, hooks, resolve_binary

TREE = Path(__file__).parent / "data/formats"


@pytest.fixture
def captured_tree(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tracefs, "tracefs_path", lambda: TREE)
    return TREE


# --- names -----------------------------------------------------------------------------------------------


@pytest.fixture
def small_machine(captured_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a machine with the captured tracepoints, and with BTF of a kernel and of one module."""
    write_btf(tmp_path / "vmlinux", "int", "btf_trace_sched_switch", "btf_trace_sys_enter", "not_btf_trace_x")
    write_btf(
        tmp_path / "zmodule",
        *("btf_trace_module_event", "bpf_iter_task", "bpf_iter__task", "bpf_iter_num_new", "bpf_iter__odd"),
    )
    monkeypatch.setattr(search, "_BTF_DIRECTORY", tmp_path)
    return tmp_path


def write_btf(path: Path, *strings: str) -> None:
    # include/uapi/linux/btf.h: the header, then types (here a few bytes that are none), then strings.
    data = b"\0" + b"".join(string.encode() + b"\0" for string in strings)
    path.write_bytes(struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, 8, 8, len(data)) + b"\xff" * 8 + data)


@pytest.mark.usefixtures("small_machine")
def test_hooks_finds_a_part_of_a_name_in_every_kind() -> None:
    frame = hooks("Sched_Switch")
    assert list(frame.columns) == ["kind", "name", "section", "available", "why"]
    assert frame["kind"].tolist() == ["tracepoint", "raw_tracepoint", "tp_btf"]
    assert frame["name"].tolist() == ["sched:sched_switch", "sched_switch", "sched_switch"]
    assert frame["section"].tolist() == [
        "tp/sched/sched_switch",
        "raw_tp/sched_switch",
        "tp_btf/sched_switch",
    ]
    assert frame["available"].dtype == bool


@pytest.mark.usefixtures("small_machine")
def test_hooks_knows_modules_and_iterators_and_nothing_that_only_looks_like_one() -> None:
    assert hooks(kind="tp_btf")["name"].tolist() == ["module_event", "sched_switch", "sys_enter"]
    assert hooks(kind="iter")["section"].tolist() == ["iter/task"]


@pytest.mark.usefixtures("small_machine")
@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("sys_*_openat", ["syscalls:sys_enter_openat", "syscalls:sys_exit_openat"]),
        ("sched:sched_switc?", ["sched:sched_switch"]),
        ("SYSCALLS:*_openat", ["syscalls:sys_enter_openat", "syscalls:sys_exit_openat"]),
        (
            "/^sched:.*(fork|exec)$/",
            ["sched:sched_prepare_exec", "sched:sched_process_exec", "sched:sched_process_fork"],
        ),
        ("syscalls/sys_enter_openat2", ["syscalls:sys_enter_openat2"]),
        ("sched/sched_swit*", ["sched:sched_switch"]),
        ("no such thing", []),
    ],
)
def test_a_pattern_is_a_part_a_glob_or_a_regular_expression(pattern: str, names: list[str]) -> None:
    frame = hooks(pattern, kind="tracepoint")
    assert frame["name"].tolist() == names
    assert frame["available"].dtype == bool


def test_a_wrong_kind_or_expression_is_refused() -> None:
    with pytest.raises(CellError, match="tracepoint, raw_tracepoint, tp_btf, iter"):
        hooks("x", kind="kprobes")
    with pytest.raises(CellError, match="not a regular expression"):
        hooks("/(/")


def test_a_kernel_without_btf_says_so_and_raw_tracepoints_stay_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_BTF_DIRECTORY", tmp_path / "none")
    frame = hooks("sched_switch", kind="tp_btf")
    assert frame["name"].tolist() == ["*"]
    assert "CONFIG_DEBUG_INFO_BTF" in frame["why"][0]
    assert explain_missing("raw_tracepoint", "sched_swich") is None
    with pytest.raises(KernelSupportError, match="no BTF"):
        explain_missing("tp_btf", "sched_switch")


def test_a_file_that_is_not_btf_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_BTF_DIRECTORY", tmp_path)
    for data in (b"", b"\x9f\xeb", b"\0" * 64):
        (tmp_path / "vmlinux").write_bytes(data)
        with pytest.raises(DecodeError, match="is not BTF"):
            hooks(kind="iter")


@pytest.mark.usefixtures("small_machine")
def test_what_a_process_may_not_do_is_said_in_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def why(*capabilities: str) -> str:
        monkeypatch.setattr(search, "facts", lambda: kernel.Facts(capabilities=frozenset(capabilities)))
        [row] = hooks("sched_switch", kind="tp_btf").to_dict("records")
        assert row["available"] == (row["why"] == "")
        return str(row["why"])

    assert why() == "needs CAP_BPF and CAP_PERFMON"
    assert why("CAP_BPF") == "needs CAP_PERFMON"
    assert why("CAP_BPF", "CAP_PERFMON") == ""
    assert why("CAP_SYS_ADMIN") == ""


@pytest.mark.usefixtures("small_machine")
@pytest.mark.parametrize(
    ("kind", "target", "nearest"),
    [
        ("tracepoint", "syscalls/sys_enter_opnat", "syscalls/sys_enter_openat"),
        ("tracepoint", "sched/sys_enter_openat", "syscalls/sys_enter_openat"),
        ("raw_tracepoint", "sched_swich", "sched_switch"),
        ("tp_btf", "shed_switch", "sched_switch"),
        ("iter", "tasks", "task"),
    ],
)
def test_a_missing_target_offers_the_nearest_ones(kind: str, target: str, nearest: str) -> None:
    error = explain_missing(kind, target)
    assert error is not None
    assert error.nearest[0] == nearest
    assert f"did you mean {nearest}" in str(error)
    assert explain_missing(kind, nearest) is None


@pytest.mark.usefixtures("small_machine")
def test_a_system_call_is_no_raw_tracepoint_and_the_hint_says_what_to_use() -> None:
    assert "raw_tp/sys_enter" in str(explain_missing("raw_tracepoint", "sys_enter_openat"))
    assert explain_missing("raw_tracepoint", "sys_enter") is None


def test_nothing_is_said_about_kinds_without_names() -> None:
    assert explain_missing("tracepoint", "") is None
    assert explain_missing("syscall", "x") is None
    assert explain_missing("kprobe", "no_such_function") is None


# --- functions in binaries -------------------------------------------------------------------------------

PROGRAM = """
__asm__(".type undefined_elsewhere,@function");
__attribute__((weak)) int undefined_elsewhere(void);
static int hidden_helper(int x) { return x + 1; }
int data_not_code = 7;
int visible_entry(int x) { return undefined_elsewhere ? hidden_helper(x) : data_not_code; }
"""


@pytest.fixture(params=["x86_64", "i386", "s390x", "powerpc"])
def binary(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Give an object file: 64 and 32 bits, either byte order."""
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("clang is not installed: apt install clang")
    path = tmp_path / "app.so"
    command = [clang, "-target", f"{request.param}-linux-gnu", "-O0", "-c", "-x", "c", "-", "-o", str(path)]
    done = subprocess.run(command, input=PROGRAM, text=True, capture_output=True, timeout=60)
    if "unable to create target" in done.stderr:
        pytest.skip(f"this clang has no back end for {request.param}")
    assert done.returncode == 0, done.stderr
    return path


def test_functions_are_those_that_the_binary_defines(binary: Path) -> None:
    assert function_names(binary) == {"visible_entry", "hidden_helper"}


def test_a_missing_function_offers_the_nearest_ones(binary: Path) -> None:
    assert explain_missing("uprobe", f"{binary}:visible_entry") is None
    assert explain_missing("uprobe", f"{binary}:visible_entry+4") is None
    assert explain_missing("uprobe", f"{binary}:0x40") is None
    error = explain_missing("uretprobe", f"{binary}:visible_enty")
    assert error is not None
    assert error.nearest == ("visible_entry",)
    nothing_like = explain_missing("uprobe", f"{binary}:zzzz")
    assert nothing_like is not None
    assert "2 functions" in str(nothing_like.hint)


def test_a_library_is_found_by_its_name_alone(binary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_binary("app.so") is None
    monkeypatch.setenv("LD_LIBRARY_PATH", f":/no/such/folder:{binary.parent}")
    assert resolve_binary("app.so") == binary
    error = explain_missing("uprobe", "apq.so:visible_entry")
    assert error is not None
    assert error.nearest[0] == "app.so"


def test_a_program_is_found_in_path_if_it_can_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "my-own-tool"
    program.write_text("#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert resolve_binary("my-own-tool") is None
    program.chmod(0o755)
    assert resolve_binary("my-own-tool") == program
    error = explain_missing("uprobe", "my-own-tool:main")
    assert error is not None
    assert "not an ELF binary" in str(error)
    assert "interpreter" in str(error.hint)


def test_a_missing_path_offers_what_is_beside_it(tmp_path: Path) -> None:
    (tmp_path / "server").touch()
    (tmp_path / "serverdir").mkdir()
    error = explain_missing("uprobe", f"{tmp_path}/serve:main")
    assert error is not None
    assert error.nearest == (f"{tmp_path}/server",)
    nowhere = explain_missing("uprobe", "/no/such/folder/app:main")
    assert nowhere is not None
    assert nowhere.nearest == ()


@given(st.binary(max_size=20), st.integers(0, 1200), st.integers(0, 100))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_damaged_binary_is_read_or_refused(binary: Path, put: bytes, at: int, cut: int) -> None:
    whole = binary.read_bytes()
    damaged = binary.with_suffix(".damaged")
    damaged.write_bytes(whole[:at] + put + whole[at + cut :])
    try:
        assert isinstance(function_names(damaged), frozenset)
    except HookNotFoundError as error:
        assert "not an ELF binary" in error.what  # noqa: PT017
