struct stats {
	u32 kind;
	u64 bytes;
} __attribute__((packed));

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, struct stats);
} stats SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_read")
int reads(struct trace_event_raw_sys_enter *ctx)
{
	u32 key = 0;
	struct stats *s = bpf_map_lookup_elem(&stats, &key);

	if (s)
		__sync_fetch_and_add(&s->bytes, 1); // REFUSED
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
