"""The doctor: one look at everything a ``%%bpf`` cell needs, and the command that mends what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from . import journal, toolchain
from .bcc import library
from .formatting import Note, Part, Table, html, text
from .inspectors import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .inspectors.kernel import Facts
    from .toolchain import Tool

_PACKAGES = ("numpy", "pandas", "pyarrow", "matplotlib", "ipykernel", "ipywidgets", "pyelftools", "dpkt")
_JUPYTER = ("jupyterlab", "nbclient", "nbconvert")

_TONES = {"ok": "ok", "warning": "warning", "missing": "error", "unknown": "muted"}

# What each capability is for; the first two are what nothing works without.
_CAPABILITY_USE = {
    "CAP_BPF": "any program",
    "CAP_PERFMON": "tracing programs",
    "CAP_SYS_ADMIN": "uprobes",
    "CAP_NET_ADMIN": "xdp, tc and other network hooks",
}


@dataclass(frozen=True)
class Row:
    """One answer of the doctor.

    ``state`` is "ok", "warning", "missing" or "unknown"; ``fix`` is the exact command that mends it (what
    to do, where no command can), or None; ``needed`` is False for what a cell can do without.
    """

    name: str
    state: str
    detail: str
    fix: str | None = None
    needed: bool = True

    @property
    def tone(self) -> str:
        """How to show it: what is missing and not needed is no alarm."""
        return _TONES[self.state] if self.needed or self.state == "ok" else "muted"


@dataclass(frozen=True, repr=False)
class Report:
    """What the doctor found; prints as aligned text, and as a table in a notebook.

    Examples
    --------
    >>> doctor().ok
    True
    """

    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """True if nothing needed is missing."""
        return not any(row.needed and row.state == "missing" for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, ready for JSON."""
        return {"ok": self.ok, "rows": [asdict(row) for row in self.rows]}

    def __str__(self) -> str:
        return text(self._document())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html(self._document())

    def _document(self) -> list[Part]:
        columns = ("", "state", "detail", "fix")
        rows = tuple((row.name, row.state, row.detail, row.fix or "") for row in self.rows)
        tones = tuple((i, 1, row.tone) for i, row in enumerate(self.rows))
        verdict = Note("ready", "ok") if self.ok else Note("not ready: run the commands in the last column", "error")
        return [Table(columns, rows, tones=tones, below=True), verdict]


def doctor() -> Report:
    """Examine this machine and this process; takes a fraction of a second and changes nothing.

    Examples
    --------
    >>> print(ebpflab.doctor())
    kernel           ok       6.12.9-amd64 on x86_64 ...
    """
    return examine(kernel.facts(), toolchain.tools(), journal.entries())


def examine(facts: Facts, tools: Sequence[Tool], entries: Sequence[journal.Entry] = ()) -> Report:
    """Judge the given facts, tools and journal; :func:`doctor` gives it those of this machine."""
    return Report((*_kernel_rows(facts), *_tool_rows(tools), *_python_rows(), _journal_row(entries)))


def _kernel_rows(facts: Facts) -> Iterator[Row]:
    yield _kernel_row(facts)
    yield _btf_row(facts)
    yield _tracefs_row(facts)
    yield _capability_row(facts)
    yield _lockdown_row(facts)
    yield _memlock_row(facts)


def _journal_row(entries: Sequence[journal.Entry]) -> Row:
    # What earlier runs left in the kernel because they were killed.
    left = Counter(entry.kind for entry in entries if not entry.owner.alive)
    if left:
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(left.items()))
        return Row("journal", "warning", f"killed runs left {listed}; the next cell undoes it", needed=False)
    detail = f"{len(entries)} entries of live sessions" if entries else "killed runs have left nothing"
    return Row("journal", "ok", detail, needed=False)


def _kernel_row(facts: Facts) -> Row:
    detail = f"{facts.release} on {facts.machine}"
    if facts.version < (5, 8):
        return Row("kernel", "warning", f"{detail}: ring buffers came with 5.8", "boot a newer kernel")
    jit = "" if facts.bpf_jit_enable != 0 else "; the BPF JIT is off"
    return Row("kernel", "ok", f"{detail}, build id {(facts.build_id or 'unknown')[:12]}{jit}")


def _btf_row(facts: Facts) -> Row:
    if facts.btf is None:
        return Row("BTF", "missing", "no /sys/kernel/btf/vmlinux", "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y")
    return Row("BTF", "ok", f"{facts.btf}, {facts.btf_bytes / 1e6:.1f} MB")


def _tracefs_row(facts: Facts) -> Row:
    if facts.tracefs is None:
        return Row("tracefs", "missing", "not mounted", _as_root("mount -t tracefs tracefs /sys/kernel/tracing"))
    if facts.tracefs_readable is False:
        fix = _as_root(f"mount -o remount,mode=755 {facts.tracefs}")
        return Row("tracefs", "missing", f"{facts.tracefs} is not readable for this process", fix)
    return Row("tracefs", "ok", str(facts.tracefs))


def _capability_row(facts: Facts) -> Row:
    if facts.user_namespace:
        detail = "this is a user namespace, whose capabilities BPF does not accept"
        return Row("capabilities", "missing", detail, _elevated(facts))
    modern = facts.version >= (5, 8)
    needed = ["CAP_BPF", "CAP_PERFMON"] if modern else ["CAP_SYS_ADMIN"]
    lacking = [name for name in needed if not facts.can(name)]
    if lacking:
        return Row("capabilities", "missing", f"the process lacks {', '.join(lacking)}", _elevated(facts))
    useful = [f"{name} ({use})" for name, use in _CAPABILITY_USE.items() if not facts.can(name)]
    if useful:
        return Row("capabilities", "warning", f"without {', '.join(useful)}", _elevated(facts))
    return Row("capabilities", "ok", ", ".join(_CAPABILITY_USE))


def _lockdown_row(facts: Facts) -> Row:
    if facts.lockdown == "unknown":
        fix = _as_root("mount -t securityfs securityfs /sys/kernel/security")
        return Row("lockdown", "unknown", "securityfs is not readable", fix, needed=False)
    if facts.lockdown == "confidentiality":
        return Row("lockdown", "missing", "confidentiality: tracing is forbidden", "boot with lockdown=integrity")
    blocked = "; bpf_probe_write_user is blocked" if facts.lockdown == "integrity" else ""
    return Row("lockdown", "ok", f"{facts.lockdown}{blocked}")


def _memlock_row(facts: Facts) -> Row:
    if facts.version >= (5, 11):
        return Row("memlock", "ok", "not charged since kernel 5.11")
    if facts.memlock is None:
        return Row("memlock", "unknown", "the limit could not be read")
    if facts.memlock == -1 or facts.can("CAP_SYS_RESOURCE"):
        return Row("memlock", "ok", "unlimited, or can be raised")
    return Row("memlock", "warning", f"limited to {facts.memlock} bytes", "ulimit -l unlimited")


def _tool_rows(tools: Sequence[Tool]) -> Iterator[Row]:
    labels = {
        "clang": "clang",
        "libbpf": "libbpf",
        "libbpf-headers": "libbpf headers",
        "kernel-headers": "kernel headers",
        "linker": "linker",
        "libbcc": "libbcc",
        "bcc": "BCC",
        "bpftrace": "bpftrace",
    }
    yield from (_tool_row(labels[tool.name], tool) for tool in tools if tool.name in labels)


def _tool_row(label: str, tool: Tool) -> Row:
    other = f"; {said}" if tool.name == "libbcc" and (said := library.wrong_package()) else ""
    if tool.path is None:
        optional = "" if tool.required else "optional; "
        return Row(label, "missing", f"{optional}needed for {tool.needed_for}{other}", tool.hint, tool.required)
    detail = f"{tool.version or 'version unknown'}, {tool.path}"
    detail = detail if tool.required else f"{detail}: {tool.needed_for}{other}"
    fix = toolchain.install_hint([tool.name])
    if tool.name == "clang" and not toolchain.clang_has_bpf_target(tool.path):
        return Row(label, "missing", f"{detail}: built without the BPF target", fix)
    if tool.name == "libbpf" and (tool.version or "1").startswith("0."):
        return Row(label, "warning", f"{detail}: older than 1.0", fix)
    return Row(label, "ok" if tool.version else "unknown", detail, None, tool.required)


def _python_rows() -> Iterator[Row]:
    yield _packages_row("Python packages", _PACKAGES, needed=True)
    yield _packages_row("Jupyter", _JUPYTER, needed=False)


def _packages_row(label: str, names: Sequence[str], *, needed: bool) -> Row:
    found = {name: _installed(name) for name in names}
    lacking = [name for name, version in found.items() if version is None]
    if lacking:
        fix = shlex.join([sys.executable, "-m", "pip", "install", *lacking])
        optional = "" if needed else "optional; "
        return Row(label, "missing", f"{optional}not installed: {', '.join(lacking)}", fix, needed)
    return Row(label, "ok", ", ".join(f"{name} {version}" for name, version in found.items()), None, needed)


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _as_root(command: str) -> str:
    return command if os.geteuid() == 0 else f"sudo {command}"


def _elevated(facts: Facts) -> str:
    if facts.container or facts.user_namespace:
        names = [*_CAPABILITY_USE, "CAP_DAC_READ_SEARCH"]
        flags = " ".join(f"--cap-add {name.removeprefix('CAP_')}" for name in names)
        manager = facts.container if facts.container in ("docker", "podman") else "docker"
        return f"{manager} run {flags} -v /sys/kernel/tracing:/sys/kernel/tracing IMAGE"
    return shlex.join(["sudo", sys.executable, "-m", "ebpflab", "lab"])
