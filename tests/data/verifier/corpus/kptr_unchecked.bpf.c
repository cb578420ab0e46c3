// category: Register Type Safety
// message: invalid mem access 'ptr_or_null_
// fix: if (!
// about: kernel object
// kernels: 6.2+
typedef struct task_struct kept_task;
struct kept { kept_task __kptr *task; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct kept);
} slots SEC(".maps");
void bpf_task_release(struct task_struct *p) __ksym;

SEC("tp_btf/sched_process_fork")
int BPF_PROG(forked, struct task_struct *parent, struct task_struct *child)
{
	u32 zero = 0;
	struct kept *kept = bpf_map_lookup_elem(&slots, &zero);
	struct task_struct *old;
	int pid;
	if (!kept)
		return 0;
	old = bpf_kptr_xchg(&kept->task, NULL); // <- cause
	pid = old->pid; // <- refused
	bpf_task_release(old);
	return pid == 1;
}
