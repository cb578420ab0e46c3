// category: Memory Safety
// message: invalid access to packet, off=22 size=16
// fix: data_end
// about: packet
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct in6_addr);
	__type(value, u64);
} blocked SEC(".maps");

SEC("xdp")
int block(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data; // <- cause
	struct ethhdr *eth = data;
	struct ipv6hdr *ip = data + sizeof(*eth);
	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(0x86dd))
		return XDP_PASS;
	return bpf_map_lookup_elem(&blocked, &ip->saddr) ? XDP_DROP : XDP_PASS; // <- refused
}
