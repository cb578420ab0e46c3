# Which programs are at the place that one could not be attached to.
#
# The place itself is asked, by BPF_PROG_QUERY or PERF_EVENT_IOC_QUERY_BPF: programs without a link, as of
# `bpftool cgroup attach` and of older perf events, count as well.

from __future__ import annotations

import ctypes as ct
import fcntl
import os
import struct
from collections.abc import Callable

from .. import _syscalls
from ..inspectors.kernel import tracefs_path
from ..program_types import BY_KIND, tracepoint_target
from ._attached import query
from .attach.base import Request
from .attach.cgroup import directory
from .attach.netns import in_netns, interface_index, open_netns
from .attach.perf import EventAttributes

_TRACEPOINT = 2  # PERF_TYPE_TRACEPOINT, include/uapi/linux/perf_event.h
_QUERY_BPF = 0xC008240A  # PERF_EVENT_IOC_QUERY_BPF: _IOWR('$', 10, a pointer)
_MOST = 64  # programs of one tracepoint: BPF_TRACE_MAX_PROGS, and to ask for more is an error
_TCX = {"ingress": 46, "egress": 47}  # enum bpf_attach_type, include/uapi/linux/bpf.h
_NETNS = {"flow_dissector": 17, "sk_lookup": 36}


def programs(request: Request) -> list[int]:
    # Their ids; none where the kernel does not tell, or not us.
    ask = _PLACES.get(request.section.kind)
    try:
        return ask(request) if ask else []
    except OSError:
        return []


def _of_interface(request: Request) -> list[int]:
    _, _, said = request.section.prefix.partition("/")
    direction = request.target.options.get("direction", said or "ingress")
    with in_netns(request.target.options.get("netns")):
        return query(request.lib, interface_index(request.target.place), _TCX[direction])[0]


def _of_netns(request: Request) -> list[int]:
    fd = open_netns(request.target.place)
    try:
        return query(request.lib, fd, _NETNS[request.section.kind])[0]
    finally:
        os.close(fd)


def _of_cgroup(request: Request) -> list[int]:
    attach_type = request.lib.bpf_program__expected_attach_type(request.pointer)
    if request.section.prefix == "cgroup/skb":  # which leaves the direction open
        attach_type = int(request.target.options.get("direction") == "egress")
    fd = os.open(directory(request.target.place), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return query(request.lib, fd, attach_type)[0]
    finally:
        os.close(fd)


def _of_tracepoint(request: Request) -> list[int]:
    # Any event of a tracepoint knows the programs of all (perf_event_query_prog_array() in kernel/trace/bpf_trace.c).
    tracefs = tracefs_path()
    if tracefs is None:
        return []
    number = int((tracefs / "events" / "/".join(tracepoint_target(request.target.place)) / "id").read_text())
    fd = _syscalls.perf_event_open(EventAttributes(_TRACEPOINT, ct.sizeof(EventAttributes), number, 1), -1, 0)
    try:
        # struct perf_event_query_bpf: how many there is room for, how many there are, and the ids.
        answer = bytearray(struct.pack("=II", _MOST, 0) + bytes(4 * _MOST))
        fcntl.ioctl(fd, _QUERY_BPF, answer)
    finally:
        os.close(fd)
    count = struct.unpack_from("=I", answer, 4)[0]
    return list(struct.unpack_from(f"={count}I", answer, 8))


_PLACES: dict[str, Callable[[Request], list[int]]] = {
    "tc": _of_interface,
    "tracepoint": _of_tracepoint,
    **dict.fromkeys(_NETNS, _of_netns),
    **{kind: _of_cgroup for kind, row in BY_KIND.items() if row.target == "CGROUP"},
}
