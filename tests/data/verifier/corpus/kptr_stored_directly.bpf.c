// category: Memory Safety
// message: store to referenced kptr disallowed
// fix: bpf_kptr_xchg
// about: kernel object
// kernels: 6.4+
typedef struct task_struct kept_task;
struct kept { kept_task __kptr *task; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct kept);
} slots SEC(".maps");

SEC("tp_btf/sched_process_fork")
int BPF_PROG(forked, struct task_struct *parent, struct task_struct *child)
{
	u32 zero = 0;
	struct kept *kept = bpf_map_lookup_elem(&slots, &zero); // <- cause
	if (kept && child->pid > 1)
		kept->task = child; // <- refused
	return 0;
}
