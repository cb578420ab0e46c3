struct value { struct bpf_spin_lock lock; u32 n; u64 total; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, struct value);
} counts SEC(".maps");
char LICENSE[] SEC("license") = "GPL";

SEC("tc")
int add(struct __sk_buff *ctx)
{
	u32 key = 1;
	struct value *v = bpf_map_lookup_elem(&counts, &key);
	if (!v)
		return 0;
	bpf_spin_lock(&v->lock);
	v->total += ctx->len;
	return 0;
} /* REFUSED */
