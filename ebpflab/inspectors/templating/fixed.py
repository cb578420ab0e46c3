"""Cells for hooks without fields of their own: the template of their kind, at this hook, with a target to try it at."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...errors import HookNotFoundError
from ...program_types import parse_section
from ..contexts import context
from ..search import hooks
from .parts import Made, comment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...program_types import Section

_PROGRAM = re.compile(r'SEC\("([^."][^"]*)"\)\n[^\n]*?\b(?:BPF_\w+\()?(on_\w+|no_drop|show)\b')

# What a row is, at sections that the kind's own template is not about.
_SAYS = {
    "tc": "A row for each IPv4 packet that arrives at an interface (with direction=egress: that leaves it)",
    "tc/ingress": "A row for each IPv4 packet that arrives at an interface",
    "tcx/ingress": "A row for each IPv4 packet that arrives at an interface",
    "tcx/egress": "A row for each IPv4 packet that leaves an interface",
    "classifier": "A row for each IPv4 packet that arrives at an interface",
    "action": "A row for each IPv4 packet that the action of a tc filter is given",
    "netkit/peer": "A row for each IPv4 packet that leaves a container",
    "cgroup_skb/ingress": "A row for each IPv4 packet that the processes of a cgroup receive",
    "cgroup/skb": "A row for each IPv4 packet that the processes of a cgroup receive (with direction=egress: send)",
    "cgroup/sock": "A row for each socket(2) of the processes of a cgroup",
    "cgroup/sock_release": "A row for each IP socket that the processes of a cgroup close",
    "cgroup/post_bind4": "A row after each bind(2) of an IPv4 socket in a cgroup",
    "cgroup/post_bind6": "A row after each bind(2) of an IPv6 socket in a cgroup",
    "cgroup/getsockopt": "A row for each getsockopt(2) of the processes of a cgroup",
    "sk_skb/stream_verdict": "A row for each piece of a stream",
    "sk_reuseport/migrate": "A row for each choice of a socket, also when one closes and its connections move",
}
_CALLS = {
    "bind": "bind(2)",
    "connect": "connect(2)",
    "sendmsg": "sendmsg(2) to an address",
    "recvmsg": "recvmsg(2) with the sender's address",
    "getpeername": "getpeername(2)",
    "getsockname": "getsockname(2)",
}
_FAMILIES = {"4": "IPv4", "6": "IPv6", "_unix": "Unix"}
# Of these the kernel takes no other verdict than 1; and a template that can refuse a port cannot refuse a path.
_ALLOWED_ONLY = re.compile(r"cgroup/(recvmsg|getpeername|getsockname)")
# What these do is in all of their programs together.
_WHOLE = ("freplace", "struct_ops")
# Devices that few machines have, and what to say then.
_DEVICES = {
    "netkit": "this machine has no netkit device: ip link add nk0 type netkit",
    "lirc_mode2": "this machine has no infrared receiver",
}
# Attached by something else than a target's name.
_BY_HAND = {"sk_reuseport": "it is attached to a socket: s.attach('on_choice', target=sock)"}


def of_kind(section: Section, place: str, name: str, *, bare: bool) -> Made:
    """Return the cell of a kind of program at one of its sections, to be attached at *place* or where that is likely.

    The target is "self", this process's own cgroup, for programs of cgroups; else the example of the table. A
    *bare* kind is at the section that its template is written for.
    """
    source = context(section.kind).template()
    programs = {found[1]: found[2] for found in _PROGRAM.finditer(source)}
    if section.kind == "struct_ops" and section.target and f"{section.prefix}/{section.target}" not in programs:
        hint = f"its members: {', '.join(sorted(programs))}"
        raise HookNotFoundError("the only template of struct_ops is for tcp_congestion_ops", hint=hint)
    own = next((s for s in programs if s != "sockops" or section.kind == "sockops"), section.prefix)
    spelled = own if bare or section.kind in _WHOLE else section.prefix
    if spelled != own:
        source = _moved(source, own, spelled)
        programs = {found[1]: found[2] for found in _PROGRAM.finditer(source)}
    targets, note = _targets(parse_section(spelled), place, programs)
    head, body = _head(source)
    seen = "iterate()" if section.kind == "iter" else "events.df()" if "} events SEC" in body else ""
    rows = f"// The rows: {name}.{seen}\n" if seen else ""
    return Made(f"{head}{rows}{body}", spelled, (note,) if note else (), targets, attach=not note)


def _moved(source: str, own: str, spelled: str) -> str:
    # The template of a kind, at another of its sections.
    _, body = _head(source)
    body = body.replace(f'SEC("{own}")', f'SEC("{spelled}")')
    call = re.fullmatch(r"cgroup/([a-z]+)(4|6|_unix)", spelled)
    says = _SAYS.get(spelled, f"A row each time that a program at {spelled} is called")
    if call and call[1] in _CALLS:
        says = f"A row for each {_CALLS[call[1]]} on {_FAMILIES[call[2]]} sockets by the processes of a cgroup"
        body = _of_family(body, spelled, call[2]).replace("on_connect", f"on_{call[1]}")
    if spelled == "sk_skb/stream_parser":
        body = body.replace("return SK_PASS;", "return ctx->len; /* how long the message is: all of it */")
    return f"{comment(f'{says}.')}\n{body}"


def _of_family(body: str, spelled: str, family: str) -> str:
    # A program sees the address of its own family only (sock_addr_is_valid_access in net/core/filter.c).
    if family == "6":
        body = body.replace("u32 ip4; /* as in the packet */", "ipv6_t ip6;")
        copy = [f"((u32 *)e->ip6)[{n}] = ctx->user_ip6[{n}];" for n in range(4)]
        body = body.replace("e->ip4 = ctx->user_ip4;", "\n\t".join(copy))
    if family == "_unix":
        body = body.replace("\tu32 ip4; /* as in the packet */\n\tu16 port;\n", "")
        body = body.replace("\te->ip4 = ctx->user_ip4;\n\te->port = port;\n", "")
        body = re.sub(r"\tu16 port = [^\n]*\n", "", body)
    if family == "_unix" or _ALLOWED_ONLY.match(spelled):
        body = _without_refusal(body)
    return body


def _without_refusal(body: str) -> str:
    for text, instead in (
        (r"const volatile u16 refused[^\n]*\n\n", ""),
        (r"\tbool refused;\n", ""),
        (r", bool \*refuse\)", ")"),
        (r"\t\*refuse = [^\n]*\n", ""),
        (r"\te->refused = [^\n]*\n", ""),
        (r"\tbool refuse = false;\n\n", ""),
        (r"\(ctx, &refuse\)", "(ctx)"),
        (r"return !refuse;", "return 1;"),
    ):
        body = re.sub(text, instead, body)
    return body


def _targets(section: Section, place: str, programs: Mapping[str, str]) -> tuple[dict[str, str], str]:
    row = section.type
    program = next(iter(programs.values())) if programs else ""
    if place:
        return {program: place}, ""
    if section.kind in _BY_HAND or not section.attachable:
        return {}, _BY_HAND.get(section.kind) or section.reason
    if section.kind == "freplace":
        return {program: "on_packet"}, ""
    if row.attach == "map" or row.default:
        return {}, ""
    if section.kind in ("sk_msg", "sk_skb") or row.target == "CGROUP":
        return {program: "self"}, ""
    if section.kind in _DEVICES:
        there = [name for name in hooks("", kind=section.kind)["name"] if name != "*"]
        return ({program: there[0]}, "") if there else ({}, _DEVICES[section.kind])
    if f"{section.prefix}+" in row.sections:
        return {}, ""
    example = "cpu-clock,freq=99" if section.kind == "perf_event" else row.example
    return ({program: example}, "") if example else ({}, "")


def _head(source: str) -> tuple[str, str]:
    # The comment at the top, and the rest.
    lines = source.split("\n")
    at = next(number for number, line in enumerate(lines) if not line.startswith("//"))
    return "".join(f"{line}\n" for line in lines[:at]), "\n".join(lines[at:])
