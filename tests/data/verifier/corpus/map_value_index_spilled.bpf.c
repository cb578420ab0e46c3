// category: Register Type Safety
// message: with unbounded
// fix: if ( | &
// about: number
struct slots { u64 n[16]; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct slots);
} histogram SEC(".maps");

SEC("tp/raw_syscalls/sys_exit")
int by_result(struct trace_event_raw_sys_exit *ctx)
{
	u32 zero = 0;
	volatile u64 result = ctx->ret; // <- cause
	struct slots *slots = bpf_map_lookup_elem(&histogram, &zero);
	if (slots)
		slots->n[result] += 1; // <- refused
	return 0;
}
