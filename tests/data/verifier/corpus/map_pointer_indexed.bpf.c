// category: Register Type Safety
// message: pointer arithmetic on map_ptr prohibited
// fix: number | bpf_map_lookup_elem
// about: map
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, u64);
} counts SEC(".maps");

SEC("xdp")
int second(struct xdp_md *ctx)
{
	void *maps = &counts; // <- cause
	u32 zero = 0;
	maps += ctx->rx_queue_index; // <- refused, cause
	return bpf_map_lookup_elem(maps, &zero) ? XDP_DROP : XDP_PASS;
}
