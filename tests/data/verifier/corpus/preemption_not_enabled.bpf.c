// category: Execution Context Safety
// message: bpf_preempt_disable-ed region
// fix: bpf_preempt_enable
// about: lock
// kernels: 6.10+
void bpf_preempt_disable(void) __ksym;
void bpf_preempt_enable(void) __ksym;
u64 total;

SEC("tc")
int add(struct __sk_buff *skb)
{
	bpf_preempt_disable(); // <- cause
	total += skb->len;
	return 0; // <- refused
}
