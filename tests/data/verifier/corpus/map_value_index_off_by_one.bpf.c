// category: Memory Safety
// message: invalid access to map value, value_size=128 off=128 size=8
// fix: size | <
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
	u64 nr = ctx->id; // <- cause
	if (!slots || nr > 16) // <- cause
		return 0;
	slots->n[nr] += 1; // <- refused
	return 0;
}
