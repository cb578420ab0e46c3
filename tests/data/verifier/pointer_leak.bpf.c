struct value { u64 n[2]; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, struct value);
} counts SEC(".maps");
char LICENSE[] SEC("license") = "GPL";

SEC("xdp")
int store(struct xdp_md *ctx)
{
	u32 key = 1;
	struct value *v = bpf_map_lookup_elem(&counts, &key);
	if (v)
		v->n[0] = (u64)ctx; /* REFUSED */
	return XDP_PASS;
}
