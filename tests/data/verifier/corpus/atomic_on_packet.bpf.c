// category: Register Type Safety
// message: stores into
// fix: map | atomic
// about: packet
SEC("xdp")
int mark(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	u64 *word = (void *)(long)ctx->data; // <- cause
	if ((void *)(word + 1) > end)
		return XDP_PASS;
	__sync_fetch_and_add(word, 1); // <- refused
	return XDP_TX;
}
