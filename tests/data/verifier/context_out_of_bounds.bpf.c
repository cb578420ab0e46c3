char LICENSE[] SEC("license") = "GPL";

SEC("xdp")
int read_past(struct xdp_md *ctx)
{
	return *(volatile u32 *)((void *)ctx + 64); /* REFUSED */
}
