SEC("xdp")
int pass(void *ctx)
{
cell:1:1: error: not a message; /* HERE */
	return 2;
}
