// category: Memory Safety
// message: invalid access to packet
// fix: data_end | & 
// about: packet
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} offsets SEC(".maps");

SEC("xdp")
int at_offset(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	u8 *data = (void *)(long)ctx->data;
	u32 zero = 0;
	u64 *offset = bpf_map_lookup_elem(&offsets, &zero);
	if (!offset)
		return XDP_PASS;
	data += *offset & 0xffff; // <- cause
	if ((void *)data > end)
		return XDP_PASS;
	return data[0] == 7 ? XDP_DROP : XDP_PASS; // <- refused
}
