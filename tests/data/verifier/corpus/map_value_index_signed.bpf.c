// category: Register Type Safety
// message: min value
// fix: unsigned | >= 0 | < 0
// about: number
struct slots { u64 n[16]; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct slots);
} histogram SEC(".maps");

SEC("tp/raw_syscalls/sys_enter")
int count_calls(struct trace_event_raw_sys_enter *ctx)
{
	u32 zero = 0;
	struct slots *slots = bpf_map_lookup_elem(&histogram, &zero);
	long nr = ctx->id; // <- cause
	if (!slots)
		return 0;
	if (nr > 15)
		return 0;
	slots->n[nr] += 1; // <- refused
	return 0;
}
