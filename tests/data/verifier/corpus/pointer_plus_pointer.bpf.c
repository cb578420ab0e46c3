// category: Register Type Safety
// message: pointer += pointer prohibited
// fix: number
// about: packet
SEC("xdp")
int middle(struct xdp_md *ctx)
{
	u64 end = ctx->data_end;
	u64 data = ctx->data; // <- cause
	return (data + end) / 2 > 0 ? XDP_PASS : XDP_DROP; // <- refused
}
