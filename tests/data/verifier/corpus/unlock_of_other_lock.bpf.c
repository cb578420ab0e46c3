// category: Resource Lifetime Safety
// message: bpf_spin_unlock of different lock
// fix: same | lock
// about: lock
struct account { struct bpf_spin_lock lock; u64 bytes; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, u32);
	__type(value, struct account);
} accounts SEC(".maps");

SEC("tc")
int transfer(struct __sk_buff *skb)
{
	u32 from = skb->mark, to = skb->priority;
	struct account *a = bpf_map_lookup_elem(&accounts, &from);
	struct account *b = bpf_map_lookup_elem(&accounts, &to);
	if (!a || !b)
		return 0;
	bpf_spin_lock(&a->lock); // <- cause
	a->bytes = 0;
	bpf_spin_unlock(&b->lock); // <- refused
	return 0;
}
