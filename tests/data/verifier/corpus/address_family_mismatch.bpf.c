// category: Memory Safety
// message: invalid bpf_context access off=8 size=4
// fix: context
// about: context
SEC("cgroup/connect4")
int no_localhost(struct bpf_sock_addr *ctx)
{
	return ctx->user_ip6[0] != 0; // <- refused, cause
}
