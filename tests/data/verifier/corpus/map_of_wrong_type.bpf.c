// category: Call Type Safety
// message: cannot pass map_type 4 into func bpf_map_lookup_elem#1
// fix: map
// about: map
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int count(void *ctx)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&events, &zero) != NULL; // <- refused, cause
}
