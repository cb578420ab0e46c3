// category: Memory Safety
// message: bpf_spin_lock cannot be accessed directly by load/store
// fix: bpf_spin_lock
// about: lock
struct account { struct bpf_spin_lock lock; u32 bytes; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, u32);
	__type(value, struct account);
} accounts SEC(".maps");

SEC("tc")
int reset(struct __sk_buff *skb)
{
	u32 mark = skb->mark;
	struct account *a = bpf_map_lookup_elem(&accounts, &mark); // <- cause
	if (!a)
		return 0;
	__builtin_memset(a, 0, sizeof(*a)); // <- refused
	return 0;
}
