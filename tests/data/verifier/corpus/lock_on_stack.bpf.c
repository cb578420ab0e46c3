// category: Call Type Safety
// message: R1 type=fp expected=
// fix: map
// about: lock
u64 total;

SEC("tc")
int add(struct __sk_buff *skb)
{
	struct bpf_spin_lock lock = {};
	bpf_spin_lock(&lock); // <- refused, cause
	total += skb->len;
	bpf_spin_unlock(&lock);
	return 0;
}
