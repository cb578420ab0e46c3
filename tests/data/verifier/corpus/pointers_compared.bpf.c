// category: Register Type Safety
// message: pointer comparison prohibited
// fix: CAP_PERFMON | number
// about: map value
// without: CAP_PERFMON
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, u32);
	__type(value, u64);
} slots SEC(".maps");

SEC("xdp")
int order(struct xdp_md *ctx)
{
	u32 zero = 0;
	u64 *slot = bpf_map_lookup_elem(&slots, &zero); // <- cause
	if (!slot)
		return XDP_PASS;
	return (u64)slot > (u64)ctx->rx_queue_index ? XDP_DROP : XDP_PASS; // <- refused
}
