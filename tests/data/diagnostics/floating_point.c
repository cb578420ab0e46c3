double ratio = 0.5;

SEC("xdp")
int pass(void *ctx)
{
	ratio = ratio * 3; /* HERE */
	return 2;
}
