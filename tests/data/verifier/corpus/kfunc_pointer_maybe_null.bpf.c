// category: Call Type Safety
// message: Possibly NULL pointer passed to trusted arg0
// message 7.3+: Possibly NULL pointer passed to trusted R1
// fix: NULL | if (!
// about: kernel object
// kernels: 6.2+
struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
void bpf_task_release(struct task_struct *p) __ksym;

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exit_of, struct task_struct *p)
{
	struct task_struct *init = bpf_task_from_pid(1); // <- cause
	bpf_task_release(init); // <- refused
	return 0;
}
