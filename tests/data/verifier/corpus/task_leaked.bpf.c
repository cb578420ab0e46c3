// category: Resource Lifetime Safety
// message: Unreleased reference
// fix: bpf_task_release
// about: kernel object
// kernels: 6.2+
struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
void bpf_task_release(struct task_struct *p) __ksym;
u32 left;

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exit_of, struct task_struct *p) // <- refused
{
	struct task_struct *parent = bpf_task_from_pid(p->tgid); // <- cause
	if (parent)
		left = parent->exit_code;
	return 0;
}
