// category: Verifier Limit
// message: combined stack size of 2 calls is
// fix: map
// about: stack
// kernels: 5.17+
static long step(u64 i, void *ctx)
{
	volatile u8 scratch[400];
	scratch[i & 255] = 1;
	return 0;
}

SEC("tc")
int many(void *ctx)
{
	volatile u8 seen[200];
	seen[bpf_get_smp_processor_id() & 127] = 0;
	bpf_loop(10, step, NULL, 0);
	return seen[0];
}
