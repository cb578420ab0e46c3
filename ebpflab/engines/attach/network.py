# Programs of the network stack: at an interface, at a netfilter hook, in the flow dissector.

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Callable

from ...errors import AttachError
from ...program_types import ATTACH_TYPES, netfilter_target
from .._attached import linked, query, shown, way_out
from . import tc, xdp
from .base import Attachment, Request, kernel_link
from .netns import in_netns, interface_index, open_netns

_FLOW_DISSECTOR, _NETFILTER = 17, 45  # enum bpf_attach_type, include/uapi/linux/bpf.h
_DEFRAGMENT = 1  # BPF_F_NETFILTER_IP_DEFRAG
# NF_IP_PRI_*, include/uapi/linux/netfilter_ipv4.h; IPv6 has the same.
_FIRST, _DEFRAGMENTED, _LAST = -(2**31), -400, 2**31 - 1


def _netkit(request: Request) -> Attachment:
    # Both sections are attached by the primary device; the peer may be in another namespace.
    target = request.target
    with in_netns(target.options.get("netns")):
        index = interface_index(target.place)
        try:
            return kernel_link(request.fd, index, ATTACH_TYPES[request.section.prefix], place=str(target))
        except OSError as error:
            raise _netkit_refused(target.place, error) from None


def _netkit_refused(name: str, error: OSError) -> OSError | AttachError:
    number = error.errno
    if number == errno.ENXIO:
        return AttachError(
            f"{name} is no netkit device", errno=number, hint=f"ip link add {name} type netkit makes one"
        )
    if number == errno.EACCES:
        hint = 'name the other end; SEC("netkit/peer") is for packets of this one'
        return AttachError(f"{name} is the peer's end of a netkit pair", errno=number, hint=hint)
    if number == errno.EINVAL:
        hint = "CONFIG_NETKIT brings it, since Linux 6.7"
        return AttachError("this kernel has no netkit devices", errno=number, hint=hint)
    return error


def _netfilter(request: Request) -> Attachment:
    target = request.target
    hook = netfilter_target(target.place)
    priority, flags = target.number("priority", 0), _DEFRAGMENT if target.number("defrag", 0) else 0
    lowest = _DEFRAGMENTED + 1 if flags else _FIRST + 1
    if not lowest <= priority < _LAST:
        what = f"a netfilter program{' with defrag=1' if flags else ''} cannot have priority={priority}"
        raise AttachError(what, hint=f"write a number from {lowest} to {_LAST - 1}")
    more = struct.pack("=IIiI", hook.family, hook.hook, priority, flags)
    with in_netns(target.options.get("netns")):
        try:
            return kernel_link(request.fd, 0, _NETFILTER, more=more, place=str(target))
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
    # As fdinfo shows a link, of whatever namespace: two of the same place leave open which it is.
    there = linked(re.compile(rf"^pf:\s*{hook.family}\s+hooknum:\s*{hook.hook}\s+prio:\s*{priority}$", re.MULTILINE))
    named = f" ({shown(request.lib, next(iter(there)))})" if len(there) == 1 else ""
    what = f"another BPF program{named} has priority {priority} at {target.place}"
    details = [way_out(there, "`bpftool link list` shows its link")] if len(there) == 1 else ()
    raise AttachError(what, errno=errno.EBUSY, hint=f"{target.place},priority={priority + 1}", details=details)


def _flow_dissector(request: Request) -> Attachment:
    place = request.target.place
    netns = open_netns(place)
    try:
        return kernel_link(request.fd, netns, _FLOW_DISSECTOR, place=place)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.E2BIG):
            raise
        rule = "a network namespace takes one, and the first namespace (of process 1) one only if no other has any"
        there, _ = query(request.lib, netns, _FLOW_DISSECTOR)
        if not there:
            what = f"a flow dissector is attached already, where it rules {place} out"
            raise AttachError(what, errno=error.errno, hint=rule) from None
        what = f"a flow dissector is attached already to {place}: {shown(request.lib, there[0])}"
        raise AttachError(what, errno=error.errno, hint=f"{rule}; {way_out(there, 'bpftool net shows it')}") from None
    finally:
        os.close(netns)


KINDS: dict[str, Callable[[Request], Attachment]] = {
    "xdp": xdp.attach,
    "tc": tc.attach,
    "netkit": _netkit,
    "netfilter": _netfilter,
    "flow_dissector": _flow_dissector,
}
