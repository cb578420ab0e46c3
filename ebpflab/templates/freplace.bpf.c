// Replace a function of a program that is running. Run the template of xdp first.
// Then run this with --attach no_drop=on_packet: packets to the blocked port pass until this session closes.
// What is replaced has to be a global function; that of the xdp cell is its program itself.

u64 seen = 0;

static int try_no_drop(struct xdp_md *ctx)
{
	if (ctx->data == ctx->data_end)
		return -ENODATA;
	__sync_fetch_and_add(&seen, 1);
	return 0;
}

SEC("freplace/on_packet")
int no_drop(struct xdp_md *ctx)
{
	return try_no_drop(ctx) ? XDP_DROP : XDP_PASS;
}
