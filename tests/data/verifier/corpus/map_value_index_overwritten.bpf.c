// category: Memory Safety
// message: unbounded memory access
// fix: if ( | &
// about: number
struct slots { u64 n[16]; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct slots);
} histogram SEC(".maps");

SEC("tp/syscalls/sys_enter_write")
int by_length(struct trace_event_raw_sys_enter *ctx)
{
	u32 zero = 0, length = ctx->args[2];
	struct slots *slots = bpf_map_lookup_elem(&histogram, &zero);
	if (!slots || length >= 16)
		return 0;
	bpf_probe_read_user(&length, sizeof(length), (void *)ctx->args[1]); // <- cause
	slots->n[length] += 1; // <- refused
	return 0;
}
