// category: Call Type Safety
// message: type PTR in look() is not supported yet
// fix: struct | static
// about: memory
// kernels: 5.10
__attribute__((noinline)) int look(void **things)
{
	return things ? 1 : 0;
}

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	void *things[2] = {};
	return look(things) ? XDP_PASS : XDP_DROP;
}
