// category: Execution Context Safety
// message: bpf_spin_lock
// fix: bpf_spin_unlock | unlock
// about: lock
struct account { struct bpf_spin_lock lock; u64 bytes; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct account);
} accounts SEC(".maps");

SEC("tc")
int charge(struct __sk_buff *skb)
{
	u32 zero = 0;
	struct account *account = bpf_map_lookup_elem(&accounts, &zero);
	if (!account)
		return 0;
	bpf_spin_lock(&account->lock); // <- cause
	if (account->bytes < skb->len) // <- refused
		return 2;
	account->bytes -= skb->len;
	bpf_spin_unlock(&account->lock);
	return 0;
} // <- refused
