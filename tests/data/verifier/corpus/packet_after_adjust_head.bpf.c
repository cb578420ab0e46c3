// category: Register Type Safety
// message: invalid mem access 'scalar'
// message 5.10: invalid mem access 'inv'
// fix: again | reload
// about: packet
SEC("xdp")
int push_header(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct ethhdr *eth = data;
	if (data + sizeof(*eth) > end)
		return XDP_PASS;
	if (bpf_xdp_adjust_head(ctx, -8)) // <- cause
		return XDP_DROP;
	eth->h_proto = bpf_htons(0x8100); // <- refused
	return XDP_TX;
}
