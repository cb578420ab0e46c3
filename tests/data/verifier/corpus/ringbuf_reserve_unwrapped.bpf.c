// category: Register Type Safety
// message: _mem_or_null'
// message 5.10: invalid mem access 'mem_or_null'
// fix: if (!
// about: ring buffer record
#undef bpf_ringbuf_reserve
struct event { u32 pid; u64 ts; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int record(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0); // <- cause
	e->ts = bpf_ktime_get_ns(); // <- refused
	bpf_ringbuf_submit(e, 0);
	return 0;
}
