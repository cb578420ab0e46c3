// category: Memory Safety
// message: invalid bpf_context access off=4 size=2
// fix: size | context
// about: context
SEC("xdp")
int near_end(struct xdp_md *ctx)
{
	volatile u16 *low = (void *)&ctx->data_end;
	return *low & 1 ? XDP_PASS : XDP_DROP; // <- refused, cause
}
