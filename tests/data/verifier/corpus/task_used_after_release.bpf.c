// category: Register Type Safety
// message: invalid mem access 'scalar'
// fix: release
// about: kernel object
// kernels: 6.2+
struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
void bpf_task_release(struct task_struct *p) __ksym;
u32 left;

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exit_of, struct task_struct *p)
{
	struct task_struct *parent = bpf_task_from_pid(p->tgid);
	if (!parent)
		return 0;
	bpf_task_release(parent); // <- cause
	left = parent->exit_code; // <- refused
	return 0;
}
