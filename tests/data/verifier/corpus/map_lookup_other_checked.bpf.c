// category: Register Type Safety
// message: invalid mem access 'map_value_or_null'
// fix: if (!
// about: map value
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 256);
	__type(key, u32);
	__type(value, u64);
} packets SEC(".maps"), bytes SEC(".maps");

SEC("xdp")
int add_up(struct xdp_md *ctx)
{
	u32 queue = ctx->rx_queue_index;
	u64 *count = bpf_map_lookup_elem(&packets, &queue);
	u64 *sum = bpf_map_lookup_elem(&bytes, &queue); // <- cause
	if (!count)
		return XDP_PASS;
	*count += 1;
	*sum += ctx->data_end - ctx->data; // <- refused
	return XDP_PASS;
}
