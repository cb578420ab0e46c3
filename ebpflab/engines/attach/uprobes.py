# Functions of programs and libraries: uprobes one by one or many at once, and USDT probes.

from __future__ import annotations

import ctypes as ct
import errno
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ... import _libbpf
from ...errors import AttachError
from ...inspectors import binaries, functions
from ...program_types import ATTACH_TYPES, UprobeTarget, is_pattern, uprobe_target, usdt_target
from .base import Attachment, Request, counted, each_of, failed, kernel_link, libbpf_link
from .perf import perf_link, process

_RETURN = 1  # BPF_F_UPROBE_MULTI_RETURN


def _uprobe(request: Request) -> Attachment:
    place = uprobe_target(request.target.place, returns=request.section.kind == "uretprobe")
    if place.function is None or not is_pattern(place.function):
        return _one(request, place)
    # One link for each function, as BCC does it: kernels older than uprobe.multi have no other way.
    path, found = _found(place)
    places = (UprobeTarget(str(path), None, offset) for offset in found)
    return each_of(lambda each: _one(request, each), places, str(request.target))


def _one(request: Request, place: UprobeTarget) -> Attachment:
    returns = request.section.kind == "uretprobe"
    options = _libbpf.UprobeOpts(sz=ct.sizeof(_libbpf.UprobeOpts), retprobe=returns)
    options.func_name = place.function.encode() if place.function else None
    attach, pid = request.lib.bpf_program__attach_uprobe_opts, process(request.target)
    path = _file(place.path).encode()
    return perf_link(request, attach(request.pointer, pid, path, place.offset, ct.byref(options)))


def _file(path: str) -> str:
    # Two slashes at the start, as in SEC("uprobe//bin/bash:readline"), are one to the kernel.
    return str(Path(path)) if path.startswith("/") else path


def _multi(request: Request) -> Attachment:
    returns = request.section.prefix.startswith("uretprobe")
    place = uprobe_target(request.target.place, returns=returns)
    path, found = _found(place)
    offsets = (ct.c_uint64 * len(found))(*found)
    name = ct.create_string_buffer(os.fsencode(path.resolve()))
    flags, pid = _RETURN if returns else 0, process(request.target)
    # link_create.uprobe_multi: path, offsets, ref_ctr_offsets, cookies, cnt, flags, pid (include/uapi/linux/bpf.h).
    more = struct.pack("=QQQQIII", ct.addressof(name), ct.addressof(offsets), 0, 0, len(found), flags, max(pid, 0))
    shown = counted(str(request.target), len(found))
    return kernel_link(request.fd, 0, ATTACH_TYPES[request.section.prefix], more=more, place=shown)


def _found(place: UprobeTarget) -> tuple[Path, list[int]]:
    path = binaries.resolve_binary(place.path)
    found = _offsets(path, place) if path else []
    if not path or not found:
        raise failed(errno.ENOENT)
    return path, found


def _offsets(path: Path, place: UprobeTarget) -> list[int]:
    # Several names of one function are one place, where the program shall run once.
    if place.function is None:
        return [place.offset]
    names = frozenset(functions.matching(place.function, binaries.function_names(path)))
    return sorted({offset + place.offset for offset in binaries.function_offsets(path, names)})


def _usdt(request: Request) -> Attachment:
    path, provider, name = usdt_target(request.target.place)
    attach, pid = request.lib.bpf_program__attach_usdt, process(request.target)
    try:
        link = attach(request.pointer, pid, _file(path).encode(), provider.encode(), name.encode(), None)
        # It stands for many links in libbpf, and has no descriptor though libbpf gives a number.
        return replace(libbpf_link(request, link), fd=None)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP or pid > 0:
            raise
        hint = "give the process: pid=1234; or use Linux 5.15 or later"
        raise AttachError(f"this kernel takes USDT probes of {path} only for one process", hint=hint) from None


KINDS: dict[str, Callable[[Request], Attachment]] = {
    "uprobe": _uprobe,
    "uretprobe": _uprobe,
    "uprobe.multi": _multi,
    "uprobe.session": _multi,
    "usdt": _usdt,
}
