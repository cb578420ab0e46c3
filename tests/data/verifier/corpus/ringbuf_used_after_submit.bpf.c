// category: Register Type Safety
// message: invalid mem access 'scalar'
// message 5.10: invalid mem access 'inv'
// fix: submit
// about: ring buffer record
struct event { u32 pid; u64 ts; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");
u64 last;

SEC("tp/syscalls/sys_enter_fsync")
int record(struct trace_event_raw_sys_enter *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->ts = bpf_ktime_get_ns();
	bpf_ringbuf_submit(e, 0); // <- cause
	last = *(volatile u64 *)&e->ts; // <- refused
	return 0;
}
