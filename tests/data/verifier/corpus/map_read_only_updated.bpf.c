// category: Memory Safety
// message: write into map forbidden
// fix: write
// about: map value
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u32);
} allowed SEC(".maps");

SEC("xdp")
int learn(struct xdp_md *ctx)
{
	u32 device = ctx->ingress_ifindex, yes = 1;
	bpf_map_update_elem(&allowed, &device, &yes, BPF_ANY); // <- refused, cause
	return XDP_PASS;
}
