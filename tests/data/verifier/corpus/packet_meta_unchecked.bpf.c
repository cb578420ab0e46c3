// category: Memory Safety
// message: invalid access to packet
// fix: data
// about: packet
SEC("xdp")
int read_mark(struct xdp_md *ctx)
{
	u32 *mark = (void *)(long)ctx->data_meta; // <- cause
	if (*mark == 7) // <- refused
		return XDP_DROP;
	return XDP_PASS;
}
