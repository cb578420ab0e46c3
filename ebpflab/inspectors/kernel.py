"""Read-only facts about the running kernel and this process, and what they say about a refusal.

Everything comes from files that any process may try to read; where one is unreadable, the answer is None
or "unknown" and never a guess. Only the standard library is used: ``make`` runs this before anything else.
"""

from __future__ import annotations

import errno
import functools
import gzip
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..program_types import PROGRAM_TYPES, ProgramType

if TYPE_CHECKING:
    from collections.abc import Iterator

# Bit numbers of include/uapi/linux/capability.h, in order from 0.
_CAPABILITY_WORDS = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
    SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
    AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
    PERFMON BPF CHECKPOINT_RESTORE
"""
CAPABILITIES = tuple(f"CAP_{word}" for word in _CAPABILITY_WORDS.split())

_NT_GNU_BUILD_ID = 3


@dataclass(frozen=True)
class Facts:
    """What matters to BPF about a kernel and a process; None stands for "could not be read".

    ``memlock`` is the soft limit in bytes (-1: unlimited), ``user_namespace`` is True in any user namespace
    but the machine's first, and ``capabilities`` are the effective ones, as names such as "CAP_BPF".
    """

    release: str = ""
    machine: str = ""
    build_id: str | None = None
    btf: Path | None = None
    btf_bytes: int = 0
    tracefs: Path | None = None
    tracefs_readable: bool | None = None
    bpffs: Path | None = None
    capabilities: frozenset[str] = frozenset()
    user_namespace: bool | None = None
    lockdown: str = "unknown"
    lsms: tuple[str, ...] | None = None
    unprivileged_bpf_disabled: int | None = None
    perf_event_paranoid: int | None = None
    bpf_jit_enable: int | None = None
    memlock: int | None = None
    seccomp: int | None = None
    container: str | None = None

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor number of the release, (0, 0) where it does not start with two numbers."""
        found = re.match(r"(\d+)\.(\d+)", self.release)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    def can(self, capability: str) -> bool:
        """Tell whether the process has this capability, or CAP_SYS_ADMIN where that includes it."""
        held = self.capabilities
        included = capability in ("CAP_BPF", "CAP_PERFMON") and "CAP_SYS_ADMIN" in held
        return capability in held or included


def facts(root: str | Path = "/") -> Facts:
    """Read all facts now.

    Parameters
    ----------
    root
        The folder that holds ``proc``, ``sys`` and ``run``; something else than "/" only in tests.

    Examples
    --------
    >>> facts().can("CAP_BPF")
    True
    """
    root = Path(root)
    status = _status(root)
    mounts = list(_mounts(root))
    tracefs = _tracefs(root, mounts)
    btf = root / "sys/kernel/btf/vmlinux"
    lsms = _text(root / "sys/kernel/security/lsm")
    return Facts(
        release=_text(root / "proc/sys/kernel/osrelease") or "",
        machine=os.uname().machine,
        build_id=build_id(_bytes(root / "sys/kernel/notes") or b""),
        btf=btf if btf.is_file() else None,
        btf_bytes=btf.stat().st_size if btf.is_file() else 0,
        tracefs=tracefs,
        tracefs_readable=_listable(tracefs / "events") if tracefs else None,
        bpffs=next((root / where.lstrip("/") for kind, where in mounts if kind == "bpf"), None),
        capabilities=capability_names(int(status.get("CapEff", "0"), 16)),
        user_namespace=_in_user_namespace(root),
        lockdown=_lockdown(root, lsms),
        lsms=tuple(lsms.split(",")) if lsms else None,
        unprivileged_bpf_disabled=_number(root / "proc/sys/kernel/unprivileged_bpf_disabled"),
        perf_event_paranoid=_number(root / "proc/sys/kernel/perf_event_paranoid"),
        bpf_jit_enable=_number(root / "proc/sys/net/core/bpf_jit_enable"),
        memlock=_memlock(root),
        seccomp=int(status["Seccomp"]) if "Seccomp" in status else None,
        container=_container(root),
    )


def tracefs_path() -> Path | None:
    """Return where tracefs is mounted (``/sys/kernel/tracing`` if it is there), or None."""
    return _tracefs(Path("/"), list(_mounts(Path("/"))))


def mount_points(filesystem: str) -> tuple[Path, ...]:
    """Return where a kind of filesystem ("cgroup2", "debugfs") is mounted, in the order of mounting."""
    return tuple(Path(where) for kind, where in _mounts(Path("/")) if kind == filesystem)


def capability_names(mask: int) -> frozenset[str]:
    """Return the names of the bits of a mask as ``/proc/PID/status`` gives it (capabilities(7))."""
    named = {name for bit, name in enumerate(CAPABILITIES) if mask >> bit & 1}
    unnamed = {f"CAP_{bit}" for bit in range(len(CAPABILITIES), mask.bit_length()) if mask >> bit & 1}
    return frozenset(named | unnamed)


def build_id(notes: bytes) -> str | None:
    """Return the GNU build id as hex digits from the bytes of ``/sys/kernel/notes``, or None.

    The file is a sequence of ELF notes (elf(5)): three 32-bit numbers in the machine's byte order, then the
    name and the description, each padded to 4 bytes.
    """
    for kind, name, description in elf_notes(notes):
        if kind == _NT_GNU_BUILD_ID and name == b"GNU":
            return description.hex()
    return None


def elf_notes(data: bytes, order: str = "=") -> Iterator[tuple[int, bytes, bytes]]:
    """Yield type, name and description of each whole ELF note in *data*; a cut-off one ends the walk.

    *order* is the byte order as :mod:`struct` has it, and by default this machine's.
    """
    at = 0
    while at + 12 <= len(data):
        name_size, size, kind = struct.unpack_from(f"{order}III", data, at)
        start = at + 12 + _padded(name_size)
        if start + size > len(data):
            return
        yield kind, data[at + 12 : at + 12 + name_size].rstrip(b"\0"), data[start : start + size]
        at = start + _padded(size)


@functools.lru_cache(maxsize=4)
def kernel_config(root: str | Path = "/") -> dict[str, str] | None:
    """Return the options that the kernel was built with, or None where it keeps them to itself.

    Only options that are set are in it: "CONFIG_BPF" -> "y".
    """
    root = Path(root)
    release = _text(root / "proc/sys/kernel/osrelease") or ""
    packed = _bytes(root / "proc/config.gz")
    places = (root / f"boot/config-{release}", root / f"lib/modules/{release}/config")
    text = gzip.decompress(packed).decode() if packed else next(filter(None, map(_text, places)), None)
    if text is None:
        return None
    options = (line.split("=", 1) for line in text.splitlines() if line.startswith("CONFIG_"))
    return {name: value.strip('"') for name, value in options}


def privilege_cause(number: int, action: str, known: Facts | None = None) -> str:
    """Return the most probable reason why the kernel answered EPERM or EACCES on this machine.

    EACCES while loading is also the verifier's answer to a bad program: ask here only if it left no log.

    Parameters
    ----------
    number
        The kernel's error number, positive.
    action
        "load" or "attach", and after a colon the kind of program, if known: "attach:tracepoint". What is loaded
        may also be a "map", or a "map of the network".
    known
        The facts to judge by; those of this process and moment if not given.

    Examples
    --------
    >>> privilege_cause(1, "load", Facts(release="6.1.0", capabilities=frozenset(["CAP_BPF"])))
    'the process lacks CAP_PERFMON'
    """
    now = facts() if known is None else known
    verb, _, kind = action.partition(":")
    refusal = _Refusal(number, verb, _TYPES.get(kind, ProgramType(kind, (), "")))
    return next(filter(None, (cause(now, refusal) for cause in _CAUSES)))


_TYPES = {row.kind: row for row in PROGRAM_TYPES} | {
    "map": ProgramType("map", (), "", capabilities=("CAP_BPF",)),
    "map of the network": ProgramType("map of the network", (), "", capabilities=("CAP_BPF", "CAP_NET_ADMIN")),
}
_TRAMPOLINES = {"fentry", "fexit", "fsession", "fmod_ret", "freplace", "lsm", "lsm_cgroup"}


@dataclass(frozen=True)
class _Refusal:
    number: int
    action: str
    type: ProgramType

    @property
    def traces(self) -> bool:
        return "CAP_PERFMON" in self.type.capabilities

    def missing(self, known: Facts) -> list[str]:
        needed = [c for c in self.type.capabilities if self.action != "load" or c != "CAP_SYS_ADMIN"]
        if known.version < (5, 8):  # which brought CAP_BPF and CAP_PERFMON
            needed = ["CAP_SYS_ADMIN" if c in ("CAP_BPF", "CAP_PERFMON") else c for c in needed]
        return [c for c in dict.fromkeys(needed) if not known.can(c)]


def _namespace_cause(known: Facts, refusal: _Refusal) -> str | None:
    if not known.user_namespace or refusal.missing(known):
        return None
    return "the capabilities hold only in the process's user namespace (a rootless container?), not outside it"


def _capability_cause(known: Facts, refusal: _Refusal) -> str | None:
    missing = refusal.missing(known)
    if not missing:
        return None
    more = []
    if "CAP_BPF" in missing and known.unprivileged_bpf_disabled:
        more.append(f"kernel.unprivileged_bpf_disabled is {known.unprivileged_bpf_disabled}")
    if "CAP_PERFMON" in missing and refusal.action == "attach" and known.perf_event_paranoid is not None:
        more.append(f"kernel.perf_event_paranoid is {known.perf_event_paranoid}")
    if known.container:
        more.append(f"this looks like a {known.container} container, which has to be started with them")
    return f"the process lacks {' and '.join(missing)}" + (f" ({'; '.join(more)})" if more else "")


def _memlock_cause(known: Facts, refusal: _Refusal) -> str | None:
    charged = known.version < (5, 11) and known.memlock not in (None, -1)
    if refusal.action != "load" or refusal.number != errno.EPERM or not charged:
        return None
    return f"RLIMIT_MEMLOCK is {known.memlock} bytes, to which kernels before 5.11 charge BPF memory (ulimit -l)"


def _lockdown_cause(known: Facts, refusal: _Refusal) -> str | None:
    if known.lockdown != "confidentiality" or refusal.number != errno.EPERM or not refusal.traces:
        return None
    return "the kernel is in lockdown mode confidentiality, which forbids tracing it (kernel_lockdown(7))"


def _tracefs_cause(known: Facts, refusal: _Refusal) -> str | None:
    needs_it = refusal.action == "attach" and "tracefs" in refusal.type.features
    if not needs_it or known.tracefs_readable is not False:
        return None
    way = "" if known.can("CAP_DAC_READ_SEARCH") else ", and the process lacks CAP_DAC_READ_SEARCH"
    return f"tracefs at {known.tracefs} may not be read{way}"


def _seccomp_cause(known: Facts, _refusal: _Refusal) -> str | None:
    if known.seccomp != 2:
        return None
    where = f" (of the {known.container} container)" if known.container else ""
    return f"a seccomp filter{where} stands between the process and bpf() or perf_event_open()"


def _trampoline_cause(_known: Facts, refusal: _Refusal) -> str | None:
    kind = refusal.type.kind
    if kind not in _TRAMPOLINES:
        return None
    return f"this kernel refuses BPF trampolines, which {kind} programs attach by; tp_btf and raw_tp do without"


def _selinux_cause(known: Facts, refusal: _Refusal) -> str | None:
    if refusal.number != errno.EACCES or "selinux" not in (known.lsms or ()):
        return None
    return "SELinux's policy refuses it (ausearch -m avc tells)"


def _unknown_cause(known: Facts, refusal: _Refusal) -> str:
    modules = f"; security modules: {', '.join(known.lsms)}" if known.lsms else ""
    name = errno.errorcode.get(refusal.number, str(refusal.number))
    return f"the kernel answered {name} although the process has the capabilities that usually suffice{modules}"


# In order of probability: what explains the refusal for certain comes before what only might.
_CAUSES = (
    _capability_cause,
    _namespace_cause,
    _memlock_cause,
    _lockdown_cause,
    _tracefs_cause,
    _seccomp_cause,
    _trampoline_cause,
    _selinux_cause,
    _unknown_cause,
)


def _padded(size: int) -> int:
    return (size + 3) & ~3


def _bytes(path: Path) -> bytes | None:
    # A file that is absent or forbidden is a fact that is not known, not an error.
    try:
        return path.read_bytes()
    except OSError:
        return None


def _text(path: Path) -> str | None:
    data = _bytes(path)
    return None if data is None else data.decode(errors="replace").strip()


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text and re.fullmatch(r"-?\d+", text) else None


def _status(root: Path) -> dict[str, str]:
    lines = (_text(root / "proc/self/status") or "").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _mounts(root: Path) -> Iterator[tuple[str, str]]:
    for line in (_text(root / "proc/self/mounts") or "").splitlines():
        fields = line.split(" ")
        if len(fields) > 2:
            # Blanks in a path are written as octal escapes (fstab(5)).
            yield fields[2], re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[1])


def _tracefs(root: Path, mounts: list[tuple[str, str]]) -> Path | None:
    found = [where for kind, where in mounts if kind == "tracefs"]
    # The kernel mounts tracefs inside debugfs at the first look into it.
    found += [f"{where}/tracing" for kind, where in mounts if kind == "debugfs"]
    found.sort(key=lambda where: where != "/sys/kernel/tracing")
    return root / found[0].lstrip("/") if found else None


def _listable(folder: Path) -> bool:
    try:
        with os.scandir(folder):
            return True
    except OSError:
        return False


def _in_user_namespace(root: Path) -> bool | None:
    # The first user namespace maps every id to itself (user_namespaces(7)).
    text = _text(root / "proc/self/uid_map")
    return None if text is None else text.split() != ["0", "0", "4294967295"]


def _lockdown(root: Path, lsms: str | None) -> str:
    # The file reads "none [integrity] confidentiality", and the brackets mark the mode.
    text = _text(root / "sys/kernel/security/lockdown")
    chosen = re.search(r"\[(\w+)\]", text or "")
    if chosen:
        return chosen[1]
    if lsms is not None:
        return "unknown" if "lockdown" in lsms.split(",") else "none"
    # securityfs is not mounted; a kernel built without the module cannot be locked down all the same.
    config = kernel_config(root)
    return "unknown" if config is None or "CONFIG_SECURITY_LOCKDOWN_LSM" in config else "none"


def _memlock(root: Path) -> int | None:
    found = re.search(r"^Max locked memory\s+(\w+)", _text(root / "proc/self/limits") or "", re.MULTILINE)
    if found is None:
        return None
    return -1 if found[1] == "unlimited" else int(found[1])


def _container(root: Path) -> str | None:
    # Hints that container managers leave; there is no sure sign.
    for path, name in ((".dockerenv", "docker"), ("run/.containerenv", "podman")):
        if os.access(root / path, os.F_OK):
            return name
    named = _text(root / "run/systemd/container")
    if named:
        return named
    found = re.search(r"docker|kubepods|lxc|containerd|libpod", _text(root / "proc/1/cgroup") or "")
    return found[0] if found else None
