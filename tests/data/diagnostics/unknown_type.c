SEC("xdp")
int pass(void *ctx)
{
	u32x n = 2; /* HERE */
	return n;
}
