# Programs of lightweight tunnels: a route is made whose encapsulation is the program (ip-route(8), ENCAP_BPF).
#
# The kernel has no link for it, and the route stays when we are killed, so it is journalled. The kernel tells programs
# of routes apart by names that we choose (bpf_lwt_prog_cmp() in net/core/lwt_bpf.c): two routes with one next hop and
# equal names would share the first one's program. So each name ends in a token, by which we also know our routes.

from __future__ import annotations

import contextlib
import errno
import functools
import ipaddress
import os
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ... import _libbpf, journal
from ...errors import AttachError, EbpflabError, KernelSupportError
from ...program_types import Route, route_target
from .base import Attachment, Request
from .netns import in_netns, interface_index
from .netns_search import in_namespace
from .rtnetlink import CREATE, DUMP, EXCLUSIVE, REPLACE, attribute, attributes, request

# include/uapi/linux/rtnetlink.h, lwtunnel.h, lwt_bpf.h, seg6_local.h
_NEW, _DELETE, _GET = 24, 25, 26  # RTM_NEWROUTE, ...
_ROUTE = struct.Struct("=8BI")  # struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
_DST, _OIF, _GATEWAY, _METRIC, _SOURCE, _TABLE, _ENCAP_TYPE, _ENCAP = 1, 4, 5, 6, 7, 15, 21, 22  # RTA_*
_TYPES = {"unicast": 1, "local": 2}  # RTN_*
_ON_LINK, _EVERYWHERE, _LINK, _HOST = 4, 0, 253, 254  # RTNH_F_ONLINK; RT_SCOPE_*
_BPF, _SEG6_LOCAL = 6, 7  # LWTUNNEL_ENCAP_*
_SLOTS = {"lwt_in": 1, "lwt_out": 2, "lwt_xmit": 3, "lwt_seg6local": 8}  # LWT_BPF_*, SEG6_LOCAL_BPF
_HEADROOM, _ACTION, _END_BPF = 4, 1, 15  # LWT_BPF_XMIT_HEADROOM, SEG6_LOCAL_ACTION*
_PROGRAM, _NAME = 1, 2  # LWT_BPF_PROG_FD, _NAME; the same in SEG6_LOCAL_BPF
_MAX_HEADROOM = 256  # LWT_BPF_MAX_HEADROOM, net/core/lwt_bpf.c
_MAX_NAME = 200  # MAX_PROG_NAME there is 256, and the token needs some of it

# Who made a route, which the kernel only keeps: a number that no routing daemon has (/etc/iproute2/rt_protos), so
# that ours are found among a million others. `ip route show proto 235` lists them.
_PROTOCOL = 235

_DENIED = (errno.EPERM, errno.EACCES)
_GONE = (errno.ENOENT, errno.ESRCH, errno.ENODEV)
_HINTS = {
    errno.ENETDOWN: "set the interface up: ip link set {dev} up",
    errno.ENETUNREACH: "the next hop has to be in a network of the interface; onlink at the end takes it on trust",
    errno.EHOSTUNREACH: "the next hop has to be in a network of the interface; onlink at the end takes it on trust",
}


class _Program(NamedTuple):
    fd: int
    name: str
    headroom: int


@dataclass
class _Made:
    # A route that we made, and its programs by slot. Programs of one route share it, whichever session they are of.
    route: Route
    entry: journal.Entry
    programs: dict[int, _Program] = field(default_factory=dict)

    @property
    def token(self) -> str:
        return str(self.entry.facts["token"])


_made: dict[tuple[object, ...], _Made] = {}
_lock = threading.RLock()


def undo(facts: dict[str, Any]) -> None:
    # Delete a route that was journalled; harmless when it or its network namespace has gone. Raises OSError.
    with in_namespace(facts["netns"], facts["path"]) as found:
        if found:
            _remove(facts)


def _attach(wanted: Request) -> Attachment:
    route = route_target(wanted.target.place)
    slot = _SLOTS[wanted.section.kind]
    headroom = wanted.target.number("headroom", 0)
    if wanted.section.kind == "lwt_seg6local" and not route.ipv6:
        raise AttachError(f"{route} is a route of IPv4", hint="segment routing is of IPv6: fd00:9::/64 dev eth0, say")
    if not 0 <= headroom <= _MAX_HEADROOM:
        raise AttachError(f"headroom={headroom} is not possible", hint=f"it is 0 to {_MAX_HEADROOM} bytes")
    netns = wanted.target.options.get("netns")
    with _libbpf.interrupts_later(), in_netns(netns), _lock:
        if route.dev:
            interface_index(route.dev)  # names the nearest ones
        made = _ours(route, slot) or _noted(route, netns)
        try:
            _put(made, slot, wanted, headroom)
        except BaseException:
            if not made.programs:
                made.entry.done()
            raise
        _made[_key(route)] = made
    return Attachment(None, functools.partial(_detach, made, slot), str(wanted.target))


def _put(made: _Made, slot: int, wanted: Request, headroom: int) -> None:
    # Others of the route may need the program's descriptor for longer than whoever handed it to us.
    program = _Program(os.dup(wanted.fd), f"{wanted.name[:_MAX_NAME]}:{made.token}", headroom)
    try:
        flags = CREATE | (REPLACE if made.programs else EXCLUSIVE)
        request(_NEW, _message(made.route, {**made.programs, slot: program}), flags)
    except OSError as error:
        os.close(program.fd)
        if error.errno in _DENIED:
            raise
        raise _refused(made.route, error) from error
    made.programs[slot] = program


def _detach(made: _Made, slot: int) -> None:
    if not made.entry.ours:  # a forked child has a copy of all this, and leaves its parent's route alone
        return
    with _libbpf.interrupts_later(), _lock:
        if slot not in made.programs:
            return
        rest = {other: program for other, program in made.programs.items() if other != slot}
        try:
            if rest:
                _leave(made, rest)
            else:
                undo(made.entry.facts)
        except OSError as error:
            raise AttachError(
                f"the route {made.route} cannot be removed: {error.strerror}",
                errno=error.errno,
                hint=f"ip route show proto {_PROTOCOL} lists it; the next start tries again",
            ) from error
        os.close(made.programs.pop(slot).fd)
        if not rest:
            made.entry.done()
            for key in [key for key, value in _made.items() if value is made]:
                del _made[key]


def _leave(made: _Made, rest: dict[int, _Program]) -> None:
    with in_namespace(made.entry.facts["netns"], made.entry.facts["path"]) as found:
        if found and _found(made.entry.facts):
            request(_NEW, _message(made.route, rest), REPLACE)


def _ours(route: Route, slot: int) -> _Made | None:
    # The route that we made before, if another program can join it there.
    made = _made.get(_key(route))
    if made is None or not made.entry.ours or not _found(made.entry.facts):
        return None
    alone = _SLOTS["lwt_seg6local"]
    if made.route != route or slot in made.programs or alone in (slot, *made.programs):
        names = ", ".join(program.name.rpartition(":")[0] for program in made.programs.values())
        raise _exists(route, f"{made.route} leads through {names}")
    return made


def _noted(route: Route, netns: str | None) -> _Made:
    token = os.urandom(4).hex()
    path = str(Path(netns).absolute()) if netns and "/" in netns else ""
    entry = journal.record(
        "route", netns=_namespace(), path=path, ipv6=route.ipv6, table=route.table, token=token, route=str(route)
    )
    return _Made(route, entry)


def _refused(route: Route, error: OSError) -> EbpflabError:
    if error.errno == errno.EEXIST:
        return _exists(route, "it is not ours")
    if error.errno == errno.EOPNOTSUPP:
        return KernelSupportError(
            f"this kernel takes no programs in routes: {error.strerror}",
            hint="it was built without CONFIG_LWTUNNEL_BPF (for lwt_seg6local, CONFIG_IPV6_SEG6_BPF)",
            stage="attach",
        )
    hint = _HINTS.get(error.errno or 0, "ip-route(8) explains the words of a route").format(dev=route.dev)
    return AttachError(f"the kernel refused the route {route}: {error.strerror}", errno=error.errno, hint=hint)


def _exists(route: Route, why: str) -> AttachError:
    return AttachError(
        f"there is a route to {route.prefix} of this metric already, in table {route.table}: {why}",
        errno=errno.EEXIST,
        hint="give another metric, as in metric 5: of two routes to a network the lower one counts; or another table",
    )


def _key(route: Route) -> tuple[object, ...]:
    # What the kernel tells routes apart by; IP6_RT_PRIO_USER is what it takes for no metric.
    return _namespace(), route.prefix, route.table, route.metric or (1024 if route.ipv6 else 0)


def _namespace() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino


def _message(route: Route, programs: dict[int, _Program]) -> bytes:
    network = ipaddress.ip_network(route.prefix)
    scope = _HOST if route.type == "local" else _EVERYWHERE if route.via else _LINK
    head = _ROUTE.pack(
        _family(route.ipv6), network.prefixlen, 0, 0, 0, _PROTOCOL, scope, _TYPES[route.type], _ON_LINK * route.onlink
    )
    parts = [(_TABLE, _u32(route.table)), (_DST, network.network_address.packed)]
    if route.dev:
        parts.append((_OIF, _u32(interface_index(route.dev))))
    if route.metric is not None:
        parts.append((_METRIC, _u32(route.metric)))
    for number, address in ((_GATEWAY, route.via), (_SOURCE, route.src)):
        if address:
            parts.append((number, ipaddress.ip_address(address).packed))
    return head + b"".join(attribute(*part) for part in [*parts, *_encapsulation(programs)])


def _encapsulation(programs: dict[int, _Program]) -> Iterator[tuple[int, bytes]]:
    of_segments = _SLOTS["lwt_seg6local"] in programs
    inner = attribute(_ACTION, _u32(_END_BPF)) if of_segments else b""
    for slot, (fd, name, headroom) in programs.items():
        inner += attribute(slot, attribute(_PROGRAM, _u32(fd)) + attribute(_NAME, f"{name}\0".encode()))
        if headroom:
            inner += attribute(_HEADROOM, _u32(headroom))
    yield _ENCAP_TYPE, struct.pack("=H", _SEG6_LOCAL if of_segments else _BPF)
    yield _ENCAP, inner


def _remove(facts: dict[str, Any]) -> None:
    for body in _found(facts):
        fields, parts = list(_ROUTE.unpack_from(body)), attributes(body[_ROUTE.size :])
        fields[-1] = 0  # the state of the next hop, which is none of the route
        identity = [(number, parts[number]) for number in (_TABLE, _DST, _OIF, _GATEWAY, _METRIC) if number in parts]
        with contextlib.suppress(ProcessLookupError):  # it went meanwhile, with its interface
            request(_DELETE, _ROUTE.pack(*fields) + b"".join(attribute(*part) for part in identity))


def _found(facts: dict[str, Any]) -> list[bytes]:
    # The kernel's descriptions of the route with our token in this namespace: one, or none.
    head = _ROUTE.pack(_family(facts["ipv6"]), 0, 0, 0, 0, _PROTOCOL, 0, 0, 0)
    try:
        listed = request(_GET, head + attribute(_TABLE, _u32(facts["table"])), DUMP)
    except OSError as error:
        if error.errno in _GONE:  # the table went with its last route
            return []
        raise
    return [body for body in listed if any(name.endswith(f":{facts['token']}") for name in _names(body))]


def _names(body: bytes) -> list[str]:
    slots = attributes(attributes(body[_ROUTE.size :]).get(_ENCAP, b""))
    programs = [attributes(slots[slot]) for slot in _SLOTS.values() if slot in slots]
    return [program.get(_NAME, b"").rstrip(b"\0").decode(errors="replace") for program in programs]


def _family(ipv6: bool) -> int:
    return 10 if ipv6 else 2


def _u32(number: int) -> bytes:
    return struct.pack("=I", number)


KINDS: dict[str, Callable[[Request], Attachment]] = dict.fromkeys(_SLOTS, _attach)
