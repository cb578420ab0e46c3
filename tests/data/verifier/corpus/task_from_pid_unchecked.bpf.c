// category: Register Type Safety
// message: ptr_or_null_
// fix: if (!
// about: kernel object
// kernels: 6.2+
struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
void bpf_task_release(struct task_struct *p) __ksym;

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exit_of, struct task_struct *p)
{
	struct task_struct *init = bpf_task_from_pid(1); // <- cause
	int code = init->exit_code; // <- refused
	bpf_task_release(init);
	return code;
}
