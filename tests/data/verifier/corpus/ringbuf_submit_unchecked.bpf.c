// category: Call Type Safety
// message: type=scalar expected=
// message 5.10: type=inv expected=
// fix: if (!
// about: ring buffer record
#undef bpf_ringbuf_reserve
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_close")
int record(void *ctx)
{
	u64 *ts = bpf_ringbuf_reserve(&events, sizeof(*ts), 0); // <- cause
	if (ts)
		*ts = bpf_ktime_get_ns();
	barrier_var(ts);
	bpf_ringbuf_submit(ts, 0); // <- refused
	return 0;
}
