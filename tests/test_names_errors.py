"""What the kernel's numbers and libbpf's words become: on a small machine, without a kernel to ask."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import small_kernel

from ebpflab.engines._libbpf_errors import attach_failed, load_failed
from ebpflab.errors import (
    AttachError,
    EbpflabError,
    HookNotFoundError,
    KernelSupportError,
    LoadError,
    PrivilegeError,
    VerifierError,
)
from ebpflab.inspectors import kernel
from ebpflab.program_types import Section, Target, parse_section, parse_target

NOTHING = "processed 0 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n"
REFUSED = "0: (b7) r0 = 2\n1: (95) exit\nAt program exit the register R0 has value (0x2; 0x0)\n" + NOTHING
ENOTSUPP = 524  # include/linux/errno.h


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> small_kernel.Machine:
    everything = kernel.Facts(release="6.12.0", capabilities=frozenset(kernel.CAPABILITIES), lsms=("bpf",))
    monkeypatch.setattr(kernel, "facts", lambda: everything)
    return small_kernel.make(tmp_path, monkeypatch)


def aim(section: str, target: str = "") -> tuple[Section, Target]:
    parsed = parse_section(section)
    return parsed, parse_target(parsed.type, target or parsed.place)


def attach(section: str, target: str, number: int, *lines: str) -> EbpflabError:
    return attach_failed("h", *aim(section, target), number, lines)


def load(section: str, number: int, log: str = "", *lines: str) -> EbpflabError:
    said = lines or (f"libbpf: prog 'h': failed to load: -{number}\n",)
    return load_failed(number, said, log, {"h": aim(section)})


# --- attaching --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EBUSY, "there is room for one"),
        (errno.E2BIG, "as many programs as the kernel allows"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EILSEQ, "objdump -d"),
        (errno.EADDRNOTAVAIL, "several functions of that name"),
        (errno.EIO, "%bpf doctor"),
    ],
)
def test_the_kernels_number_decides_what_to_do(number: int, hint: str) -> None:
    error = attach("kprobe/vfs_read", "", number)
    assert type(error) is AttachError
    assert error.errno == number
    assert "cannot attach h to kprobe vfs_read" in error.what
    assert hint in str(error.hint)


@pytest.mark.parametrize(
    ("section", "target", "what", "hint"),
    [
        ("xdp", "lo", "cannot attach h to xdp lo", "there is room for one"),
        ("tp/sched/sched_switch", "", "h is attached to tracepoint sched/sched_switch already", "s.detach()"),
        ("kprobe/vfs_read", "", "h is attached to kprobe vfs_read already", "s.detach()"),
    ],
)
def test_what_is_there_already_is_another_program_where_there_is_room_for_one_and_else_this_one(
    section: str, target: str, what: str, hint: str
) -> None:
    error = attach(section, target, errno.EEXIST)
    assert what in error.what
    assert hint in str(error.hint)


def test_a_hook_that_is_missing_is_what_matters_whatever_the_number() -> None:
    for number in (errno.EINVAL, errno.EPERM, errno.ENOENT):
        assert type(attach("kprobe/vfs_raed", "", number)) is HookNotFoundError


def test_a_kernel_without_the_kind_is_what_matters_most(machine: small_kernel.Machine) -> None:
    (machine.event_sources / "kprobe").rmdir()
    error = attach("kprobe/vfs_raed", "", errno.EPERM)
    assert type(error) is KernelSupportError
    assert error.what == "h (kprobe): this kernel was built without kprobes (CONFIG_KPROBES)"
    assert error.hint == 'SEC("fentry/vfs_raed") does much the same here'
    assert error.stage == "attach"


def test_a_refusal_for_want_of_a_capability_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    few = kernel.Facts(release="6.12.0", capabilities=frozenset(["CAP_BPF", "CAP_PERFMON"]))
    monkeypatch.setattr(kernel, "facts", lambda: few)
    error = attach("xdp", "lo", errno.EPERM)
    assert isinstance(error, PrivilegeError)
    assert "CAP_NET_ADMIN" in error.cause
    assert error.stage == "attach"


def test_a_process_that_has_ended_is_named() -> None:
    error = attach("uprobe", "libc.so.6:malloc,pid=4194305", errno.ESRCH)
    assert "no process 4194305" in error.what


def test_an_interface_of_another_namespace_is_not_looked_for_in_this_one(machine: small_kernel.Machine) -> None:
    (machine.root / "netns/blue").touch()
    assert type(attach("xdp", "eth77,netns=blue", errno.EOPNOTSUPP)) is AttachError
    assert type(attach("xdp", "eth77", errno.EOPNOTSUPP)) is HookNotFoundError


# --- loading ----------------------------------------------------------------------------------------------


def test_a_hook_that_the_verifier_cannot_find_is_named_with_the_nearest() -> None:
    for section, nearest in (
        ("fentry/vfs_raed", "vfs_read"),
        ("lsm/file_opn", "file_open"),
        ("fmod_ret/security_file_opn", "security_file_open"),
    ):
        error = load(section, errno.ESRCH)
        assert isinstance(error, HookNotFoundError)
        assert error.nearest[0] == nearest


def test_what_the_verifier_says_before_it_looks_at_the_program_is_about_its_hook() -> None:
    error = load("fmod_ret/vfs_read", errno.EINVAL, f"vfs_read() is not modifiable\n{NOTHING}")
    assert isinstance(error, HookNotFoundError)
    assert "may not change what vfs_read() returns" in error.what


def test_a_log_of_no_instruction_and_no_words_is_no_verdict() -> None:
    error = load("raw_tp/sys_enter", errno.EINVAL, NOTHING)
    assert type(error) is LoadError


@pytest.mark.parametrize("section", ["fentry/vfs_raed", "kprobe/vfs_read", "raw_tp/sys_enter"])
def test_a_program_that_the_verifier_has_looked_at_is_the_verifiers_case(section: str) -> None:
    assert type(load(section, errno.EINVAL, REFUSED)) is VerifierError


def test_a_kind_that_is_newer_than_the_kernel_says_so() -> None:
    error = load("fsession/vfs_read", errno.EINVAL, NOTHING)
    assert type(error) is KernelSupportError
    assert "came with Linux 7.0" in error.what
    assert error.stage == "load"


def test_a_struct_ops_program_of_no_struct_is_told_where_it_belongs() -> None:
    error = load("struct_ops/ssthresh", ENOTSUPP, NOTHING)
    assert type(error) is LoadError
    assert 'SEC(".struct_ops")' in str(error.hint)


def test_a_load_without_a_capability_names_that_of_the_programs_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    few = kernel.Facts(release="6.12.0", capabilities=frozenset(["CAP_BPF", "CAP_PERFMON"]))
    monkeypatch.setattr(kernel, "facts", lambda: few)
    error = load("tc", errno.EPERM)
    assert isinstance(error, PrivilegeError)
    assert "CAP_NET_ADMIN" in error.cause


def test_libbpfs_guess_about_memlock_is_not_repeated() -> None:
    line = "libbpf: permission error while running as root; try raising 'ulimit -l'? current value: 8.0 MiB\n"
    error = load("raw_tp/sys_enter", errno.EPERM, "", line, "libbpf: prog 'h': failed to load: -1\n")
    assert isinstance(error, PrivilegeError)
    assert "ulimit" not in str(error)
