// category: Call Type Safety
// message: cannot pass map_type 13 into func bpf_map_update_elem#2
// fix: map | user space
// about: map
struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, u32);
	__array(values, struct inner);
} per_process SEC(".maps");

SEC("tp/sched/sched_process_exec")
int start(void *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	u64 zero = 0;
	bpf_map_update_elem(&per_process, &pid, &zero, BPF_ANY); // <- refused, cause
	return 0;
}
