char LICENSE[] SEC("license") = "GPL";

SEC("xdp")
int store(struct xdp_md *ctx)
{
	asm volatile("*(u64 *)(r10 - 12) = r1" ::: "memory"); /* REFUSED */
	return XDP_PASS;
}
