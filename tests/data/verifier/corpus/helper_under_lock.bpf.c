// category: Execution Context Safety
// message: function calls are not allowed while holding a lock
// fix: before | after
// about: lock
struct account { struct bpf_spin_lock lock; u64 seen; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, u32);
	__type(value, struct account);
} accounts SEC(".maps");

SEC("tc")
int touch(struct __sk_buff *skb)
{
	u32 mark = skb->mark;
	struct account *a = bpf_map_lookup_elem(&accounts, &mark);
	if (!a)
		return 0;
	bpf_spin_lock(&a->lock); // <- cause
	a->seen = bpf_ktime_get_ns(); // <- refused
	bpf_spin_unlock(&a->lock);
	return 0;
}
