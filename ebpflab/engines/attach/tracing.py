# Tracing programs whose hook is a tracepoint, or was settled at load: a typed tracepoint, a function by a
# trampoline, an iterator.

from __future__ import annotations

import ctypes as ct
import errno
import os
import struct
from collections.abc import Callable
from contextlib import ExitStack

from ... import _libbpf
from ...errors import AttachError, KernelSupportError
from ...inspectors import functions
from ...inspectors.cgroups import explain_cgroup
from ...program_types import ATTACH_TYPES, is_pattern, tracepoint_target
from .base import Attachment, Request, each_of, failed, kernel_link, libbpf_link
from .cgroup import directory
from .perf import perf_link, process

# The iterators that each option is for.
_VISITED = {
    "map": ("bpf_map_elem", "bpf_sk_storage_map", "sockmap"),
    "pid": ("task", "task_file", "task_vma"),
    "cgroup": ("cgroup",),
}
_DESCENDANTS = 2  # BPF_CGROUP_ITER_DESCENDANTS_PRE: the cgroup, then those below it


def _tracepoint(request: Request) -> Attachment:
    place = request.target.place
    if not is_pattern(place):
        return _one(request, place)
    found = functions.matching_tracepoints(place)
    if not found:
        raise failed(errno.ENOENT)
    return each_of(lambda name: _one(request, name), found, place, "tracepoints")


def _one(request: Request, place: str) -> Attachment:
    category, event = tracepoint_target(place)
    attach = request.lib.bpf_program__attach_tracepoint
    return perf_link(request, attach(request.pointer, category.encode(), event.encode()))


def _raw_tracepoint(request: Request) -> Attachment:
    attach = request.lib.bpf_program__attach_raw_tracepoint
    return libbpf_link(request, attach(request.pointer, request.target.place.encode()))


def _by_section(request: Request) -> Attachment:
    # The hook was fixed when the program was loaded, and libbpf knows the way.
    return libbpf_link(request, request.lib.bpf_program__attach(request.pointer))


def _session(request: Request) -> Attachment:
    return kernel_link(request.fd, 0, ATTACH_TYPES[request.section.prefix])


def _iterator(request: Request) -> Attachment:
    try:
        with ExitStack() as held:
            info = ct.create_string_buffer(_iterated(request, held))
            size = len(info) - 1  # without the zero byte that ctypes adds
            options = _libbpf.IterOpts(ct.sizeof(_libbpf.IterOpts), ct.addressof(info) if size else None, size)
            return libbpf_link(request, request.lib.bpf_program__attach_iter(request.pointer, ct.byref(options)))
    except OSError as error:
        raise _explained(error, request) from None


def _iterated(request: Request, held: ExitStack) -> bytes:
    # union bpf_iter_link_info (include/uapi/linux/bpf.h): a map; the order, directory and id of a cgroup; or a
    # thread, a process and a pidfd. The link keeps what a descriptor stands for.
    place, options = request.target.place, request.target.options
    for option in options:
        if place not in _VISITED[option]:
            hint = f"{option}= is for iter/{', iter/'.join(_VISITED[option])}"
            raise AttachError(f"iter/{place} takes no {option}=", hint=hint)
    if "map" in options:
        return struct.pack("=I", _map(request, options["map"]))
    if "pid" in options:
        return struct.pack("=III", 0, process(request.target), 0)
    if place == "cgroup":
        fd = os.open(directory(options.get("cgroup", "/")), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        held.callback(os.close, fd)
        return struct.pack("=IIQ", _DESCENDANTS, fd, 0)
    return b""


def _map(request: Request, name: str) -> int:
    fd = request.map_fd(name)
    if fd is None:
        raise AttachError(f"map={name}: the cell has no map of that name", hint="name a map of the same cell")
    return fd


def _explained(error: OSError, request: Request) -> Exception:
    place, options, number = request.target.place, request.target.options, error.errno
    if place in _VISITED["map"] and number in (errno.EBADF, errno.EINVAL):
        if "map" not in options:
            what, hint = f"{request.name} visits a map", f"say which: --attach {request.name}={place},map=NAME"
            return AttachError(what, errno=number, hint=hint)
        hint = "iter/bpf_map_elem is for hashes and arrays; iter/sockmap and iter/bpf_sk_storage_map for sockets"
        return AttachError(f"iter/{place} cannot visit map {options['map']}", errno=number, hint=hint)
    if "pid" in options and number in (errno.E2BIG, errno.EINVAL):
        hint = "that takes Linux 6.1; compare task->tgid in the program"
        return KernelSupportError(f"this kernel cannot keep iter/{place} to one process", hint=hint, stage="attach")
    if place == "cgroup" and number == errno.ENOENT:
        return explain_cgroup(options.get("cgroup", "/")) or error
    return error


KINDS: dict[str, Callable[[Request], Attachment]] = {
    "tracepoint": _tracepoint,
    "raw_tracepoint": _raw_tracepoint,
    "tp_btf": _by_section,
    "fentry": _by_section,
    "fexit": _by_section,
    "fmod_ret": _by_section,
    "fsession": _session,
    "iter": _iterator,
}
