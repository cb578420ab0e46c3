"""Cells for programs of routes: they count datagrams to a port, and drop those to another."""

from __future__ import annotations

# A packet begins at its IP header here, which has no options in these tests; UDP's ports follow.
_LOOK = """\
const volatile u16 port = 0, unwanted = 0;
u64 in_seen = 0, out_seen = 0, xmit_seen = 0, dropped = 0, bytes = 0;
u32 to = 0, protocol = 0, interface = 0;
static int look(struct __sk_buff *skb, u64 *seen)
{
	u16 destination = 0;
	u8 first = 0;
	bpf_skb_load_bytes(skb, 0, &first, sizeof(first));
	if (bpf_skb_load_bytes(skb, (first >> 4 == 6 ? 40 : 20) + 2, &destination, sizeof(destination)))
		return BPF_OK;
	if (unwanted && destination == bpf_htons(unwanted)) {
		__sync_fetch_and_add(&dropped, 1);
		return BPF_DROP;
	}
	if (destination != bpf_htons(port))
		return BPF_OK;
	__sync_fetch_and_add(seen, 1);
	__sync_fetch_and_add(&bytes, skb->len);
	bpf_skb_load_bytes(skb, first >> 4 == 6 ? 36 : 16, &to, sizeof(to));
	protocol = skb->protocol;
	interface = skb->ifindex;
	return BPF_OK;
}
"""

CELLS = {
    "three": _LOOK
    + """\
SEC("lwt_in") int at_in(struct __sk_buff *skb) { return look(skb, &in_seen); }
SEC("lwt_out") int at_out(struct __sk_buff *skb) { return look(skb, &out_seen); }
SEC("lwt_xmit") int at_xmit(struct __sk_buff *skb) { return look(skb, &xmit_seen); }
""",
    # Puts an IPv4 header of its own in front of the packet: IP in IP, to where the packet goes anyway.
    "encap": """\
const volatile u32 from = 0, to = 0;
u64 seen = 0;
SEC("lwt_xmit") int wrap(struct __sk_buff *skb)
{
	u32 outer[5] = { bpf_htonl(0x45000000 | (skb->len + 20)), 0, bpf_htonl(64 << 24 | 4 << 16), from, to };
	if (bpf_lwt_push_encap(skb, BPF_LWT_ENCAP_IP, outer, sizeof(outer)))
		return BPF_DROP;
	__sync_fetch_and_add(&seen, 1);
	return BPF_LWT_REROUTE;
}
""",
    # The packet begins at its IPv6 header; the kernel has checked the segment routing header behind it.
    "segments": """\
const volatile bool refuse = 0;
u64 seen = 0;
u32 next = 0, left = 0;
SEC("lwt_seg6local") int at_segment(struct __sk_buff *skb)
{
	struct ipv6_sr_hdr header = {};
	u8 following = 0;
	bpf_skb_load_bytes(skb, 6, &following, sizeof(following));
	if (following != 43 || bpf_skb_load_bytes(skb, 40, &header, 8))
		return BPF_OK;
	__sync_fetch_and_add(&seen, 1);
	next = header.nexthdr;
	left = header.segments_left;
	return refuse ? BPF_DROP : BPF_OK;
}
""",
}
