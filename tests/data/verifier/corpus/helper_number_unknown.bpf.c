// category: Policy
// message: invalid func unknown#4095
// fix: kernel | older
// about: call
static long (*bpf_shiny)(void *ctx) = (void *)4095;

SEC("xdp")
int use(struct xdp_md *ctx)
{
	return bpf_shiny(ctx) ? XDP_DROP : XDP_PASS; // <- refused, cause
}
