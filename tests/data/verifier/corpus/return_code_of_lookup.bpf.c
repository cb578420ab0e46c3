// category: Program Structure
// message: At program exit the register R0 has
// fix: return
// about: register
SEC("sk_lookup")
int steer(struct bpf_sk_lookup *ctx)
{
	if (ctx->local_port == 80) // <- refused, cause
		return 2; // <- cause
	return SK_PASS;
}
