// category: Memory Safety
// message: is ptr_task_struct invalid variable offset
// fix: constant | bpf_probe_read_kernel | BPF_CORE_READ
// about: kernel object
u32 i;
char letter;

SEC("tp_btf/sched_switch")
int BPF_PROG(leave, bool preempt, struct task_struct *prev, struct task_struct *next) // <- cause
{
	letter = next->comm[i & 15]; // <- refused
	return 0;
}
