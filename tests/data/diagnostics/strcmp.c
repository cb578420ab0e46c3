SEC("xdp")
int pass(char *ctx)
{
	return strcmp(ctx, "eth0"); /* HERE */
}
