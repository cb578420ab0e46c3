// category: Execution Context Safety
// message: bpf_rcu_read_lock
// fix: bpf_rcu_read_unlock | unlock
// about: lock
// kernels: 6.2+
void bpf_rcu_read_lock(void) __ksym;
void bpf_rcu_read_unlock(void) __ksym;
u32 tgid;

SEC("tp_btf/sched_switch")
int BPF_PROG(leave, bool preempt, struct task_struct *prev, struct task_struct *next) // <- refused
{
	bpf_rcu_read_lock(); // <- cause
	struct task_struct *parent = next->real_parent;
	if (!parent) // <- refused
		return 0;
	tgid = parent->tgid;
	bpf_rcu_read_unlock();
	return 0;
}
