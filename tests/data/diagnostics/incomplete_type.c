struct nope;

SEC("xdp")
int pass(struct nope *ctx)
{
	return ctx->data; /* HERE */
}
