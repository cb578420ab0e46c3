# Programs of a cgroup: sockets, packets, devices, sysctls and socket options of its processes, and of those in the
# cgroups below it. All by links.
#
# A cgroup is a directory of cgroup2 (Documentation/admin-guide/cgroup-v2.rst). Where that is mounted, and what else
# is, stands in /proc/self/mountinfo (proc(5)).

from __future__ import annotations

import ctypes as ct
import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ...errors import AttachError, HookNotFoundError
from ...inspectors.cgroups import cgroup2_mount
from ...program_types import Target
from .._attached import query, shown
from .base import Attachment, Request, failed, kernel_link

_DIRECTIONS = {"ingress": 0, "egress": 1}  # BPF_CGROUP_INET_INGRESS, _EGRESS, include/uapi/linux/bpf.h
_OVERRIDE, _MULTI = 1 << 0, 1 << 1  # BPF_F_ALLOW_OVERRIDE, BPF_F_ALLOW_MULTI; a link has the latter


class Mount(NamedTuple):
    # A mounted filesystem: its device number as stat(2) gives it, which of its directories is mounted, and where.
    device: int
    root: str
    point: str
    type: str


def mounts(mountinfo: str) -> list[Mount]:
    # Space, tab, newline and backslash are octal in paths. Optional fields end at a lone hyphen.
    found = []
    for line in mountinfo.splitlines():
        _, _, device, root, point, *rest = line.split(" ")
        major, minor = map(int, device.split(":"))
        kind = rest[rest.index("-") + 1]
        found.append(Mount(os.makedev(major, minor), _plain(root), _plain(point), kind))
    return found


def _plain(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def below(mounted: list[Mount], cgroup: str) -> Path | None:
    # The directory of a cgroup that is named from the hierarchy's root, as in /proc/PID/cgroup; None if that is
    # outside of what is mounted, as it may be in a container.
    for mount in mounted:
        root = mount.root.rstrip("/")
        if mount.type == "cgroup2" and f"{cgroup}/".startswith(f"{root}/"):
            return Path(mount.point) / cgroup[len(root) :].lstrip("/")
    return None


def directory(place: str) -> Path:
    # The directory that a target means: a path in a mount of cgroup2, a name from its root, or where a process is.
    # Raises OSError when there is none, AttachError when it is something else, KernelSupportError without cgroup2.
    first = cgroup2_mount()
    mounted = mounts(Path("/proc/self/mountinfo").read_text())
    points = [mount.point for mount in mounted if mount.type == "cgroup2"]
    process = re.fullmatch(r"self|pid:(\d+)", place)
    if process:
        return _of_process(mounted, process[1] or "self")
    named = [Path(point, place.strip("/")) for point in points]
    there = [path for path in ([Path(place), *named] if place.startswith("/") else named) if path.is_dir()]
    types = {mount.device: mount.type for mount in mounted}
    for path in there:
        if types.get(path.stat().st_dev) == "cgroup2":
            return path
    raise _no_cgroup(there[0], types, first) if there else failed(errno.ENOENT)


def _of_process(mounted: list[Mount], pid: str) -> Path:
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        raise HookNotFoundError(f"there is no process {pid}") from None
    # cgroup2's hierarchy has the number 0 (cgroups(7)).
    cgroup = next(line.removeprefix("0::") for line in text.splitlines() if line.startswith("0::"))
    path = below(mounted, cgroup)
    if path is None or not path.is_dir():
        hint = "give a directory below a mount of cgroup2"
        raise AttachError(f"process {pid} is in cgroup {cgroup}, which is not mounted here", hint=hint)
    return path


def _no_cgroup(path: Path, types: dict[int, str], point: Path) -> AttachError:
    old = types.get(path.stat().st_dev) == "cgroup"
    what = "is a cgroup of version 1, which takes no programs" if old else "is a directory, but no cgroup"
    return AttachError(f"{path} {what}", hint=f"cgroup2 is mounted at {point}: give a directory below it")


def _attach(request: Request) -> Attachment:
    return _link(request, request.lib.bpf_program__expected_attach_type(request.pointer))


def _packets(request: Request) -> Attachment:
    # SEC("cgroup/skb") leaves the direction open, and the kernel takes either for it.
    options = request.target.options
    direction = options.get("direction", "ingress")
    if direction not in _DIRECTIONS:
        raise AttachError(f"direction={direction} is neither ingress nor egress", hint="write direction=egress")
    if request.section.prefix == "cgroup/skb":
        return _link(request, _DIRECTIONS[direction])
    if options and not request.section.prefix.endswith(direction):
        what = f'{request.name}: SEC("{request.section.prefix}") says another direction than {direction}'
        raise AttachError(what, hint='write SEC("cgroup/skb") to choose when attaching')
    return _attach(request)


def _link(request: Request, attach_type: int) -> Attachment:
    path = directory(request.target.place)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return kernel_link(request.fd, fd, attach_type, place=str(Target(str(path), request.target.options)))
    except PermissionError:
        level, there = _exclusive(request.lib, path, attach_type)
        if level is None:
            raise
        listed = "; ".join(shown(request.lib, number) for number in there)
        what = f"{request.name}: {level} has a program that was attached as its only one: {listed}"
        hint = f"detach it first: bpftool cgroup show {level} lists it, and bpftool cgroup detach takes it off"
        raise AttachError(what, errno=errno.EPERM, hint=hint) from None
    finally:
        os.close(fd)


def _exclusive(lib: ct.CDLL, path: Path, attach_type: int) -> tuple[Path | None, list[int]]:
    # The cgroup and its program that, attached without a link, forbids others: itself, or one above that does not let
    # those below override it (hierarchy_allows_attach() in kernel/bpf/cgroup.c).
    device = path.stat().st_dev
    for level in (path, *path.parents):
        if level.stat().st_dev != device:
            break
        there, flags = _query(lib, level, attach_type)
        if there:
            return (None if flags & (_MULTI if level == path else _MULTI | _OVERRIDE) else level), there
    return None, []


def _query(lib: ct.CDLL, path: Path, attach_type: int) -> tuple[list[int], int]:
    # The programs that a cgroup itself has, and the flags that they were attached with.
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return query(lib, fd, attach_type)
    finally:
        os.close(fd)


KINDS: dict[str, Callable[[Request], Attachment]] = {
    "cgroup_skb": _packets,
    "cgroup_sock": _attach,
    "cgroup_sock_addr": _attach,
    "cgroup_sysctl": _attach,
    "cgroup_sockopt": _attach,
    "cgroup_device": _attach,
    "sockops": _attach,
    "lsm_cgroup": _attach,
}
