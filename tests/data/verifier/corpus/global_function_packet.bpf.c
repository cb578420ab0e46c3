// category: Memory Safety
// message: Caller passes invalid args into func#
// fix: data_end
// about: packet
// kernels: 5.12+
__attribute__((noinline)) int protocol(struct ethhdr *eth)
{
	return eth ? eth->h_proto : 0;
}

SEC("xdp")
int drop_arp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data; // <- cause
	return protocol(data) == bpf_htons(0x0806) ? XDP_DROP : XDP_PASS; // <- refused
}
