// category: Execution Context Safety
// message: tracing progs cannot use bpf_timer yet
// fix: timer
// about: timer
// kernels: 5.15-6.18
struct ticker { struct bpf_timer timer; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct ticker);
} tickers SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int start(void *ctx)
{
	u32 zero = 0;
	struct ticker *ticker = bpf_map_lookup_elem(&tickers, &zero);
	if (ticker)
		bpf_timer_init(&ticker->timer, &tickers, 1);
	return 0;
}
