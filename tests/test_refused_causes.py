"""What errors are traced back to on machines that are not at hand: their files are made up, and read as real ones."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest
import small_kernel

from ebpflab import _probes
from ebpflab.engines import _causes
from ebpflab.engines._causes import ENOTSUPP, Failure
from ebpflab.engines._libbpf_errors import attach_failed, load_failed
from ebpflab.errors import AttachError, EbpflabError, LoadError, PrivilegeError
from ebpflab.inspectors import kernel, memory, privileges, program_refusals, undefined
from ebpflab.program_types import parse_section, parse_target

ALL = frozenset(kernel.CAPABILITIES)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> small_kernel.Machine:
    monkeypatch.setattr(kernel, "facts", lambda: kernel.Facts(release="6.12.0", capabilities=ALL))
    return small_kernel.make(tmp_path, monkeypatch)


def attach(section: str, target: str, number: int) -> EbpflabError:
    parsed = parse_section(section)
    return attach_failed("h", parsed, parse_target(parsed.type, target or parsed.place), number, ())


def load(section: str, number: int, *lines: str, size: int = 2) -> EbpflabError:
    parsed = parse_section(section)
    said = lines or (f"libbpf: prog 'h': failed to load: -{number}\n",)
    aims = {"h": (parsed, parse_target(parsed.type, parsed.place))}
    return load_failed(number, said, "", aims, (), {"h": size})


# --- what the machine has left ----------------------------------------------------------------------------


def test_memory_that_is_missing_is_said_with_what_is_left_and_what_the_cgroup_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "proc/meminfo": "MemTotal: 2048 kB\nMemAvailable:    1536 kB\n",
        "proc/self/cgroup": "1:cpu:/elsewhere\n0::/user.slice/pod\n",
        "sys/fs/cgroup/user.slice/pod/memory.max": f"{3 << 20}\n",
        "sys/fs/cgroup/user.slice/pod/memory.current": f"{2 << 20}\n",
    }
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text)
    monkeypatch.setattr(memory, "_ROOT", tmp_path / "root")
    error = load("raw_tp/sys_enter", errno.ENOMEM)
    assert type(error) is LoadError
    assert "1.5 MiB are available" in error.what
    assert "the cgroup /user.slice/pod may use 3.0 MiB and uses 2.0 MiB" in error.what
    (tmp_path / "root/sys/fs/cgroup/user.slice/pod/memory.max").write_text("max\n")
    assert "cgroup" not in attach("xdp", "lo", errno.ENOMEM).what


def test_descriptors_that_are_missing_are_said_with_the_limit() -> None:
    limits = Path("/proc/self/limits").read_text()
    soft = int(re.search(r"^Max open files\s+(\d+)", limits, re.MULTILINE)[1])  # type: ignore[index]
    error = attach("xdp", "lo", errno.EMFILE)
    assert error.what == f"cannot attach h to xdp lo: this process has the {soft:,} files open that it may"
    assert "ulimit -n" in str(error.hint)
    assert "fs.file-max" in str(load("raw_tp/sys_enter", errno.ENFILE).hint)


def test_counters_that_are_all_in_use_are_said_with_the_watchdog_if_it_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_causes, "_WATCHDOG", tmp_path / "nmi_watchdog")
    assert "end perf(1)" in str(attach("perf_event", "cpu-clock", errno.ENOSPC).hint)
    (tmp_path / "nmi_watchdog").write_text("0\n")
    assert "watchdog" not in str(attach("perf_event", "cpu-clock", errno.ENOSPC))
    (tmp_path / "nmi_watchdog").write_text("1\n")
    assert attach("perf_event", "cpu-clock", errno.ENOSPC).hint == "sysctl kernel.nmi_watchdog=0 frees one"


# --- what the kernel was built with -----------------------------------------------------------------------


def test_a_kernel_without_the_classifier_names_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    built = {"CONFIG_NET_SCH_INGRESS": "m", "CONFIG_NET_CLS_ACT": "y"}
    monkeypatch.setattr(kernel, "kernel_config", lambda: built)
    error = attach("tc", "lo", errno.ENOENT)
    assert error.what == "cannot attach h to tc lo: this kernel was built without CONFIG_NET_CLS_BPF"
    assert "xdp" in str(error.hint)
    monkeypatch.setattr(kernel, "kernel_config", lambda: {**built, "CONFIG_NET_CLS_BPF": "m"})
    assert "built without" not in attach("tc", "lo", errno.ENOENT).what
    monkeypatch.setattr(kernel, "kernel_config", lambda: None)
    assert "built without" not in attach("tc", "lo", errno.ENOENT).what


def test_a_kernel_without_btf_is_named_where_a_symbol_is_asked_for(machine: small_kernel.Machine) -> None:
    line = "libbpf: extern (func ksym) 'bpf_task_acquire': not found in kernel or module BTFs\n"
    (machine.btf / "vmlinux").unlink()
    (machine.btf / "zmodule").unlink()
    error = load("raw_tp/sys_enter", errno.EINVAL, line)
    assert "carries no BTF" in error.what
    assert "CONFIG_DEBUG_INFO_BTF" in str(error.hint)


def test_a_kernel_that_hides_its_configuration_is_not_said_to_lack_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undefined, "kernel_config", lambda: None)
    error = load("raw_tp/sys_enter", errno.ESRCH, "libbpf: extern 'CONFIG_HZ' (strong): not resolved\n")
    assert error.what == "this kernel keeps its configuration to itself (/proc/config.gz)"
    assert "__weak" in str(error.hint)


def test_a_jit_that_is_off_is_the_cause_of_enotsupp(monkeypatch: pytest.MonkeyPatch) -> None:
    off = kernel.Facts(release="6.12.0", capabilities=ALL, bpf_jit_enable=0)
    monkeypatch.setattr(kernel, "facts", lambda: off)
    error = load("raw_tp/sys_enter", ENOTSUPP)
    assert "the BPF JIT is off" in error.what
    assert "sysctl net.core.bpf_jit_enable=1" in str(error.hint)


def test_a_program_of_more_than_4096_instructions_takes_a_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_refusals, "takes_few", lambda section: True)
    error = load("socket", errno.E2BIG, size=4099)
    assert error.what == "h has 4,099 instructions, and the kernel takes 4,096 of a program here"
    assert "CAP_BPF" in str(error.hint)


# --- what the process may do ------------------------------------------------------------------------------


def explained(
    monkeypatch: pytest.MonkeyPatch, action: str = "load:raw_tracepoint", number: int = errno.EPERM, **different: object
) -> privileges.Privilege:
    usual = {"release": "6.12.0", "capabilities": ALL, "lockdown": "none", "seccomp": 0, "user_namespace": False}
    known = kernel.Facts(**{**usual, **different})  # type: ignore[arg-type]
    monkeypatch.setattr(kernel, "facts", lambda: known)
    return privileges.explain(number, action)


def test_lockdown_is_read_from_its_file_and_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    security = tmp_path / "root/sys/kernel/security"
    security.mkdir(parents=True)
    (security / "lockdown").write_text("none integrity [confidentiality]\n")
    found = explained(monkeypatch, lockdown=kernel._lockdown(tmp_path / "root", "lockdown,bpf"))
    assert "lockdown mode confidentiality" in found.cause
    assert "boot without lockdown=confidentiality" in found.hint
    (security / "lockdown").write_text("none [integrity] confidentiality\n")
    found = explained(monkeypatch, lockdown=kernel._lockdown(tmp_path / "root", "lockdown,bpf"))
    assert "lockdown mode" not in found.cause


def test_settings_that_forbid_bpf_to_others_are_named_beside_the_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    none: frozenset[str] = frozenset()
    found = explained(monkeypatch, capabilities=none, unprivileged_bpf_disabled=2)
    assert "lacks CAP_BPF" in found.cause
    assert "kernel.unprivileged_bpf_disabled is 2" in found.cause
    found = explained(monkeypatch, "attach:perf_event", errno.EACCES, capabilities=none, perf_event_paranoid=3)
    assert "lacks CAP_BPF and CAP_PERFMON" in found.cause
    assert "kernel.perf_event_paranoid is 3" in found.cause


def test_the_limit_of_locked_memory_is_the_cause_on_old_kernels_only(monkeypatch: pytest.MonkeyPatch) -> None:
    found = explained(monkeypatch, "load:map", release="5.10.0", memlock=65536)
    assert found.cause.startswith("RLIMIT_MEMLOCK is 65536 bytes")
    assert "ulimit -l unlimited" in found.hint
    assert "RLIMIT" not in explained(monkeypatch, "load:map", release="5.11.0", memlock=65536).cause
    assert "RLIMIT" not in explained(monkeypatch, "load:map", release="5.10.0", memlock=-1).cause


def test_what_was_looked_at_and_is_not_in_the_way_is_said_where_the_cause_is_not_certain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = explained(monkeypatch, lsms=("bpf", "yama"))
    assert found.ruled_out == (
        "ruled out: a user namespace, lockdown, a seccomp filter, the limit of locked memory, SELinux"
    )
    # What could not be read is not ruled out, and what is certain needs no such words.
    found = explained(monkeypatch, lockdown="unknown", lsms=None, user_namespace=None)
    assert found.ruled_out == "ruled out: a seccomp filter, the limit of locked memory"
    assert explained(monkeypatch, capabilities=frozenset()).ruled_out == ""


def test_a_filter_that_refuses_by_saying_there_is_no_such_call_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    filtered = kernel.Facts(release="6.12.0", capabilities=ALL, seccomp=2)
    monkeypatch.setattr(kernel, "facts", lambda: filtered)
    monkeypatch.setattr(_probes, "filtered", lambda: ("bpf(2)",))
    error = load("raw_tp/sys_enter", errno.ENOSYS)
    assert isinstance(error, PrivilegeError)
    assert error.cause == "a seccomp filter refuses bpf(2) to this process"
    monkeypatch.setattr(_probes, "filtered", tuple)
    assert not isinstance(load("raw_tp/sys_enter", errno.ENOSYS), PrivilegeError)


# --- the table --------------------------------------------------------------------------------------------


def test_nothing_is_said_to_be_found_where_nothing_was_looked_at() -> None:
    xdp = parse_section("xdp")
    failure = Failure("cannot attach h", errno.EXDEV, "h", xdp, parse_target(xdp.type, "lo"))
    assert _causes.find("attach", failure) is None
    assert type(attach("xdp", "lo", errno.EXDEV)) is AttachError


def test_every_row_of_words_is_of_words_that_libbpf_says() -> None:
    said = [
        "specified path /sys/fs/bpf/m is not on BPF FS",
        "couldn't reuse pinned map at '/sys/fs/bpf/m': parameter mismatch",
        "extern (func ksym) 'f': func_proto [7] incompatible with vmlinux [9]",
        "extern (var ksym) 'v': incompatible types, expected [7] int x, but kernel has [9] int y",
        "extern (func ksym) 'f': not found in kernel or module BTFs",
        "extern (var ksym) 'v': not found in kernel BTF",
        "extern 'CONFIG_HZ' (strong): not resolved",
        "extern (kcfg) 'LINUX_THING': unrecognized virtual extern",
        "struct_ops init_kern: struct ops is not found in kernel BTF",
        "failed to find BTF for extern 'twice' [9] section: -2",
        "Error loading vmlinux BTF: -3",
    ]
    first = [next(row for row, (pattern, _) in enumerate(undefined.WORDS) if re.search(pattern, line)) for line in said]
    assert first == list(range(len(undefined.WORDS)))
