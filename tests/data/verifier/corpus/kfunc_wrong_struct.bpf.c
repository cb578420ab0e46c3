// category: Call Type Safety
// message: args#0 expected pointer to STRUCT task_struct but R1 has a pointer to STRUCT
// message 7.3+: R1 expected pointer to STRUCT task_struct
// fix: task_struct
// about: kernel object
// kernels: 6.2+
struct task_struct *bpf_task_acquire(struct task_struct *p) __ksym;
void bpf_task_release(struct task_struct *p) __ksym;

SEC("tp_btf/sched_process_exec")
int BPF_PROG(started, struct task_struct *p, int old_pid, struct linux_binprm *bprm) // <- cause
{
	struct task_struct *kept = bpf_task_acquire((void *)bprm); // <- refused
	if (kept)
		bpf_task_release(kept);
	return 0;
}
