# What dead processes left attached is undone when the first object is opened.

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any

from ... import journal

# Which function undoes an entry of which kind, by name: it is imported when there is something to undo.
_UNDO = {
    "route": ("routes", "undo"),
    "tc": ("tc", "undo_tc"),
    "struct_ops": ("control", "undo_struct_ops"),
    "socket": ("sockets", "undo_socket"),
    "lirc": ("sockets", "undo_lirc"),
    "sockmap": ("sockmaps", "undo"),
}


@functools.cache
def reap() -> tuple[journal.Reaped, ...]:
    # Once in a process. What could not be undone is told and keeps nobody from starting.
    reaped = journal.reap({kind: functools.partial(_undo, *where) for kind, where in _UNDO.items()})
    warnings = [one.warning for one in reaped if one.warning]
    if warnings:
        import logging

        for warning in warnings:
            logging.getLogger("ebpflab").warning("%s", warning)
    return tuple(reaped)


def _undo(module: str, function: str, facts: dict[str, Any]) -> None:
    getattr(import_module(f".{module}", __package__), function)(facts)
