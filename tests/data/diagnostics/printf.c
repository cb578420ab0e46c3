SEC("xdp")
int pass(void *ctx)
{
	printf("hello"); /* HERE */
	return 2;
}
