// category: Memory Safety
// message: invalid access to map value, value_size=80 off=120 size=8
// fix: size | <
// about: number
struct slots { u64 n[10]; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct slots);
} by_queue SEC(".maps");

SEC("xdp")
int count_queue(struct xdp_md *ctx)
{
	u32 zero = 0, queue = ctx->rx_queue_index; // <- cause
	struct slots *slots = bpf_map_lookup_elem(&by_queue, &zero);
	if (slots)
		slots->n[queue & 15] += 1; // <- refused
	return XDP_PASS;
}
