SEC("xdp")
int pass(void *ctx)
{
	if (ctx) {
		return 1;
	return 2;
} /* HERE */
