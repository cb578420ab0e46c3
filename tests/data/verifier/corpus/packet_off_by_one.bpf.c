// category: Memory Safety
// message: invalid access to packet, off=15 size=2
// fix: data_end
// about: packet
SEC("xdp")
int total_length(struct xdp_md *ctx)
{
	u8 *end = (void *)(long)ctx->data_end;
	u8 *data = (void *)(long)ctx->data; // <- cause
	if (data + 16 > end)
		return XDP_PASS;
	return *(volatile u16 *)(data + 15) > 1500 ? XDP_DROP : XDP_PASS; // <- refused
}
