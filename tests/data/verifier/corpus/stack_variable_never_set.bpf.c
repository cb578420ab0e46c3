// category: Memory Safety
// message: invalid read from stack
// fix: = {} | = 0 | memset
// about: stack
// without: CAP_PERFMON
SEC("xdp")
int first_or_second(struct xdp_md *ctx)
{
	volatile u32 wanted;
	if (ctx->ingress_ifindex == 1)
		wanted = 2;
	if (wanted == ctx->rx_queue_index) // <- refused, cause
		return XDP_DROP;
	return XDP_PASS;
}
