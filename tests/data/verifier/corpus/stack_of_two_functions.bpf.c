// category: Verifier Limit
// message: combined stack size of 2 calls is
// fix: map
// about: stack
static __attribute__((noinline)) int checksum(u32 n)
{
	volatile u8 table[320];
	table[n & 255] = 1;
	return table[3];
}

SEC("xdp")
int sum(struct xdp_md *ctx)
{
	volatile u8 copy[320];
	copy[ctx->rx_queue_index & 255] = 2;
	return checksum(copy[1]) ? XDP_PASS : XDP_DROP;
}
