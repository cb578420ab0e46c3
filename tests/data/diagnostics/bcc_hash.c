BPF_HASH(counts, u32, u64); /* HERE */

int hello(void *ctx)
{
	u32 key = 1;
	counts.increment(key);
	return 0;
}
