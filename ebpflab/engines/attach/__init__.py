# How each kind of program gets to its hook: one function a kind, from a Request to an Attachment. A function
# raises OSError with the kernel's number, which the engine explains, or an AttachError of its own.

from __future__ import annotations

from collections.abc import Callable

from . import cgroup, control, kprobes, network, perf, routes, sockets, tracing, uprobes
from .base import Attachment, Request

ATTACH: dict[str, Callable[[Request], Attachment]] = {
    **tracing.KINDS,
    **kprobes.KINDS,
    **uprobes.KINDS,
    **perf.KINDS,
    **network.KINDS,
    **routes.KINDS,
    **sockets.KINDS,
    **cgroup.KINDS,
    **control.KINDS,
}

__all__ = ["ATTACH", "Attachment", "Request"]
