// category: Register Type Safety
// message: invalid mem access 'map_value_or_null'
// fix: if (!
// about: map value
// kernels: 5.11+
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} waits SEC(".maps");

SEC("tp_btf/sched_switch")
int BPF_PROG(leave, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	u64 *since = bpf_task_storage_get(&waits, prev, 0, BPF_LOCAL_STORAGE_GET_F_CREATE); // <- cause
	*since = bpf_ktime_get_ns(); // <- refused
	return 0;
}
