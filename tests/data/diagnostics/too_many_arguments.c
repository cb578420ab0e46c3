int many(int a, int b, int c, int d, int e, int f);

SEC("xdp")
int pass(void *ctx)
{
	return many(1, 2, 3, 4, 5, 6); /* HERE */
}
