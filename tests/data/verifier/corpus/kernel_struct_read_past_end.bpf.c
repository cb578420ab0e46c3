// category: Memory Safety
// message: access beyond struct task_struct at off
// fix: field
// about: kernel object
u64 last;

SEC("tp_btf/sched_switch")
int BPF_PROG(leave, bool preempt, struct task_struct *prev, struct task_struct *next) // <- cause
{
	last = *(u64 *)((void *)next + 99992); // <- refused
	return 0;
}
