# tc programs: a tcx link where the kernel has it (since 6.6), else a filter of the qdisc clsact. The kernel keeps a
# filter when we are killed, so it is journalled. The qdisc is everybody's: it is removed only if ebpflab made it
# and no filter is left.

from __future__ import annotations

import ctypes as ct
import errno
import os
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ... import _libbpf, journal
from ...errors import AttachError
from ...program_types import Target
from . import rtnetlink
from .base import Attachment, Request, failed, kernel_link
from .netns import entered, in_netns, interface_index, open_netns
from .netns_search import in_namespace

_TCX = {"ingress": 46, "egress": 47}  # enum bpf_attach_type, include/uapi/linux/bpf.h
_POINT = {"ingress": 1, "egress": 2}  # enum bpf_tc_attach_point, libbpf.h
_CLSACT = 0xFFFFFFF1  # TC_H_CLSACT, include/uapi/linux/pkt_sched.h
_PARENT = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}  # TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS or _EGRESS)
_GET_QDISC, _GET_FILTER = 38, 46  # RTM_GETQDISC, RTM_GETTFILTER, include/uapi/linux/rtnetlink.h
_MESSAGE = struct.Struct("=B3xiIII")  # struct tcmsg: family, interface, handle, parent, info
_FIRST, _LOWEST = 0xC000, 0xFFFF  # priorities: the one that the kernel starts with, and the last there is
_GONE = (errno.ENOENT, errno.ENODEV)
_KIND, _OPTIONS = 1, 2  # TCA_KIND, TCA_OPTIONS, include/uapi/linux/rtnetlink.h
_BPF_TAG, _BPF_ID = 10, 11  # TCA_BPF_TAG, TCA_BPF_ID, include/uapi/linux/pkt_cls.h

_changing = threading.Lock()  # of the qdisc: nobody may find it just before another takes it away


class Filter(NamedTuple):
    # A filter as the kernel lists it; `program` is 0 for those that are no BPF program.
    priority: int
    handle: int
    program: int
    tag: str


def attach(request: Request) -> Attachment:
    direction = _direction(request)
    target = request.target
    with in_netns(target.options.get("netns")):
        index = interface_index(target.place)
        if "priority" not in target.options:
            try:
                return kernel_link(request.fd, index, _TCX[direction], place=_shown(target, direction=direction))
            except OSError as error:
                if error.errno != errno.EINVAL:  # which is what a kernel without tcx says
                    raise
        return _filter(request, index, direction)


def undo_tc(facts: Mapping[str, Any]) -> None:
    # Remove a filter that a dead process left, and the qdisc if it made it and nobody uses it. Raises OSError.
    with in_namespace(facts["netns"], facts["path"]) as found:
        if found:
            _remove(_libbpf.library(), facts)


def filters(index: int, direction: str) -> Iterator[Filter]:
    # Every filter of an interface; a chain of filters that has none yet is listed with handle 0.
    for payload in rtnetlink.request(_GET_FILTER, _MESSAGE.pack(0, index, 0, _PARENT[direction], 0), rtnetlink.DUMP):
        *_, handle, _parent, info = _MESSAGE.unpack_from(payload)
        found = rtnetlink.attributes(payload[_MESSAGE.size :])
        bpf = rtnetlink.attributes(found.get(_OPTIONS, b"")) if found.get(_KIND) == b"bpf\0" else {}
        program = int.from_bytes(bpf.get(_BPF_ID, b""), "little")
        yield Filter(info >> 16, handle, program, bpf.get(_BPF_TAG, b"").hex())


def _direction(request: Request) -> str:
    _, _, said = request.section.prefix.partition("/")
    direction = request.target.options.get("direction", said or "ingress")
    if direction not in _TCX:
        raise AttachError(f"{direction!r} is no direction", hint="direction=ingress or direction=egress")
    if said and direction != said:
        raise AttachError(
            f'{request.name} is of SEC("{request.section.prefix}") and cannot be attached to {direction}',
            hint='SEC("tc") takes either direction',
        )
    return direction


def _shown(target: Target, **more: str) -> str:
    return str(Target(target.place, {**target.options, **more}))


def _filter(request: Request, index: int, direction: str) -> Attachment:
    netns = open_netns("self")  # it may be asked for when no process is in it
    try:
        with _changing:
            facts = _facts(request, index, direction, os.fstat(netns).st_ino)
            entry = journal.record("tc", **facts)
            try:
                _create(request, entry)
            except BaseException:
                _remove(request.lib, entry.facts)
                entry.done()
                raise
    except BaseException:
        os.close(netns)
        raise
    place = _shown(request.target, direction=direction, priority=str(facts["priority"]))
    return Attachment(None, lambda: _close(request.lib, netns, entry), place)


def _close(lib: ct.CDLL, netns: int, entry: journal.Entry) -> None:
    try:
        if entry.ours:  # a forked child leaves its parent's filter alone
            with _changing, entered(netns):
                _remove(lib, entry.facts)
            entry.done()
    except OSError as error:
        raise AttachError(
            f"the filter of {entry.facts['interface']} cannot be removed: {error.strerror}",
            errno=error.errno,
            hint=f"`tc filter show dev {entry.facts['interface']} {entry.facts['direction']}` lists it; the next start "
            "tries again",
        ) from error
    finally:
        os.close(netns)


def _facts(request: Request, index: int, direction: str, netns: int) -> dict[str, Any]:
    # All that tells the filter from any other, before it is there.
    listed = list(filters(index, direction))
    # After all others, as the next tcx program is; the kernel would put it before them.
    last = max((found.priority + 1 for found in listed), default=_FIRST)
    priority = request.target.number("priority", min(last, _LOWEST))
    if not 1 <= priority <= _LOWEST:
        raise AttachError(f"a filter cannot have priority={priority}", hint=f"write a number from 1 to {_LOWEST}")
    info, size = _libbpf.ProgInfo(), ct.c_uint32(ct.sizeof(_libbpf.ProgInfo))
    _check(request.lib.bpf_obj_get_info_by_fd(request.fd, ct.byref(info), ct.byref(size)))
    path = request.target.options.get("netns", "")
    return {
        "netns": netns,
        "path": str(Path(path).absolute()) if "/" in path else "",
        "interface": request.target.place,
        "ifindex": index,
        "direction": direction,
        "priority": priority,
        "handle": max((found.handle for found in listed if found.priority == priority), default=0) + 1,
        "prog_id": info.id,
        "tag": bytes(info.tag).hex(),
        "qdisc": not _qdisc(index) or _is_ours(index, netns),
    }


def _create(request: Request, entry: journal.Entry) -> None:
    facts, hook = entry.facts, _hook(entry.facts)
    there = _qdisc(facts["ifindex"])
    if not there:
        status = request.lib.bpf_tc_hook_create(ct.byref(hook))
        if status == -errno.EEXIST:  # somebody was quicker
            entry.update(qdisc=False)
        else:
            _check(status)
    elif there != "clsact" and facts["direction"] == "egress":  # the kernel would run the program on ingress
        name = facts["interface"]
        hint = f"`tc qdisc del dev {name} {there}` removes it, with its filters; the qdisc clsact has both directions"
        raise AttachError(f"{name} has the qdisc {there}, which has no egress", hint=hint)
    which = _which(facts)
    which.prog_fd = request.fd
    _check(request.lib.bpf_tc_attach(ct.byref(hook), ct.byref(which)))


def _remove(lib: ct.CDLL, facts: Mapping[str, Any]) -> None:
    # What the facts tell of, as far as it is still there, in the namespace that this thread is in.
    index, hook = facts["ifindex"], _hook(facts)
    wanted = Filter(facts["priority"], facts["handle"], facts["prog_id"], facts["tag"])
    if wanted in filters(index, facts["direction"]):
        _check(lib.bpf_tc_detach(ct.byref(hook), ct.byref(_which(facts))), *_GONE)
    if facts["qdisc"] and _qdisc(index) == "clsact" and not any(any(filters(index, way)) for way in _PARENT):
        hook.attach_point = _POINT["ingress"] | _POINT["egress"]
        _check(lib.bpf_tc_hook_destroy(ct.byref(hook)), *_GONE)


def _which(facts: Mapping[str, Any]) -> _libbpf.TcOpts:
    return _libbpf.TcOpts(sz=ct.sizeof(_libbpf.TcOpts), handle=facts["handle"], priority=facts["priority"])


def _hook(facts: Mapping[str, Any]) -> _libbpf.TcHook:
    point = _POINT[facts["direction"]]
    return _libbpf.TcHook(sz=ct.sizeof(_libbpf.TcHook), ifindex=facts["ifindex"], attach_point=point)


def _qdisc(index: int) -> str:
    # The kind of qdisc that filters of both directions go to: "clsact", or "ingress", which takes one only; or "".
    for payload in rtnetlink.request(_GET_QDISC, _MESSAGE.pack(0, index, 0, 0, 0), rtnetlink.DUMP):
        _, interface, _, parent, _ = _MESSAGE.unpack_from(payload)
        if (interface, parent) == (index, _CLSACT):
            return rtnetlink.attributes(payload[_MESSAGE.size :])[_KIND].rstrip(b"\0").decode()
    return ""


def _is_ours(index: int, netns: int) -> bool:
    # Whether a session made the qdisc, this process's or another's: whoever leaves last takes it away.
    told = [entry.facts for entry in journal.entries() if entry.kind == "tc"]
    return any(facts["qdisc"] for facts in told if (facts["ifindex"], facts["netns"]) == (index, netns))


def _check(status: int, *harmless: int) -> None:
    if status and -status not in harmless:
        raise failed(status)
