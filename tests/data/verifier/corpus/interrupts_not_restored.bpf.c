// category: Execution Context Safety
// message: bpf_local_irq_save-ed region
// fix: bpf_local_irq_restore | restore the saved IRQ
// about: lock
// kernels: 6.14+
void bpf_local_irq_save(unsigned long *flags) __ksym;
void bpf_local_irq_restore(unsigned long *flags) __ksym;
u64 total;

SEC("tc")
int add(struct __sk_buff *skb)
{
	unsigned long flags;
	bpf_local_irq_save(&flags); // <- cause
	total += skb->len;
	return 0; // <- refused
}
