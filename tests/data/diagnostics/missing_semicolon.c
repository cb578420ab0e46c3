SEC("xdp")
int pass(void *ctx)
{
	u32 n = 2 /* HERE */
	return n;
}
