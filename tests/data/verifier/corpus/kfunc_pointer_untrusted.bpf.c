// category: Call Type Safety
// message: R1 must be
// fix: trusted | acquir | RCU
// about: kernel object
// kernels: 6.2+
struct task_struct *bpf_task_acquire(struct task_struct *p) __ksym;
void bpf_task_release(struct task_struct *p) __ksym;

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exit_of, struct task_struct *p)
{
	struct task_struct *tracer = p->last_wakee; // <- cause
	struct task_struct *kept = bpf_task_acquire(tracer); // <- refused
	if (kept)
		bpf_task_release(kept);
	return 0;
}
