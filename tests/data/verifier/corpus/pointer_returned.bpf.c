// category: Policy
// message: leaks addr as return value
// fix: CAP_PERFMON | number
// about: map value
// without: CAP_PERFMON
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} blocked SEC(".maps");

SEC("tc")
int known(struct __sk_buff *skb)
{
	u32 mark = skb->mark;
	return (long)bpf_map_lookup_elem(&blocked, &mark); // <- refused, cause
}
