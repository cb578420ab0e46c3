// category: Call Type Safety
// message: type=map_value_or_null expected=map_ptr
// message 7.3+: R1 type=map_ptr_or_null expected=map_ptr
// fix: if (!
// about: map value
struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, u32);
	__array(values, struct inner);
} per_device SEC(".maps");

SEC("xdp")
int count_device(struct xdp_md *ctx)
{
	u32 device = ctx->ingress_ifindex, zero = 0;
	void *counts = bpf_map_lookup_elem(&per_device, &device); // <- cause
	u64 *count = bpf_map_lookup_elem(counts, &zero); // <- refused
	if (count)
		*count += 1;
	return XDP_PASS;
}
