// category: Policy
// message: calling kernel function bpf_task_from_pid is not allowed
// fix: type | section
// about: call
// kernels: 6.2+
struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
void bpf_task_release(struct task_struct *p) __ksym;

SEC("socket")
int owner(struct __sk_buff *skb)
{
	struct task_struct *init = bpf_task_from_pid(1); // <- refused, cause
	if (init)
		bpf_task_release(init);
	return 0;
}
