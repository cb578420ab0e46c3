// category: Program Structure
// message: the register R0 has
// fix: return
// about: timer
// kernels: 5.15+
struct ticker { struct bpf_timer timer; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct ticker);
} tickers SEC(".maps");

static int tick(void *map, u32 *key, struct ticker *ticker)
{
	return 1; // <- refused, cause
}

SEC("tc")
int start(struct __sk_buff *skb)
{
	u32 zero = 0;
	struct ticker *ticker = bpf_map_lookup_elem(&tickers, &zero);
	if (ticker)
		bpf_timer_set_callback(&ticker->timer, tick);
	return 0;
}
