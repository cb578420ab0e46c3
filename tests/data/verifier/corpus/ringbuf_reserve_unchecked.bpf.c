// category: Register Type Safety
// message: invalid mem access 'scalar'
// message 5.10: invalid mem access 'inv'
// fix: if (!
// about: ring buffer record
struct event { u32 pid; u64 ts; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int record(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0); // <- cause
	e->pid = bpf_get_current_pid_tgid() >> 32; // <- refused
	bpf_ringbuf_submit(e, 0);
	return 0;
}
