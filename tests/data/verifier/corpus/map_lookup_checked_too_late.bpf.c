// category: Register Type Safety
// message: invalid mem access 'map_value_or_null'
// fix: if (!
// about: map value
struct start { u64 ts; u32 cpu; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u32);
	__type(value, struct start);
} starts SEC(".maps");

SEC("tp/syscalls/sys_exit_openat")
int measure(void *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct start *start = bpf_map_lookup_elem(&starts, &tid); // <- cause
	u64 since = start->ts; // <- refused
	u64 took = bpf_ktime_get_ns() - since;
	if (start)
		bpf_map_delete_elem(&starts, &tid);
	return took > 1000000;
}
