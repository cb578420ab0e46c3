struct value { u64 n[2]; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, struct value);
} counts SEC(".maps");
char LICENSE[] SEC("license") = "GPL";

SEC("tp/syscalls/sys_enter_openat")
int copy(struct trace_event_raw_sys_enter *ctx)
{
	u32 key = 1;
	struct value *v = bpf_map_lookup_elem(&counts, &key);
	if (!v)
		return 0;
	bpf_probe_read_user(v, ctx->args[2], (void *)ctx->args[1]); /* REFUSED */
	return 0;
}
