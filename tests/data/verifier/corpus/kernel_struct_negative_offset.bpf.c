// category: Memory Safety
// message: is ptr_task_struct invalid negative access: off=-8
// fix: offset | BPF_CORE_READ
// about: kernel object
u64 last;

SEC("tp_btf/sched_switch")
int BPF_PROG(leave, bool preempt, struct task_struct *prev, struct task_struct *next) // <- cause
{
	last = *(u64 *)((void *)next - 8); // <- refused
	return 0;
}
