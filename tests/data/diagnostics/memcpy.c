struct big { char b[2000]; };
struct big a, b;

SEC("xdp")
int pass(void *ctx)
{
	__builtin_memcpy(&a, &b, sizeof(a)); /* HERE */
	return 2;
}
