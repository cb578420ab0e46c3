// category: Memory Safety
// message: invalid bpf_context access off=64 size=4
// fix: context
// about: context
SEC("xdp")
int hash(struct xdp_md *ctx)
{
	u32 *fields = (void *)ctx;
	return fields[16] ? XDP_PASS : XDP_DROP; // <- refused, cause
}
