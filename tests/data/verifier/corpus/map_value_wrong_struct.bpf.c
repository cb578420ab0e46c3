// category: Memory Safety
// message: invalid access to map value, value_size=4 off=8 size=8
// fix: size
// about: map value
struct stats { u64 packets; u64 bytes; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u32);
} per_queue SEC(".maps");

SEC("xdp")
int count_bytes(struct xdp_md *ctx)
{
	u32 queue = ctx->rx_queue_index;
	struct stats *stats = bpf_map_lookup_elem(&per_queue, &queue); // <- cause
	if (stats)
		stats->bytes += 64; // <- refused
	return XDP_PASS;
}
