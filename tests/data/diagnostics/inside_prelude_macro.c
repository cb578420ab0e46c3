SEC("xdp")
int pass(void *ctx)
{
	return CHECKED(2); /* HERE */
}
