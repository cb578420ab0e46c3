// category: Execution Context Safety
// message: unmatched rcu read unlock (kernel function bpf_rcu_read_unlock)
// fix: bpf_rcu_read_lock | read lock
// about: lock
// kernels: 6.2+
void bpf_rcu_read_lock(void) __ksym;
void bpf_rcu_read_unlock(void) __ksym;

SEC("tp_btf/sched_switch")
int BPF_PROG(leave, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	bpf_rcu_read_lock();
	bpf_rcu_read_unlock();
	bpf_rcu_read_unlock(); // <- refused, cause
	return 0;
}
