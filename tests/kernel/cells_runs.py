"""Cells for test runs."""

CELLS = {
    "port filter": """\
u64 seen = 0;
#define ETH_P_IP 0x0800

static __always_inline bool is_dns(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct udphdr *udp = (void *)ip + sizeof(*ip);

	__sync_fetch_and_add(&seen, 1);
	if ((void *)(udp + 1) > end)
		return false;
	return eth->h_proto == bpf_htons(ETH_P_IP) && ip->protocol == IPPROTO_UDP && udp->dest == bpf_htons(53);
}

SEC("xdp")
int xdp_filter(struct xdp_md *ctx)
{
	return is_dns((void *)(long)ctx->data, (void *)(long)ctx->data_end) ? XDP_DROP : XDP_PASS;
}

SEC("tc")
int tc_filter(struct __sk_buff *skb)
{
	return is_dns((void *)(long)skb->data, (void *)(long)skb->data_end) ? 2 : 0;
}

SEC("cgroup_skb/egress")
int cgroup_skb_filter(struct __sk_buff *skb)
{
	struct udphdr udp;

	__sync_fetch_and_add(&seen, 1);
	if (bpf_skb_load_bytes(skb, sizeof(struct iphdr), &udp, sizeof(udp)))
		return 1;
	return udp.dest != bpf_htons(53);
}
""",
    "rewrite": """\
SEC("xdp")
int swap(struct xdp_md *ctx)
{
	u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, mac[6];

	if (data + 12 > end)
		return XDP_ABORTED;
	__builtin_memcpy(mac, data, 6);
	__builtin_memmove(data, data + 6, 6);
	__builtin_memcpy(data + 6, mac, 6);
	return XDP_TX;
}

SEC("xdp")
int grow(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_head(ctx, -32) ? XDP_ABORTED : XDP_PASS;
}
""",
    "contexts": """\
SEC("tc")
int mark(struct __sk_buff *skb)
{
	skb->mark++;
	skb->cb[2] = skb->cb[0] + skb->cb[1];
	return 0;
}

SEC("xdp")
int arrival(struct xdp_md *ctx)
{
	return ctx->ingress_ifindex;
}
""",
    "sum": """\
struct order { u32 a, b; u64 sum; };

SEC("syscall")
int add(struct order *order)
{
	order->sum = order->a + order->b;
	return order->sum;
}
""",
    "raw": """\
SEC("raw_tp/sys_enter")
int second(struct bpf_raw_tracepoint_args *ctx)
{
	return ctx->args[1];
}
""",
    "no run": 'SEC("perf_event") int h(struct bpf_perf_event_data *ctx) { return 0; }\n',
}
