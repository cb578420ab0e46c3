"""Network interfaces and network namespaces, by name.

Interfaces are those of the network namespace that the calling thread is in (network_namespaces(7)), asked
for by if_nameindex(3): ``/sys/class/net`` shows the namespace in which sysfs was mounted instead.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import HookNotFoundError
from ..program_types import route_target
from ..similar import nearest
from .missing import absent, no_such

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMED = Path("/run/netns")  # where ip-netns(8) keeps its names
_DEVICES = Path("/sys/class/net")


def interfaces() -> tuple[str, ...]:
    """Return the names of the interfaces of this thread's network namespace, in the kernel's order.

    Examples
    --------
    >>> interfaces()
    ('lo', 'eth0')
    """
    return tuple(name for _, name in socket.if_nameindex())


def namespaces() -> tuple[str, ...]:
    """Return the names that ip-netns(8) has given to network namespaces, sorted."""
    return tuple(sorted(path.name for path in _NAMED.iterdir())) if _NAMED.is_dir() else ()


def namespace_path(text: str) -> Path:
    """Return the file of a network namespace, whether it exists or not.

    Parameters
    ----------
    text
        "self", a path, a name of ip-netns(8), or the id of a process that is in it.

    Examples
    --------
    >>> namespace_path("blue")
    PosixPath('/run/netns/blue')
    """
    if text == "self":
        return Path("/proc/thread-self/ns/net")
    if "/" in text:
        return Path(text)
    named = _NAMED / text
    return Path(f"/proc/{text}/ns/net") if text.isdigit() and not named.exists() else named


def explain_namespace(text: str) -> HookNotFoundError | None:
    """Tell why there is no such network namespace, or return None if there is."""
    path = namespace_path(text)
    if path.exists():
        return None
    if path.parent == _NAMED:
        hint = "no network namespace has a name: give a path, or the id of a process that is in it"
        return no_such("network namespace", path.name, namespaces(), hint)
    what = f"there is no process {text}" if text.isdigit() else f"there is no network namespace at {text}"
    return HookNotFoundError(what, nearest=namespaces(), hint="`ip netns` lists those that have a name")


def explain_interface(name: str) -> HookNotFoundError | None:
    """Tell that this thread's network namespace has no such interface, or return None if it has."""
    error = absent("network interface", name, frozenset(interfaces()))
    if error and not error.nearest:
        error.hint = f"{error.hint}; netns=... looks in another network namespace"
    return error


def netkits() -> tuple[str, ...]:
    """Return those interfaces that are netkit devices, as far as sysfs shows them."""
    return tuple(name for name in interfaces() if "DEVTYPE=netkit" in _device(name))


def explain_netkit(name: str) -> HookNotFoundError | None:
    """Tell that there is no such netkit device, or return None if there is, or if that cannot be seen."""
    device = _device(name)
    if not device or "DEVTYPE=netkit" in device:
        return explain_interface(name)
    hint = f'`ip link add type netkit` makes a pair of them; for {name}, write SEC("tc")'
    return HookNotFoundError(f"{name} is no netkit device", nearest=netkits(), hint=hint)


def explain_route(route: str) -> HookNotFoundError | None:
    """Tell that the interface which a route names is missing, as in ``10.9.9.0/24 dev eht0``.

    Raises
    ------
    AttachError
        It is no route.
    """
    device = route_target(route).dev
    return explain_interface(device) if device else None


def explain_socket(target: str) -> HookNotFoundError | None:
    """Tell why ``fd:FD`` or ``pid:PID:FD`` is no socket; anything else has to be an interface."""
    parts = re.fullmatch(r"(?:pid:(\d+):|fd:)(\d+)", target)
    if parts is None:
        if not re.match(r"(fd|pid):", target):
            return explain_interface(target)
        hint = "write fd:FD for a socket of this process, pid:PID:FD for one of another"
        return HookNotFoundError(f"{target!r} names no socket", hint=hint)
    process, number = parts[1] or "self", parts[2]
    if not Path(f"/proc/{process}").exists():
        return HookNotFoundError(f"there is no process {process}", hint="pid:PID:FD names a process and its file")
    sockets = [fd for fd, name in _open_files(process) if name.startswith("socket:")]
    if number in sockets or not os.access(f"/proc/{process}/fd", os.R_OK, effective_ids=True):
        return None
    listed = f"its sockets: {', '.join(sockets[:12])}" if sockets else "no socket of it can be seen"
    what = f"file descriptor {number} of {f'process {process}' if parts[1] else 'this process'} is no socket"
    return HookNotFoundError(what, nearest=nearest(number, sockets), hint=listed)


def _device(name: str) -> str:
    try:
        return (_DEVICES / name / "uevent").read_text()
    except OSError:
        return ""


def _open_files(process: str) -> Iterator[tuple[str, str]]:
    # Files are closed while we look, and those of another user's process are not shown.
    with contextlib.suppress(OSError):
        for entry in sorted(Path(f"/proc/{process}/fd").iterdir(), key=lambda entry: int(entry.name)):
            with contextlib.suppress(FileNotFoundError):
                yield entry.name, str(entry.readlink())
