// category: Memory Safety
// message: invalid read from stack R2 off -16+8 size 16
// message -6.2: invalid indirect read from stack R2 off -16+8 size 16
// fix: = {} | memset
// about: stack
// without: CAP_PERFMON
struct flow { u64 source, destination; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct flow);
	__type(value, u64);
} flows SEC(".maps");

SEC("xdp")
int look_up(struct xdp_md *ctx)
{
	struct flow flow; // <- cause
	flow.source = ctx->ingress_ifindex;
	if (bpf_map_lookup_elem(&flows, &flow)) // <- refused
		return XDP_DROP;
	return XDP_PASS;
}
