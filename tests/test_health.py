from __future__ import annotations

import errno
import html
import json
import os
import re
import resource
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflab import health, journal, toolchain
from ebpflab.health import Report, Row
from ebpflab.inspectors import kernel
from ebpflab.inspectors.kernel import Facts

DATA = Path(__file__).parent / "data" / "kernel"
ALL = frozenset(kernel.CAPABILITIES)


def machine(**different: Any) -> Facts:
    """A healthy machine, but for what is given."""
    usual: dict[str, Any] = {
        "release": "6.12.9-amd64",
        "machine": "x86_64",
        "build_id": "ab" * 20,
        "btf": Path("/sys/kernel/btf/vmlinux"),
        "btf_bytes": 5_000_000,
        "tracefs": Path("/sys/kernel/tracing"),
        "tracefs_readable": True,
        "capabilities": ALL,
        "user_namespace": False,
        "lockdown": "none",
        "unprivileged_bpf_disabled": 2,
        "perf_event_paranoid": 3,
        "memlock": 8192,
        "seccomp": 0,
    }
    return Facts(**{**usual, **different})


def without(*names: str) -> frozenset[str]:
    return ALL - set(names)


CAUSES = [
    ("load", errno.EPERM, {"capabilities": frozenset()}, "lacks CAP_BPF and CAP_PERFMON"),
    ("load", errno.EPERM, {"capabilities": frozenset()}, "kernel.unprivileged_bpf_disabled is 2"),
    ("load", errno.EPERM, {"capabilities": frozenset({"CAP_BPF"})}, "lacks CAP_PERFMON"),
    ("load:xdp", errno.EPERM, {"capabilities": frozenset({"CAP_BPF"})}, "lacks CAP_NET_ADMIN"),
    (
        "attach:tracepoint",
        errno.EACCES,
        {"capabilities": frozenset({"CAP_BPF"})},
        "kernel.perf_event_paranoid is 3",
    ),
    ("attach:uprobe", errno.EACCES, {"capabilities": without("CAP_SYS_ADMIN")}, "lacks CAP_SYS_ADMIN"),
    (
        "load",
        errno.EPERM,
        {"release": "5.4.0", "capabilities": without("CAP_SYS_ADMIN")},
        "lacks CAP_SYS_ADMIN",
    ),
    ("load", errno.EPERM, {"capabilities": frozenset(), "container": "docker"}, "docker container"),
    ("load", errno.EPERM, {"user_namespace": True}, "user namespace"),
    ("load", errno.EPERM, {"release": "5.10.0-21-amd64"}, "RLIMIT_MEMLOCK is 8192 bytes"),
    ("load", errno.EPERM, {"lockdown": "confidentiality"}, "lockdown mode confidentiality"),
    ("attach:tracepoint", errno.EACCES, {"tracefs_readable": False}, "tracefs at /sys/kernel/tracing"),
    (
        "attach:tracepoint",
        errno.EACCES,
        {"tracefs_readable": False, "capabilities": frozenset({"CAP_BPF", "CAP_PERFMON"})},
        "lacks CAP_DAC_READ_SEARCH",
    ),
    ("attach:fentry", errno.EPERM, {}, "refuses BPF trampolines"),
    ("load:lsm_cgroup", errno.EPERM, {}, "refuses BPF trampolines"),
    ("load", errno.EPERM, {"seccomp": 2, "container": "podman"}, "seccomp filter (of the podman container)"),
    ("load", errno.EACCES, {"lsms": ("capability", "selinux")}, "SELinux"),
    ("load", errno.EPERM, {"lsms": ("capability", "bpf")}, "security modules: capability, bpf"),
]


@pytest.mark.parametrize(("action", "number", "different", "cause"), CAUSES)
def test_a_refusal_is_explained_by_what_differs_from_a_healthy_machine(
    action: str, number: int, different: dict[str, Any], cause: str
) -> None:
    assert cause in kernel.privilege_cause(number, action, machine(**different))


@pytest.mark.parametrize(
    ("action", "number", "different", "no_cause"),
    [
        ("load", errno.EPERM, {}, "MEMLOCK"),
        ("load", errno.EPERM, {"release": "5.10.0", "memlock": -1}, "MEMLOCK"),
        ("load:xdp", errno.EPERM, {"lockdown": "confidentiality"}, "lockdown"),
        ("load", errno.EPERM, {"lockdown": "integrity"}, "lockdown"),
        ("attach:raw_tracepoint", errno.EACCES, {"tracefs_readable": False}, "tracefs"),
        ("load:uprobe", errno.EPERM, {"capabilities": without("CAP_SYS_ADMIN")}, "lacks"),
        ("load", errno.EPERM, {"capabilities": frozenset({"CAP_SYS_ADMIN"})}, "lacks"),
        ("load", errno.EPERM, {"lsms": ("selinux",)}, "SELinux's policy"),
    ],
)
def test_what_cannot_be_the_reason_is_not_named(
    action: str, number: int, different: dict[str, Any], no_cause: str
) -> None:
    assert no_cause not in kernel.privilege_cause(number, action, machine(**different))


def test_the_facts_of_this_machine_agree_with_its_own_interfaces() -> None:
    facts = kernel.facts()
    assert facts.release == os.uname().release
    soft = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    assert facts.memlock == (-1 if soft == resource.RLIM_INFINITY else soft)
    assert (facts.btf is not None) == Path("/sys/kernel/btf/vmlinux").exists()


@pytest.mark.skipif(shutil.which("capsh") is None, reason="capsh is the referee")
def test_capabilities_have_the_names_that_capsh_gives_them() -> None:
    for bit, name in enumerate(kernel.CAPABILITIES):
        printed = subprocess.run(["capsh", f"--decode={1 << bit:x}"], capture_output=True, text=True, check=True)
        assert printed.stdout.strip().endswith(f"={name.lower()}")


def test_a_capability_mask_is_decoded_bit_by_bit() -> None:
    # Bits 2, 12, 21, 24, 38 and 39 of include/uapi/linux/capability.h.
    mask = 1 << 2 | 1 << 12 | 1 << 21 | 1 << 24 | 1 << 38 | 1 << 39
    names = "CAP_DAC_READ_SEARCH CAP_NET_ADMIN CAP_SYS_ADMIN CAP_SYS_RESOURCE CAP_PERFMON CAP_BPF"
    assert kernel.capability_names(mask) == set(names.split())
    assert kernel.capability_names(1 << 60) == {"CAP_60"}


def test_the_build_id_of_a_captured_notes_file_is_read() -> None:
    # Read by eye from `xxd` of the same file, which also holds notes of "Linux" and "Xen".
    assert kernel.build_id((DATA / "notes.bin").read_bytes()) == "4a5a9b0affb66c437abcd455d2738af879985fa9"
    kinds = [(kind, name) for kind, name, _ in kernel.elf_notes((DATA / "notes.bin").read_bytes())]
    assert kinds == [(3, b"GNU"), (0x101, b"Linux"), (0x100, b"Linux"), (19, b"Xen"), (18, b"Xen")]


NAMES = st.binary(max_size=9).map(lambda name: name.rstrip(b"\0"))


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), NAMES, st.binary(max_size=40))))
def test_notes_survive_packing_and_parsing(notes: list[tuple[int, bytes, bytes]]) -> None:
    packed = b""
    for kind, name, text in notes:
        packed += struct.pack("=III", len(name) + 1, len(text), kind)
        packed += (name + b"\0").ljust(-(-(len(name) + 1) // 4) * 4, b"\0") + text.ljust(-(-len(text) // 4) * 4, b"\0")
    assert list(kernel.elf_notes(packed)) == notes


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser_of_notes(data: bytes) -> None:
    assert sum(12 + len(name) + len(text) for _, name, text in kernel.elf_notes(data)) <= len(data)


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_locked_down_container_is_read_from_its_files(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/sys/kernel/osrelease": "5.15.0-91-generic\n",
            "proc/self/status": (DATA / "status").read_text(),
            "proc/self/uid_map": "         0     100000      65536\n",
            "proc/self/limits": "Max locked memory         65536                65536                bytes\n",
            "proc/self/mounts": "none /my\\040trace tracefs rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n",
            "proc/sys/kernel/unprivileged_bpf_disabled": "1\n",
            "sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
            "sys/kernel/security/lsm": "lockdown,capability,selinux\n",
            "sys/kernel/notes": "",
            "run/.containerenv": "",
        },
    )
    facts = kernel.facts(root)
    assert facts.version == (5, 15)
    # CapEff 000001fffeffffff lacks one bit only, number 24.
    assert facts.capabilities == ALL - {"CAP_SYS_RESOURCE"}
    assert (facts.user_namespace, facts.memlock, facts.container) == (True, 65536, "podman")
    assert (facts.tracefs, facts.tracefs_readable) == (root / "my trace", False)
    assert (facts.bpffs, facts.build_id, facts.btf) == (root / "sys/fs/bpf", None, None)
    assert (facts.lockdown, facts.lsms) == ("integrity", ("lockdown", "capability", "selinux"))
    assert (facts.unprivileged_bpf_disabled, facts.perf_event_paranoid, facts.seccomp) == (1, None, 0)


@pytest.mark.parametrize(
    ("files", "mode"),
    [
        ({}, "unknown"),
        ({"sys/kernel/security/lsm": "capability,yama"}, "none"),
        ({"sys/kernel/security/lsm": "capability,lockdown"}, "unknown"),
        ({"proc/sys/kernel/osrelease": "6.1", "boot/config-6.1": "CONFIG_BPF=y\n"}, "none"),
        (
            {"proc/sys/kernel/osrelease": "6.1", "boot/config-6.1": "CONFIG_SECURITY_LOCKDOWN_LSM=y\n"},
            "unknown",
        ),
    ],
)
def test_lockdown_is_unknown_unless_a_file_tells(tmp_path: Path, files: dict[str, str], mode: str) -> None:
    assert kernel.facts(tree(tmp_path, files)).lockdown == mode


def healthy_tools(**different: dict[str, Any]) -> list[toolchain.Tool]:
    found = Path("/usr/bin/true")
    names = (
        "clang",
        "libbpf",
        "libbpf-headers",
        "kernel-headers",
        "linker",
        "bcc",
        "bpftrace",
        "chromium",
        "venv",
    )
    tools = []
    for name in names:
        values = {
            "path": found,
            "required": name not in ("bcc", "bpftrace", "chromium", "venv"),
            "hint": None,
        }
        values.update(different.get(name.replace("-", "_"), {}))
        tools.append(toolchain.Tool(name, needed_for="x", packages={}, **values))
    return tools


@pytest.fixture(autouse=True)
def _every_clang_knows_bpf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "clang_has_bpf_target", lambda _clang: True)


def row(report: Report, name: str) -> Row:
    return next(r for r in report.rows if r.name == name)


@pytest.mark.parametrize(
    ("different", "name", "state", "fix"),
    [
        ({"btf": None}, "BTF", "missing", "CONFIG_DEBUG_INFO_BTF"),
        ({"tracefs": None}, "tracefs", "missing", "mount -t tracefs tracefs /sys/kernel/tracing"),
        ({"tracefs_readable": False}, "tracefs", "missing", "remount,mode=755 /sys/kernel/tracing"),
        ({"capabilities": frozenset()}, "capabilities", "missing", "sudo"),
        ({"capabilities": without("CAP_SYS_ADMIN")}, "capabilities", "warning", "sudo"),
        ({"user_namespace": True}, "capabilities", "missing", "--cap-add BPF"),
        (
            {"lockdown": "unknown"},
            "lockdown",
            "unknown",
            "mount -t securityfs securityfs /sys/kernel/security",
        ),
        ({"lockdown": "confidentiality"}, "lockdown", "missing", "lockdown=integrity"),
        (
            {"release": "5.10.1", "capabilities": without("CAP_SYS_RESOURCE")},
            "memlock",
            "warning",
            "ulimit -l",
        ),
        ({"release": "5.4.0"}, "kernel", "warning", "newer kernel"),
    ],
)
def test_each_defect_of_a_machine_shows_in_its_row_with_the_fix(
    different: dict[str, Any], name: str, state: str, fix: str
) -> None:
    sick = row(health.examine(machine(**different), healthy_tools()), name)
    assert sick.state == state
    assert fix in (sick.fix or "")
    assert row(health.examine(machine(), healthy_tools()), name).state == "ok"


def test_a_missing_compiler_is_a_fault_and_a_missing_bcc_is_not() -> None:
    gone = {"path": None, "hint": "apt-get install -y it"}
    assert health.examine(machine(), healthy_tools(bcc=gone, bpftrace=gone)).ok
    report = health.examine(machine(), healthy_tools(clang=gone))
    assert not report.ok
    assert row(report, "clang").fix == "apt-get install -y it"


def test_the_rows_are_those_that_the_reader_expects() -> None:
    machine_rows = ["kernel", "BTF", "tracefs", "capabilities", "lockdown", "memlock"]
    tool_rows = ["clang", "libbpf", "libbpf headers", "kernel headers", "linker", "libbcc", "BCC", "bpftrace"]
    assert [r.name for r in health.doctor().rows] == [
        *machine_rows,
        *tool_rows,
        "Python packages",
        "Jupyter",
        "journal",
    ]


ROWS = st.builds(
    Row,
    name=st.text("abc<&\"'", min_size=1, max_size=9),
    state=st.sampled_from(["ok", "warning", "missing", "unknown"]),
    detail=st.text("xyz <>&\"'", max_size=20),
    fix=st.none() | st.text("uvw<&", min_size=1, max_size=9),
)


@given(st.lists(ROWS, max_size=5))
def test_plain_text_html_and_json_hold_the_same_rows(rows: list[Row]) -> None:
    report = Report(tuple(rows))
    page = re.findall(
        r"<tr><td>([^<]*)</td><td[^>]*>([^<]*)</td><td>([^<]*)</td><td>([^<]*)</td></tr>", report._repr_html_()
    )
    shown = [tuple(html.unescape(cell) for cell in cells) for cells in page]
    assert shown == [(r.name, r.state, r.detail, r.fix or "") for r in rows]
    text = str(report)
    assert text.count("\n") == len(rows) + sum(bool(r.fix) for r in rows) + 1  # column names first, the verdict last
    for r in rows:
        assert [part for part in (r.name, r.state, r.detail, r.fix or "") if part.strip() not in text] == []
    assert json.loads(json.dumps(report.to_dict()))["rows"] == [vars(r) for r in rows]


def entry(kind: str, *, alive: bool) -> journal.Entry:
    owner = journal._self() if alive else journal.Owner("of another boot", 1, 1, 1)
    return journal.Entry(kind, {}, owner, Path("/nowhere"))


def test_what_killed_runs_left_is_counted_by_kind_and_no_reason_to_be_ill() -> None:
    entries = [*(entry(kind, alive=False) for kind in ("route", "tc", "route")), entry("route", alive=True)]
    report = health.examine(machine(), healthy_tools(), entries)
    assert row(report, "journal").state == "warning"
    assert "2 route, 1 tc" in row(report, "journal").detail
    assert report.ok
    assert row(health.examine(machine(), healthy_tools(), entries[3:]), "journal").state == "ok"
