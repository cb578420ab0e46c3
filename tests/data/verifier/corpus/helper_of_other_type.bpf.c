// category: Policy
// message: cannot use helper bpf_get_stackid#27
// message -6.1: unknown func bpf_get_stackid#27
// fix: type
// about: call
struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 64);
	__uint(key_size, 4);
	__uint(value_size, 1016);
} stacks SEC(".maps");

SEC("xdp")
int where(struct xdp_md *ctx)
{
	return bpf_get_stackid(ctx, &stacks, 0) > 0 ? XDP_PASS : XDP_DROP; // <- refused, cause
}
