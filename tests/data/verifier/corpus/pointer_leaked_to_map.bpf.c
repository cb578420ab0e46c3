// category: Policy
// message: leaks addr into map
// fix: CAP_PERFMON
// about: context
// without: CAP_PERFMON
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} seen SEC(".maps");

SEC("xdp")
int keep(struct xdp_md *ctx)
{
	u32 zero = 0;
	u64 *slot = bpf_map_lookup_elem(&seen, &zero); // <- cause
	if (slot)
		*slot = (u64)slot; // <- refused
	return XDP_PASS;
}
