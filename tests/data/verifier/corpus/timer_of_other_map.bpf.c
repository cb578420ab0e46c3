// category: Call Type Safety
// message: doesn't match map pointer in R2
// fix: map
// about: timer
// kernels: 5.15+
struct ticker { struct bpf_timer timer; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct ticker);
} first SEC(".maps"), second SEC(".maps");

SEC("tc")
int start(struct __sk_buff *skb)
{
	u32 zero = 0;
	struct ticker *ticker = bpf_map_lookup_elem(&first, &zero); // <- cause
	if (ticker)
		bpf_timer_init(&ticker->timer, &second, 1); // <- refused
	return 0;
}
