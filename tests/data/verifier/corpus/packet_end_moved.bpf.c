// category: Register Type Safety
// message: pointer arithmetic on pkt_end
// fix: data_end | numbers
// about: packet
SEC("xdp")
int last_bytes(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end; // <- cause
	void *data = (void *)(long)ctx->data;
	barrier_var(end);
	end -= 4; // <- refused
	if (data > end)
		return XDP_PASS;
	return *(u8 *)data;
}
