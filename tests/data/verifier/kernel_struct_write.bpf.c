char LICENSE[] SEC("license") = "GPL";

SEC("tp_btf/sched_switch")
int BPF_PROG(rename, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	next->prio = 1; /* REFUSED */
	return 0;
}
