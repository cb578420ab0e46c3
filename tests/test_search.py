"""Searching hooks: on captured tracepoints, a made-up kernel and small binaries."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import small_kernel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ebpflab.errors import CellError, DecodeError, HookNotFoundError, KernelSupportError
from ebpflab.inspectors import kernel_btf
from ebpflab.inspectors.binaries import function_names, resolve_binary
from ebpflab.inspectors.search import explain_missing, hooks, suggest_target
from ebpflab.program_types import BY_KIND, PROGRAM_TYPES, parse_section

# --- names -----------------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> small_kernel.Machine:
    return small_kernel.make(tmp_path, monkeypatch)


@pytest.mark.usefixtures("machine")
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


@pytest.mark.usefixtures("machine")
def test_hooks_knows_modules_and_iterators_and_nothing_that_only_looks_like_one() -> None:
    assert hooks(kind="tp_btf")["name"].tolist() == ["module_event", "sched_switch", "sys_enter"]
    assert hooks(kind="iter")["section"].tolist() == ["iter/task"]


# What there is on the small machine, by kind: names and the section of the first.
THERE = {
    "kprobe": (
        [
            *("__x64_sys_openat", "bpf_lsm_file_open", "do_blacklisted", "finish_task_switch.isra.0", "from_module"),
            *("may_return_error", "nf_conntrack_in", "security_file_open", "vfs_read", "vfs_readv"),
        ],
        "kprobe/__x64_sys_openat",
    ),
    "ksyscall": (["openat"], "ksyscall/openat"),
    "fentry": (
        ["bpf_lsm_file_open", "from_module", "may_return_error", "security_file_open", "vfs_read", "vfs_readv"],
        "fentry/bpf_lsm_file_open",
    ),
    "fmod_ret": (["may_return_error", "security_file_open"], "fmod_ret/may_return_error"),
    "lsm": (["file_open"], "lsm/file_open"),
    "struct_ops": (["tcp_congestion_ops"], "struct_ops"),
    "xdp": (["eth0", "lo", "veth-blue"], "xdp"),
    "tc": (["eth0", "lo", "veth-blue"], "tc"),
    "socket_filter": (["eth0", "lo", "veth-blue"], "socket"),
    "cgroup_device": (["/", "/user.slice", "/user.slice/app"], "cgroup/dev"),
    "sockops": (["/", "/user.slice", "/user.slice/app"], "sockops"),
    "sk_lookup": (["blue", "self"], "sk_lookup"),
    "lirc_mode2": (["DEV/lirc0"], "lirc_mode2"),
}


@pytest.mark.parametrize("kind", THERE)
def test_hooks_lists_the_names_of_a_kind(machine: small_kernel.Machine, kind: str) -> None:
    (machine.cgroup2 / "user.slice/app").mkdir(parents=True)
    (machine.root / "netns/blue").touch()
    (machine.root / "dev/lirc0").touch()
    names, section = THERE[kind]
    frame = hooks(kind=kind)
    assert frame["name"].tolist() == [name.replace("DEV", f"{machine.root}/dev") for name in names]
    assert frame["section"][0] == section
    assert set(frame["kind"]) == {kind}


WITHOUT_NAMES = {
    "syscall",
    "freplace",
    "sk_skb",
    "sk_msg",
    "sk_reuseport",
    "lwt_in",
    "lwt_out",
    "lwt_xmit",
    "lwt_seg6local",
}


@pytest.mark.parametrize("kind", sorted(BY_KIND.keys() - WITHOUT_NAMES))
def test_a_section_that_hooks_shows_is_one_of_its_kind(machine: small_kernel.Machine, kind: str) -> None:
    (machine.root / "dev/lirc0").touch()
    pattern = f"{sys.executable}:" if BY_KIND[kind].target.startswith("PATH") else ""
    frame = hooks(pattern, kind=kind)
    assert set(frame["kind"]) <= {kind}
    assert {parse_section(section).kind for section in frame["section"]} <= {kind}
    assert "*" not in frame["name"].tolist()


@pytest.mark.parametrize("kind", sorted(WITHOUT_NAMES))
def test_a_kind_whose_names_are_not_the_machines_cannot_be_searched(kind: str) -> None:
    with pytest.raises(CellError, match="cannot be searched by kind"):
        hooks(kind=kind)


@pytest.mark.usefixtures("machine")
def test_without_a_kind_one_kind_stands_for_those_that_share_its_names() -> None:
    found = set(hooks()["kind"])
    assert {"kprobe", "fentry", "xdp", "tc", "cgroup_skb", "netfilter", "perf_event", "lsm"} <= found
    assert not found & {"kretprobe", "kprobe.multi", "fexit", "cgroup_sock", "sockops", "socket_filter"}


@pytest.mark.usefixtures("machine")
def test_kinds_come_in_the_order_of_the_table() -> None:
    found = list(dict.fromkeys(hooks()["kind"]))
    assert found == [kind for kind in BY_KIND if kind in found]


@pytest.mark.usefixtures("machine")
def test_hooks_of_netfilter_and_perf_events_are_those_of_their_manuals() -> None:
    families = [f"{family}:{hook}" for family in ("ipv4", "ipv6") for hook in ("forward", "local_in")]
    assert hooks("/:(forward|local_in)$/", kind="netfilter")["name"].tolist() == families
    assert "cpu-clock" in set(hooks(kind="perf_event")["name"])


def test_hardware_events_are_there_if_something_counts_cycles(machine: small_kernel.Machine) -> None:
    assert hooks("cpu-cycles").empty
    error = explain_missing("perf_event", "cpu-cycles")
    assert error is not None
    assert "no hardware counter" in error.what
    assert error.nearest == ("cpu-clock",)
    machine.write(machine.event_sources / "armv8_pmuv3_0/events/cpu_cycles", "event=0x11")
    assert hooks("cpu-cycles")["kind"].tolist() == ["perf_event"]
    assert explain_missing("perf_event", "cpu-cycles") is None


@pytest.mark.usefixtures("machine")
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
    with pytest.raises(CellError, match=r"did you mean kprobe.*tracepoint, raw_tracepoint, tp_btf"):
        hooks("x", kind="kprobes")
    with pytest.raises(CellError, match="not a regular expression"):
        hooks("/(/")


def test_a_kernel_without_btf_says_so_and_raw_tracepoints_stay_possible(machine: small_kernel.Machine) -> None:
    (machine.btf / "vmlinux").unlink()
    frame = hooks("sched_switch", kind="tp_btf")
    assert frame["name"].tolist() == ["*"]
    assert "CONFIG_DEBUG_INFO_BTF" in frame["why"][0]
    assert explain_missing("raw_tracepoint", "sched_swich") is None
    with pytest.raises(KernelSupportError, match="no BTF"):
        explain_missing("tp_btf", "sched_switch")


def test_a_file_that_is_not_btf_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_btf, "DIRECTORY", tmp_path)
    for data in (b"", b"\x9f\xeb", b"\0" * 64):
        (tmp_path / "vmlinux").write_bytes(data)
        with pytest.raises(DecodeError, match="is not BTF"):
            hooks(kind="iter")


def test_what_a_process_may_not_do_is_said_in_why(machine: small_kernel.Machine) -> None:
    def why(*capabilities: str) -> str:
        machine.facts(capabilities=frozenset(capabilities))
        [row] = hooks("sched_switch", kind="tp_btf").to_dict("records")
        assert row["available"] == (row["why"] == "")
        return str(row["why"])

    assert why() == "needs CAP_BPF and CAP_PERFMON"
    assert why("CAP_BPF") == "needs CAP_PERFMON"
    assert why("CAP_BPF", "CAP_PERFMON") == ""
    assert why("CAP_SYS_ADMIN") == ""


def test_what_the_kernel_lacks_is_said_in_why_and_the_names_are_shown_all_the_same(
    machine: small_kernel.Machine,
) -> None:
    (machine.event_sources / "kprobe").rmdir()
    frame = hooks("vfs_read*")
    assert frame["kind"].tolist() == ["kprobe", "kprobe", "fentry", "fentry"]
    assert frame["available"].tolist() == [False, False, True, True]
    assert frame["why"][0] == "this kernel was built without kprobes (CONFIG_KPROBES)"


def test_a_machine_without_cgroup2_says_so_in_one_row(
    machine: small_kernel.Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ebpflab.inspectors.cgroups.mount_points", lambda _: ())
    [row] = hooks(kind="cgroup_sock").to_dict("records")
    assert (row["name"], row["available"]) == ("*", False)
    assert "mount -t cgroup2" in row["why"]


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("kind", "target", "nearest"),
    [
        ("tracepoint", "syscalls/sys_enter_opnat", "syscalls/sys_enter_openat"),
        ("tracepoint", "sched/sys_enter_openat", "syscalls/sys_enter_openat"),
        ("raw_tracepoint", "sched_swich", "sched_switch"),
        ("tp_btf", "shed_switch", "sched_switch"),
        ("iter", "tasks", "task"),
        ("kprobe", "vfs_reed", "vfs_read"),
        ("kretprobe", "vfs_raed", "vfs_read"),
        ("kprobe.multi", "vfs_reed", "vfs_read"),
        ("ksyscall", "opennat", "openat"),
        ("fentry", "vfs_raed", "vfs_read"),
        ("fexit", "from_modul", "from_module"),
        ("fsession", "vfs_reed", "vfs_read"),
        ("fmod_ret", "security_file_opn", "security_file_open"),
        ("lsm", "security_file_open", "file_open"),
        ("xdp", "eht0", "eth0"),
        ("tc", "veth_blue", "veth-blue"),
        ("socket_filter", "eth1", "eth0"),
    ],
)
def test_a_missing_target_offers_the_nearest_ones(kind: str, target: str, nearest: str) -> None:
    error = explain_missing(kind, target)
    assert error is not None
    assert error.nearest[0] == nearest
    assert f"did you mean {nearest}" in str(error)
    assert explain_missing(kind, nearest) is None


@pytest.mark.usefixtures("machine")
def test_a_system_call_is_no_raw_tracepoint_and_the_hint_says_what_to_use() -> None:
    assert "raw_tp/sys_enter" in str(explain_missing("raw_tracepoint", "sys_enter_openat"))
    assert explain_missing("raw_tracepoint", "sys_enter") is None


@pytest.mark.parametrize("kind", ["syscall", "freplace", "sk_skb", "sk_msg", "struct_ops"])
def test_nothing_is_said_about_kinds_whose_names_are_not_the_machines(kind: str) -> None:
    assert explain_missing(kind, "x") is None


@pytest.mark.parametrize("row", PROGRAM_TYPES, ids=lambda row: row.kind)
def test_nothing_is_said_about_no_target(row: object) -> None:
    assert explain_missing(row.kind, "") is None  # type: ignore[attr-defined]


@pytest.mark.usefixtures("machine")
def test_an_interface_of_another_namespace_is_left_to_whoever_enters_it() -> None:
    assert explain_missing("xdp", "eth77", netns="self") is None
    error = explain_missing("xdp", "eth77", netns="blue")
    assert error is not None
    assert "network namespace" in error.what


# --- what to write --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("xdp", ["--attach h=INTERFACE, as in --attach h=lo", "lo, eth0, veth-blue", "--no-attach"]),
        ("netfilter", ["--attach h=ipv4:local_in", "ipv6:pre_routing"]),
        ("perf_event", ["--attach h=cpu-clock", "page-faults"]),
        ("cgroup/dev", ["--attach h=CGROUP, as in --attach h=/"]),
        ("kprobe", ['SEC("kprobe/FUNCTION[+OFFSET]")', "--attach h=vfs_read"]),
        ("fentry", ['SEC("fentry/FUNCTION")', "--attach h=vfs_read"]),
    ],
)
def test_a_section_without_a_target_is_told_what_to_write(section: str, words: list[str]) -> None:
    said = suggest_target(parse_section(section), "h")
    for word in words:
        assert word in said


def test_an_example_that_is_not_there_gives_way_to_one_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.if_nameindex", lambda: [(7, "wlan0")])
    assert "--attach h=wlan0" in suggest_target(parse_section("xdp"), "h")


@pytest.mark.usefixtures("machine")
def test_a_program_that_is_verified_for_its_hook_is_not_told_to_load_without() -> None:
    assert "--no-attach" not in suggest_target(parse_section("lsm"), "h")


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
