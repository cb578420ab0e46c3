"""Names of functions, interfaces, sockets and cgroups, and what a kernel was built with: on a small machine."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest
import small_kernel
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflab.btf import Kind
from ebpflab.errors import AttachError, DecodeError, EbpflabError, HookNotFoundError, KernelSupportError
from ebpflab.inspectors import cgroups, functions, kernel_btf, network
from ebpflab.inspectors.facilities import facility, instead
from ebpflab.inspectors.missing import absent, no_such
from ebpflab.inspectors.search import explain_missing
from ebpflab.program_types import BY_KIND, PROGRAM_TYPES


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> small_kernel.Machine:
    return small_kernel.make(tmp_path, monkeypatch)


def missing(kind: str, target: str) -> HookNotFoundError:
    error = explain_missing(kind, target)
    assert error is not None
    return error


# --- errors ----------------------------------------------------------------------------------------------


def test_a_name_that_resembles_none_is_answered_with_all_there_are_if_they_are_few() -> None:
    assert no_such("thing", "zzz", ["b", "a"]).hint == "there are a, b"
    assert no_such("thing", "zzz", ["a"]).hint == "there is a"
    assert no_such("thing", "zzz", []).hint is None
    assert no_such("thing", "zzz", [f"n{i}" for i in range(13)]).hint is None
    assert no_such("thing", "zzz", ["a"], "look elsewhere").hint == "look elsewhere"


def test_a_name_that_is_there_is_not_missing() -> None:
    assert absent("thing", "a", frozenset("ab")) is None


# --- functions of the kernel ------------------------------------------------------------------------------


@pytest.mark.usefixtures("machine")
def test_functions_are_code_and_neither_data_nor_padding_nor_bpf_programs() -> None:
    found = functions.functions()
    assert {"vfs_read", "finish_task_switch.isra.0", "nf_conntrack_in", "from_module"} <= found
    assert not found & {"vfs_data", "__pfx_vfs_read", "finish_task_switch.cold", "bpf_prog_6deef7357e7b4530_hidden"}


def test_functions_are_read_again_when_a_module_has_come(machine: small_kernel.Machine) -> None:
    before = functions.functions()
    assert functions.functions() is before
    with (machine.root / "kallsyms").open("a") as file:
        file.write("ffffffffc0003000 t newly_loaded\t[newcomer]\n")
    assert functions.functions() is before
    machine.write(machine.root / "modules", "newcomer 1 0 - Live 0x0\n")
    assert functions.functions() == before | {"newly_loaded"}


def test_symbols_that_cannot_be_read_are_no_empty_answer(machine: small_kernel.Machine) -> None:
    (machine.root / "kallsyms").unlink()
    machine.write(machine.root / "modules", "other 1 0 - Live 0x0\n")
    with pytest.raises(KernelSupportError, match="kallsyms cannot be read"):
        explain_missing("kprobe", "vfs_read")


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("target", ["vfs_read", "vfs_read+0x10", "vfs_read+16", "from_module", "may_return_error"])
def test_a_function_that_can_be_probed_is_not_missing(target: str) -> None:
    assert explain_missing("kprobe", target) is None


@pytest.mark.usefixtures("machine")
def test_a_function_that_the_compiler_renamed_is_named() -> None:
    for kind in ("kprobe", "kretprobe", "kprobe.multi", "fentry"):
        error = missing(kind, "finish_task_switch")
        assert error.nearest == ("finish_task_switch.isra.0",)
        assert "what the compiler made of it" in error.what


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("name", ["rcu_notrace_helper", "do_blacklisted"])
def test_a_function_that_may_not_be_probed_says_so(name: str) -> None:
    error = missing("kprobe", name)
    assert "may not be probed" in error.what
    assert "a function that calls it" in str(error.hint)


@pytest.mark.usefixtures("machine")
def test_a_function_that_may_not_be_traced_says_so() -> None:
    assert "may not be traced" in missing("fentry", "rcu_notrace_helper").what


def test_without_a_view_of_tracefs_a_function_that_exists_is_taken_to_be_fit(machine: small_kernel.Machine) -> None:
    (machine.tracefs / "available_filter_functions").unlink()
    machine.write(machine.root / "modules", "other 1 0 - Live 0x0\n")
    assert functions.traceable() is None
    assert explain_missing("kprobe", "rcu_notrace_helper") is None
    assert explain_missing("fentry", "rcu_notrace_helper") is None
    assert functions.probed() == functions.functions()


@pytest.mark.usefixtures("machine")
def test_a_function_without_types_is_left_to_kprobes() -> None:
    error = missing("fentry", "do_blacklisted")
    assert "BTF does not have the types of do_blacklisted()" in error.what
    assert error.hint == "kprobe/do_blacklisted does without types"


@pytest.mark.usefixtures("machine")
def test_nothing_like_a_name_says_that_it_may_have_been_inlined() -> None:
    assert "inlined" in str(missing("kprobe", "qqqqqqqqqq").hint)


@pytest.mark.parametrize("target", ["+4", "vfs read", "vfs_read+x", "a/b"])
def test_what_is_no_function_at_all_says_what_to_write(target: str) -> None:
    with pytest.raises(AttachError, match="does not name a function"):
        explain_missing("kprobe", target)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("pattern", "found"),
    [("vfs_*", True), ("vfs_rea?", True), ("*", True), ("vfs_read", True), ("vfs_w*", False), ("[v]fs_read", False)],
)
def test_a_pattern_has_to_match_a_function_that_can_be_traced(pattern: str, found: bool) -> None:
    for kind in ("kprobe.multi", "kprobe.session"):
        assert (explain_missing(kind, pattern) is None) is found


@pytest.mark.usefixtures("machine")
def test_a_pattern_that_matches_nothing_names_what_resembles_it() -> None:
    assert missing("kprobe.multi", "vfs_reed*").nearest[0] == "vfs_read"
    assert "* stands for" in str(missing("kprobe.multi", "qqqq*").hint)


@pytest.mark.usefixtures("machine")
def test_fmod_ret_goes_to_security_hooks_and_to_functions_that_may_fail() -> None:
    assert explain_missing("fmod_ret", "security_file_open") is None
    assert explain_missing("fmod_ret", "may_return_error") is None
    error = missing("fmod_ret", "vfs_read")
    assert "may not change what vfs_read() returns" in error.what
    assert "security_" in str(error.hint)


@pytest.mark.usefixtures("machine")
def test_an_lsm_hook_is_a_member_of_the_kernels_list_of_them() -> None:
    assert functions.lsm_hooks() == {"file_open"}  # neither verify_prog nor what has no function


@pytest.mark.usefixtures("machine")
def test_structs_to_implement_are_those_that_the_kernel_wraps() -> None:
    assert functions.struct_ops() == {"tcp_congestion_ops"}


# --- the kernel's BTF -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("machine")
def test_functions_of_a_module_are_found_by_its_own_strings_and_by_the_kernels() -> None:
    assert kernel_btf.functions() == {*small_kernel.TYPED, "from_module"}
    assert kernel_btf.has("security_list_options")
    assert not kernel_btf.has("security_list")


@pytest.mark.usefixtures("machine")
def test_members_are_those_of_the_kinds_asked_for() -> None:
    assert kernel_btf.members(Kind.UNION, rb"security_\w+") == small_kernel.UNIONS
    assert kernel_btf.members(Kind.STRUCT, rb"bpf_struct_ops_map") == {"bpf_struct_ops_map": ("map", "lock")}
    assert kernel_btf.members(Kind.STRUCT, rb"security_\w+") == {}


@given(st.binary(max_size=200), st.integers(0, 200), st.integers(0, 60))
@settings(deadline=None)  # this machine may be busy with other things
def test_damaged_types_are_read_or_refused(put: bytes, at: int, cut: int) -> None:
    whole = small_kernel.btf("a", functions=("f", "g"), structs={"bpf_struct_ops_x": ("data",)})
    data = whole[:at] + put + whole[at + cut :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel_btf, "_read", lambda _path: kernel_btf._parse(data, Path("damaged")))
        for read in (
            lambda: kernel_btf._functions.__wrapped__((kernel_btf._File(Path("damaged"), 0),)),
            lambda: kernel_btf._members.__wrapped__(Path("damaged"), Kind.STRUCT, rb"\w+"),
            lambda: kernel_btf._names.__wrapped__(kernel_btf._File(Path("damaged"), 0), rb"(\w+)"),
        ):
            with contextlib.suppress(DecodeError):
                read()


# --- networks ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("machine")
def test_an_interface_that_resembles_none_is_answered_with_the_list() -> None:
    error = missing("xdp", "qqqqqqqq")
    assert error.nearest == ()
    assert str(error.hint).startswith("there are eth0, lo, veth-blue; netns=")


@pytest.mark.usefixtures("machine")
def test_a_route_is_missing_its_interface() -> None:
    assert explain_missing("lwt_xmit", "10.9.9.0/24 dev eth0") is None
    assert missing("lwt_in", "10.9.9.0/24 dev eht0").nearest == ("eth0",)


def test_network_namespaces_are_named_by_name_path_process_or_self(machine: small_kernel.Machine) -> None:
    (machine.root / "netns/blue").touch()
    for there in ("blue", "self", str(os.getpid()), "/proc/self/ns/net"):
        assert explain_missing("sk_lookup", there) is None
    assert missing("flow_dissector", "bleu").nearest == ("blue",)
    assert "no process 4194305" in missing("flow_dissector", "4194305").what  # one more than there can be
    assert "at /nowhere/net" in missing("flow_dissector", "/nowhere/net").what
    (machine.root / "netns/blue").unlink()
    assert "give a path" in str(missing("sk_lookup", "bleu").hint)


def test_a_netkit_device_is_told_from_others(machine: small_kernel.Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_DEVICES", machine.root / "net")
    machine.write(machine.root / "net/eth0/uevent", "INTERFACE=eth0\nIFINDEX=2\n")
    machine.write(machine.root / "net/veth-blue/uevent", "DEVTYPE=netkit\nINTERFACE=veth-blue\n")
    assert network.netkits() == ("veth-blue",)
    assert explain_missing("netkit", "veth-blue") is None
    assert explain_missing("netkit", "lo") is None  # sysfs shows another namespace: nothing can be said
    error = missing("netkit", "eth0")
    assert "eth0 is no netkit device" in error.what
    assert error.nearest == ("veth-blue",)


@pytest.mark.parametrize("kind", ["socket_filter", "sk_reuseport"])
def test_a_socket_is_named_by_a_descriptor_of_this_or_another_process(kind: str) -> None:
    with socket.socket() as own, Path(os.devnull).open() as file:
        assert explain_missing(kind, f"fd:{own.fileno()}") is None
        assert explain_missing(kind, f"pid:{os.getpid()}:{own.fileno()}") is None
        error = missing(kind, f"fd:{file.fileno()}")
        assert "is no socket" in error.what
        assert str(own.fileno()) in str(error.hint)
    assert "no process 4194305" in missing(kind, "pid:4194305:3").what
    for wrong in ("fd:", "fd:x", "pid:1", "pid:1:2:3"):
        assert "fd:FD" in str(missing(kind, wrong).hint)


# --- cgroups ----------------------------------------------------------------------------------------------


def test_cgroups_are_listed_from_the_root_down(machine: small_kernel.Machine) -> None:
    for path in ("b.slice", "a.slice/app/deep", "a.slice/other"):
        (machine.cgroup2 / path).mkdir(parents=True)
    (machine.cgroup2 / "cgroup.procs").touch()
    expected = ("/", "/a.slice", "/b.slice", "/a.slice/app", "/a.slice/other", "/a.slice/app/deep")
    assert cgroups.cgroups() == expected


def test_of_very_many_cgroups_only_some_are_looked_at(
    machine: small_kernel.Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(23):
        (machine.cgroup2 / f"g{number}").mkdir()
    monkeypatch.setattr(cgroups, "_MOST", 11)
    assert len(cgroups.cgroups()) == 11


def test_a_cgroup_is_named_by_its_path_in_the_hierarchy_or_in_the_filesystem(machine: small_kernel.Machine) -> None:
    (machine.cgroup2 / "user.slice/app").mkdir(parents=True)
    for there in ("/", "user.slice", "/user.slice/app/", f"{machine.cgroup2}/user.slice", "self", f"pid:{os.getpid()}"):
        assert explain_missing("cgroup_device", there) is None
    for wrong in ("/user.slice/ap", "user.slice/ap", f"{machine.cgroup2}/user.slice/ap"):
        assert missing("sockops", wrong).nearest[0] == "/user.slice/app"
    assert "no process 4194305" in missing("cgroup_skb", "pid:4194305").what


# --- what a kernel was built with --------------------------------------------------------------------------


@pytest.mark.usefixtures("machine")
def test_a_kernel_that_has_everything_lacks_nothing_of_what_it_shows() -> None:
    for kind in ("tracepoint", "kprobe", "ksyscall", "uprobe", "usdt", "fentry", "lsm", "xdp", "cgroup_device"):
        assert facility(kind) == ""


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("kprobe.multi", "built without fprobes (CONFIG_FPROBE)"),
        ("kprobe.session", "came with Linux 6.10"),
        ("uprobe.multi", "came with Linux 6.6"),
        ("fsession", "came with Linux 7.0"),
        ("netkit", "came with Linux 6.7"),
        ("lwt_in", "CONFIG_LWTUNNEL_BPF"),
        ("lirc_mode2", "CONFIG_BPF_LIRC_MODE2"),
    ],
)
def test_what_a_kernel_lacks_is_named_with_what_would_bring_it(kind: str, words: str) -> None:
    assert words in facility(kind)


@pytest.mark.parametrize("source", ["kprobe", "uprobe"])
def test_probes_are_there_if_their_kind_of_event_is(machine: small_kernel.Machine, source: str) -> None:
    (machine.event_sources / source).rmdir()
    assert f"without {source}s (CONFIG_" in facility(source)


def test_what_cannot_be_seen_is_not_said_to_be_lacking(machine: small_kernel.Machine) -> None:
    for path in (machine.event_sources, machine.tracefs):
        path.rename(path.with_suffix(".gone"))
    (machine.root / "kallsyms").unlink()
    machine.write(machine.root / "modules", "other 1 0 - Live 0x0\n")
    for kind in ("kprobe", "uprobe", "tracepoint", "fentry", "lwt_in", "cgroup_device"):
        assert facility(kind) == ""


@pytest.mark.usefixtures("machine")
def test_a_section_that_is_newer_than_its_kind_is_asked_for_by_its_name() -> None:
    assert facility("cgroup_sock_addr", "cgroup/connect4") == ""
    assert "came with Linux 6.7" in facility("cgroup_sock_addr", "cgroup/connect_unix")


@pytest.mark.parametrize("kind", ["lsm", "lsm_cgroup"])
def test_an_lsm_that_was_not_started_is_told_how_to_be(machine: small_kernel.Machine, kind: str) -> None:
    machine.btf.joinpath("vmlinux").write_bytes(
        small_kernel.btf(*small_kernel.NAMES, "BPF_LSM_CGROUP", functions=small_kernel.TYPED)
    )
    machine.facts(lsms=("lockdown", "capability", "yama"))
    assert "boot with lsm=lockdown,yama,bpf" in facility(kind)


def test_the_list_of_modules_is_also_taken_from_the_command_line(
    machine: small_kernel.Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.facts(lsms=None)
    machine.write(machine.root / "cmdline", "quiet lsm=yama,apparmor root=/dev/vda\n")
    monkeypatch.setattr("ebpflab.inspectors.facilities._COMMAND_LINE", machine.root / "cmdline")
    assert "lsm=yama,apparmor,bpf" in facility("lsm")
    machine.write(machine.root / "cmdline", "quiet lsm=yama,bpf\n")
    assert facility("lsm") == ""


def test_a_switched_off_jit_is_named_with_the_command_that_switches_it_on(machine: small_kernel.Machine) -> None:
    machine.write(machine.root / "bpf_jit_enable", "0\n")
    for kind in ("fentry", "lsm", "freplace", "struct_ops"):
        assert "net.core.bpf_jit_enable=1" in facility(kind)
    assert facility("tp_btf") == ""


@pytest.mark.usefixtures("machine")
def test_advice_is_about_what_this_kernel_has() -> None:
    assert instead("kprobe.multi", "vfs_*") == 'a SEC("kprobe/FUNCTION") for each function does the same here'
    assert instead("kprobe", "vfs_read+0x10") == 'SEC("fentry/vfs_read") does much the same here'
    assert instead("ksyscall", "openat") == 'SEC("tp/syscalls/sys_enter_openat") does the same here'
    assert instead("xdp", "lo") == ""


def test_advice_for_a_kernel_that_has_neither_is_a_tracepoint(machine: small_kernel.Machine) -> None:
    (machine.event_sources / "kprobe").rmdir()
    machine.write(machine.root / "bpf_jit_enable", "0\n")
    for kind in ("kprobe", "kretprobe", "fentry", "fexit"):
        assert "tracepoints do without" in instead(kind, "vfs_read")


@pytest.mark.parametrize("row", PROGRAM_TYPES, ids=lambda row: row.kind)
def test_every_kind_has_an_answer_on_this_very_machine(row: object) -> None:
    kind = row.kind  # type: ignore[attr-defined]
    try:
        said = facility(kind)
    except EbpflabError as error:
        pytest.fail(f"{kind}: {error}")
    assert said == "" or said.startswith(("this kernel", "bpf is not", "the BPF JIT"))
    assert "{" not in instead(kind, BY_KIND[kind].example)
