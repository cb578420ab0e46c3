char LICENSE[] SEC("license") = "GPL";

static __attribute__((noinline)) int inner(int n)
{
	volatile char text[400];
	text[n & 255] = 1;
	return text[0];
}

SEC("xdp")
int outer(struct xdp_md *ctx)
{
	volatile char text[400];
	text[bpf_get_smp_processor_id() & 255] = 1;
	return inner(text[0]) + text[1];
}
