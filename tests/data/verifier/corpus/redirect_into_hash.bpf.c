// category: Call Type Safety
// message: cannot pass map_type 1 into func bpf_redirect_map#51
// fix: map
// about: map
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, u32);
	__type(value, u32);
} devices SEC(".maps");

SEC("xdp")
int forward(struct xdp_md *ctx)
{
	return bpf_redirect_map(&devices, ctx->rx_queue_index, 0); // <- refused, cause
}
