char LICENSE[] SEC("license") = "GPL";

SEC("xdp")
int move(struct xdp_md *ctx)
{
	u32 n;
	asm volatile("r1 = %1; r1 += 4; %0 = *(u32 *)(r1 + 0)" : "=r"(n) : "r"(ctx) : "r1"); /* REFUSED */
	return n;
}
