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
	struct value v;
	v.n[0] = 7;
	asm volatile("" : : "r"(&v) : "memory");
	bpf_map_update_elem(&counts, &key, &v, BPF_ANY); /* REFUSED */
	return XDP_PASS;
}
