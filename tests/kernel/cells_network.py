"""Cells of the tests of network programs: each counts the UDP datagrams to one port, and nothing else."""

from __future__ import annotations

# Where a frame starts at its Ethernet header: XDP, tc and netkit. Says which packets are the test's own.
_FRAME = """\
const volatile u16 port = 0;
const volatile u32 verdict = 0;
u64 seen = 0, bytes = 0;
u32 ifindex = 0;

static int is_ours(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct udphdr *udp = (void *)(ip + 1);
	if ((void *)(udp + 1) > end)
		return 0;
	return eth->h_proto == bpf_htons(0x0800) && ip->protocol == 17 && udp->dest == bpf_htons(port);
}
"""

_XDP = (
    _FRAME
    + """
SEC("%s")
int on_frame(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (!is_ours(data, end))
		return XDP_PASS;
	__sync_fetch_and_add(&seen, 1);
	__sync_fetch_and_add(&bytes, end - data);
	ifindex = ctx->ingress_ifindex;
	return verdict;
}
"""
)

# A frame that fills several buffers: what the program sees of it, and what there is.
_FRAGMENTS = (
    _FRAME
    + """
u64 total = 0;

SEC("xdp.frags")
int on_frame(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (!is_ours(data, end))
		return XDP_PASS;
	__sync_fetch_and_add(&seen, 1);
	__sync_fetch_and_add(&bytes, end - data);
	__sync_fetch_and_add(&total, bpf_xdp_get_buff_len(ctx));
	return verdict;
}
"""
)

_SKB = (
    _FRAME
    + """
u32 mark = 0, protocol = 0;

SEC("%s")
int on_packet(struct __sk_buff *skb)
{
	if (!is_ours((void *)(long)skb->data, (void *)(long)skb->data_end))
		return -1;
	__sync_fetch_and_add(&seen, 1);
	__sync_fetch_and_add(&bytes, skb->len);
	ifindex = skb->ifindex;
	mark = skb->mark;
	protocol = skb->protocol;
	return verdict;
}
"""
)

# Two programs at one place: what the first lets go on, the second sees.
_TWO = (
    _FRAME
    + """
u64 second = 0;

SEC("tc")
int first_one(struct __sk_buff *skb)
{
	if (!is_ours((void *)(long)skb->data, (void *)(long)skb->data_end))
		return -1;
	__sync_fetch_and_add(&seen, 1);
	return verdict;
}

SEC("tc")
int second_one(struct __sk_buff *skb)
{
	if (is_ours((void *)(long)skb->data, (void *)(long)skb->data_end))
		__sync_fetch_and_add(&second, 1);
	return -1;
}
"""
)

_NETFILTER = """\
const volatile u16 port = 0;
const volatile u32 verdict = 1;
u64 seen = 0;
u32 hook = 0, family = 0, ifindex = 0;

static int is_ours(struct sk_buff *skb, int ipv6)
{
	u8 *header = skb->head + skb->network_header, protocol = 0;
	u16 to = 0;
	bpf_probe_read_kernel(&protocol, 1, header + (ipv6 ? 6 : 9));
	bpf_probe_read_kernel(&to, 2, header + (ipv6 ? 40 : 20) + 2);
	return protocol == 17 && to == bpf_htons(port);
}

SEC("netfilter")
int on_hook(struct bpf_nf_ctx *ctx)
{
	if (!is_ours(ctx->skb, ctx->state->pf == 10))
		return 1;
	__sync_fetch_and_add(&seen, 1);
	hook = ctx->state->hook;
	family = ctx->state->pf;
	if (ctx->state->in)
		ifindex = ctx->state->in->ifindex;
	return verdict;
}
"""

_FLOW_DISSECTOR = """\
const volatile u16 port = 0;
u64 seen = 0;
u32 offset = 0;

SEC("flow_dissector")
int dissect(struct __sk_buff *skb)
{
	struct bpf_flow_keys *keys = skb->flow_keys;
	struct iphdr ip;
	struct udphdr udp;
	if (keys->n_proto != bpf_htons(0x0800) || bpf_skb_load_bytes(skb, keys->nhoff, &ip, sizeof(ip)) ||
		ip.protocol != 17 || bpf_skb_load_bytes(skb, keys->nhoff + sizeof(ip), &udp, sizeof(udp)))
		return 0;
	keys->addr_proto = 0x0800;
	keys->ip_proto = ip.protocol;
	keys->thoff = keys->nhoff + sizeof(ip);
	keys->ipv4_src = ip.saddr;
	keys->ipv4_dst = ip.daddr;
	keys->sport = udp.source;
	keys->dport = udp.dest;
	if (udp.dest == bpf_htons(port)) {
		__sync_fetch_and_add(&seen, 1);
		offset = keys->thoff;
	}
	return 0;
}
"""

_IN_MAPS = (
    _XDP % "xdp"
    + """
SEC("xdp/devmap") int sent_on(struct xdp_md *ctx) { return XDP_PASS; }
SEC("xdp/cpumap") int on_cpu(struct xdp_md *ctx) { return XDP_PASS; }
"""
)

CELLS = {
    "xdp": _XDP % "xdp",
    "xdp.frags": _FRAGMENTS,
    "xdp/devmap": _IN_MAPS,
    "tc": _SKB % "tc",
    "tc/ingress": _SKB % "tc/ingress",
    "tc/egress": _SKB % "tc/egress",
    "tcx/ingress": _SKB % "tcx/ingress",
    "tcx/egress": _SKB % "tcx/egress",
    "classifier": _SKB % "classifier",
    "action": _SKB % "action",
    "tc, twice": _TWO,
    "netkit/primary": _SKB % "netkit/primary",
    "netkit/peer": _SKB % "netkit/peer",
    "netfilter": _NETFILTER,
    "flow_dissector": _FLOW_DISSECTOR,
}
