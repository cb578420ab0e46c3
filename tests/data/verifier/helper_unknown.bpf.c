static long (*bpf_from_the_future)(void) = (void *)9999;
char LICENSE[] SEC("license") = "GPL";

SEC("xdp")
int call(struct xdp_md *ctx)
{
	return bpf_from_the_future(); /* REFUSED */
}
