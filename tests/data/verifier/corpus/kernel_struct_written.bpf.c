// category: Memory Safety
// message: only read is supported
// fix: write | copy
// about: kernel object
SEC("tp_btf/sched_switch")
int BPF_PROG(leave, bool preempt, struct task_struct *prev, struct task_struct *next) // <- cause
{
	next->static_prio = 100; // <- refused
	return 0;
}
