# Tracing programs: tracepoints, functions of the kernel and of binaries, perf events, iterators.

from __future__ import annotations

import ctypes as ct
from collections.abc import Callable
from pathlib import Path

from ... import _libbpf
from ...program_types import tracepoint_target, uprobe_target
from .base import Attachment, Request, libbpf_link


def _tracepoint(request: Request) -> Attachment:
    category, event = tracepoint_target(request.target.place)
    attach = request.lib.bpf_program__attach_tracepoint
    return libbpf_link(request, attach(request.pointer, category.encode(), event.encode()))


def _raw_tracepoint(request: Request) -> Attachment:
    attach = request.lib.bpf_program__attach_raw_tracepoint
    return libbpf_link(request, attach(request.pointer, request.target.place.encode()))


def _by_section(request: Request) -> Attachment:
    # The hook was fixed when the program was loaded, and libbpf knows the way.
    return libbpf_link(request, request.lib.bpf_program__attach(request.pointer))


def _uprobe(request: Request) -> Attachment:
    place = uprobe_target(request.target.place)
    options = _libbpf.UprobeOpts(sz=ct.sizeof(_libbpf.UprobeOpts), retprobe=request.section.kind == "uretprobe")
    options.func_name = place.function.encode() if place.function else None
    path = str(Path(place.path)) if place.path.startswith("/") else place.path
    attach = request.lib.bpf_program__attach_uprobe_opts
    pid = request.target.number("pid", -1)
    return libbpf_link(request, attach(request.pointer, pid, path.encode(), place.offset, ct.byref(options)))


KINDS: dict[str, Callable[[Request], Attachment]] = {
    "tracepoint": _tracepoint,
    "raw_tracepoint": _raw_tracepoint,
    "tp_btf": _by_section,
    "iter": _by_section,
    "uprobe": _uprobe,
    "uretprobe": _uprobe,
}
