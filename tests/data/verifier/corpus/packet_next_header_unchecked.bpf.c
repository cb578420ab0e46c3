// category: Memory Safety
// message: invalid access to packet, off=23 size=1
// fix: data_end
// about: packet
SEC("xdp")
int drop_udp(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data; // <- cause
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	if (eth->h_proto != bpf_htons(0x0800))
		return XDP_PASS;
	return ip->protocol == 17 ? XDP_DROP : XDP_PASS; // <- refused
}
