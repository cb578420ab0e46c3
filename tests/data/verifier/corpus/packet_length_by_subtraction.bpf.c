// category: Register Type Safety
// message: pointer -= pointer prohibited
// fix: CAP_PERFMON | number
// about: packet
// without: CAP_PERFMON
u64 bytes;

SEC("xdp")
int measure(struct xdp_md *ctx)
{
	bytes += ctx->data_end - ctx->data; // <- refused, cause
	return XDP_PASS;
}
