char LICENSE[] SEC("license") = "GPL";

SEC("xdp")
int read_word(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (data + 16 > end)
		return XDP_PASS;
	return *(volatile u32 *)(data + 3) ? XDP_DROP : XDP_PASS; /* REFUSED */
}
