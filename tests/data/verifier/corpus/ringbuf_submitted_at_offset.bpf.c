// category: Resource Lifetime Safety
// category -6.1: Register Type Safety
// message: R1 must have zero offset when passed to release func
// message -6.1: dereference of modified
// fix: e
// about: ring buffer record
// kernels: 5.15+
struct event { u32 pid; u64 ts; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_fsync")
int record(struct trace_event_raw_sys_enter *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0); // <- cause
	if (!e)
		return 0;
	e->ts = bpf_ktime_get_ns();
	bpf_ringbuf_submit(&e->ts, 0); // <- refused
	return 0;
}
