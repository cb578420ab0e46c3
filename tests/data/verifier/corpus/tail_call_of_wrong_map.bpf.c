// category: Call Type Safety
// message: expected prog array map for tail call
// message -6.1: kernel subsystem misconfigured verifier
// fix: PROG_ARRAY | map
// about: map
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, u32);
} stages SEC(".maps");

SEC("xdp")
int first_stage(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &stages, 1); // <- refused, cause
	return XDP_PASS;
}
