// category: Register Type Safety
// message: dereference of modified ctx ptr
// fix: ctx
// about: context
// kernels: -6.12
SEC("xdp")
int walk(struct xdp_md *ctx) // <- cause
{
	u32 *fields = (void *)ctx;
	fields += 3;
	barrier_var(fields);
	return *fields == 1 ? XDP_DROP : XDP_PASS; // <- refused
}
