// category: Memory Safety
// message: invalid access to packet, off=12 size=2
// fix: data_end
// about: packet
SEC("xdp")
int drop_arp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data; // <- cause
	struct ethhdr *eth = data;
	if (eth->h_proto == bpf_htons(0x0806)) // <- refused
		return XDP_DROP;
	return XDP_PASS;
}
