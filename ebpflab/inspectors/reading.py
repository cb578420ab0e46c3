"""How C reads what is in a context: fields, tracepoint records, packets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..btf import Kind
from .layout import fields, vmlinux

if TYPE_CHECKING:
    from collections.abc import Sequence

    from . import tracefs
    from .contexts import ContextField
    from .layout import Field

# Fields that hold a packet's address as a number, which C casts to a pointer.
_ADDRESSES = {"data", "data_end", "data_meta"}
_DIRECT = """\
void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
struct {header} *h = data;

if ((void *)(h + 1) > end) /* the verifier asks for this before the first access */
	return {leave};
/* here h->... may be read */"""
_COPY = """\
struct {header} h;

if (bpf_skb_load_bytes(ctx, {offset}, &h, sizeof(h))) /* copies; negative if the packet is shorter */
	return {leave};
/* here h... may be read */"""
_DYNPTR = """\
struct sk_buff *skb = (struct sk_buff *)ctx->skb;
struct iphdr *ip = (struct iphdr *)(BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header));
__u8 protocol = BPF_CORE_READ(ip, protocol); /* each access is a checked read */"""
# By kind: the first header that the program sees, where it starts, and what to return when the packet is too short.
_PACKETS = {
    "xdp": (_DIRECT, "ethhdr", 0, "XDP_PASS"),
    "tc": (_DIRECT, "ethhdr", 0, "0 /* TC_ACT_OK */"),
    "netkit": (_DIRECT, "ethhdr", 0, "0 /* NETKIT_PASS */"),
    "cgroup_skb": (_COPY, "iphdr", 0, "1"),
    "socket_filter": (_COPY, "ethhdr", 0, "0"),
    "sk_skb": (_COPY, "ethhdr", 0, "SK_PASS"),
    "lwt_in": (_DIRECT, "iphdr", 0, "BPF_OK"),
    "lwt_out": (_DIRECT, "iphdr", 0, "BPF_OK"),
    "lwt_xmit": (_DIRECT, "iphdr", 0, "BPF_OK"),
    "lwt_seg6local": (_DIRECT, "ipv6hdr", 0, "BPF_OK"),
    "flow_dissector": (_DIRECT, "ethhdr", 0, "BPF_OK"),
    "sk_reuseport": (_DIRECT, "udphdr", 0, "SK_PASS"),
    "netfilter": (_DYNPTR, "", 0, ""),
}


def packet(kind: str) -> str:
    """Return how a program of this kind reads its packet, as C; "" if it has none."""
    if kind not in _PACKETS:
        return ""
    text, header, offset, leave = _PACKETS[kind]
    return text.format(header=header, offset=offset, leave=leave)


def of_field(struct: str, field: Field) -> str:
    """Return the C that reads a field of a context struct."""
    place = f"ctx->{field.name}"
    if field.name in _ADDRESSES:
        return f"(void *)(long){place}"
    if struct.startswith("struct bpf_iter__") and field.c_type.startswith("struct ") and field.c_type.endswith("*"):
        # The kernel passes NULL for the last call of an iterator.
        return place if field.name == "meta" else f"{place} (NULL at the end)"
    return f"{place}[i]" if field.length else place


def of_tracepoint(field: tracefs.Field) -> str:
    """Return the C that reads a field of a tracepoint's record."""
    if field.data_loc:
        return f"TP_DATA_LOC_STR(buffer, sizeof(buffer), ctx, {field.name})"
    if "char *" in field.type:
        return f"bpf_probe_read_user_str(buffer, sizeof(buffer), ctx->{field.name})"
    return f"ctx->{field.name}[i]" if field.length else f"ctx->{field.name}"


def struct(c_type: str) -> str:
    """Return a struct of the running kernel as C, or "" if it has none of that name."""
    name = c_type.removesuffix("*").strip().removeprefix("struct ")
    btf = vmlinux()
    found = btf.find(name, Kind.STRUCT) if c_type.startswith("struct ") else None
    if found is None:
        return ""
    lines = [f"\t{field.declaration};" for field in fields(btf, found)]
    return "\n".join([f"struct {name} {{", *lines, "};"])


def head(section: str, c_type: str, members: Sequence[ContextField]) -> str:
    """Return the head of a program whose context is its hook's arguments."""
    listed = ", ".join(declared(member.type, member.name) for member in members)
    macro = next((m for m in ("BPF_KPROBE", "BPF_KRETPROBE", "BPF_USDT", "BPF_PROG") if m in c_type), "")
    if not macro:
        return f'SEC("{section}")\nint handler({c_type}ctx)'
    return f'SEC("{section}")\nint {macro}(handler{", " if listed else ""}{listed})'


def declared(c_type: str, name: str) -> str:
    """Return the declaration of a parameter.

    Examples
    --------
    >>> declared("struct file *", "f")
    'struct file *f'
    """
    return f"{c_type}{name}" if c_type.endswith("*") else f"{c_type} {name}"
