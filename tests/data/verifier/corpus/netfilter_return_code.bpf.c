// category: Program Structure
// message: At program exit the register R0 has
// fix: return
// about: register
// kernels: 6.4+
SEC("netfilter")
int refuse(struct bpf_nf_ctx *ctx)
{
	return 2; // <- refused, cause
}
