// category: Execution Context Safety
// message: function calls are not allowed while holding a lock
// fix: unlock | before
// about: lock
struct account { struct bpf_spin_lock lock; u64 bytes; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, u32);
	__type(value, struct account);
} accounts SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, u32);
} stages SEC(".maps");

SEC("tc")
int charge(struct __sk_buff *skb)
{
	u32 mark = skb->mark;
	struct account *a = bpf_map_lookup_elem(&accounts, &mark);
	if (!a)
		return 0;
	bpf_spin_lock(&a->lock); // <- cause
	a->bytes += skb->len;
	bpf_tail_call(skb, &stages, 1); // <- refused
	bpf_spin_unlock(&a->lock);
	return 0;
}
