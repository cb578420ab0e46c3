// category: Register Type Safety
// message: math between pkt pointer and register with unbounded min value
// fix: unsigned | if (
// about: packet
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, u32);
	__type(value, s64);
} skips SEC(".maps");

SEC("xdp")
int behind_options(struct xdp_md *ctx)
{
	u8 *end = (void *)(long)ctx->data_end;
	u8 *data = (void *)(long)ctx->data;
	u32 device = ctx->ingress_ifindex;
	s64 *found = bpf_map_lookup_elem(&skips, &device), skip;
	if (!found)
		return XDP_PASS;
	skip = *found; // <- cause
	if (skip > 60)
		return XDP_PASS;
	data += skip; // <- refused
	if (data + 1 > end)
		return XDP_PASS;
	return data[0] ? XDP_PASS : XDP_DROP;
}
