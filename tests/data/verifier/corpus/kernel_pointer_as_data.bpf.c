// category: Memory Safety
// category -6.1: Call Type Safety
// message: access beyond the end of member flags
// message 5.10: R2 type=ptr_ expected=
// message 6.1: R2 type=ptr_ expected=
// fix: bpf_probe_read_kernel | copy | BPF_CORE_READ
// about: kernel object
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

SEC("tp_btf/sched_switch")
int BPF_PROG(leave, bool preempt, struct task_struct *prev, struct task_struct *next) // <- cause
{
	bpf_ringbuf_output(&events, next, 16, 0); // <- refused
	return 0;
}
