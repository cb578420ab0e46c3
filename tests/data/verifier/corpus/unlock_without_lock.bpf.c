// category: Resource Lifetime Safety
// message: bpf_spin_unlock without taking a lock
// fix: bpf_spin_lock | take the matching lock
// about: lock
struct account { struct bpf_spin_lock lock; u64 bytes; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, u32);
	__type(value, struct account);
} accounts SEC(".maps");

SEC("tc")
int charge(struct __sk_buff *skb)
{
	u32 mark = skb->mark;
	struct account *a = bpf_map_lookup_elem(&accounts, &mark);
	if (!a)
		return 0;
	if (skb->len > 100)
		bpf_spin_lock(&a->lock);
	bpf_spin_unlock(&a->lock); // <- refused, cause
	return 0;
}
