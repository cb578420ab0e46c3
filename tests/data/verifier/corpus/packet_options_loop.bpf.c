// category: Memory Safety
// message: invalid access to packet
// fix: data_end
// about: packet
SEC("xdp")
int find_option(struct xdp_md *ctx)
{
	u8 *end = (void *)(long)ctx->data_end;
	u8 *data = (void *)(long)ctx->data; // <- cause
	u8 *option = data + sizeof(struct ethhdr) + sizeof(struct iphdr);
	if (option > end)
		return XDP_PASS;
	for (int i = 0; i < 10; i++) {
		if (option[i] == 1) // <- refused
			return XDP_DROP;
	}
	return XDP_PASS;
}
