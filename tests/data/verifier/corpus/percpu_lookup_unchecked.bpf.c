// category: Register Type Safety
// message: invalid mem access 'map_value_or_null'
// fix: if (!
// about: map value
// kernels: 5.19+
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} ticks SEC(".maps");

SEC("tp/syscalls/sys_enter_sched_yield")
int ticks_of_first_cpu(void *ctx)
{
	u32 zero = 0;
	u64 *first = bpf_map_lookup_percpu_elem(&ticks, &zero, 0); // <- cause
	return *first > 1000; // <- refused
}
