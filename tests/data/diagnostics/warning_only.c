SEC("xdp")
int pass(void *ctx)
{
	u32 n = "text"; /* HERE */
	return n;
}
