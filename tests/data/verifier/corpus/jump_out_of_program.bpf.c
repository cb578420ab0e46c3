// category: Program Structure
// message: jump out of range from insn
// fix: jump | inline assembly | branch
// about: structure
SEC("xdp")
int jump(struct xdp_md *ctx)
{
	u64 n = ctx->rx_queue_index;
	asm volatile("if %0 == 7 goto +40" :: "r"(n));
	return XDP_PASS;
}
