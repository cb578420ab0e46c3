struct { __uint(type, BPF_MAP_TYPE_HASH); } counts SEC(".maps");

int hello(void *ctx)
{
	u32 key = 1;
	counts.increment(key); /* HERE */
	return 0;
}
