// category: Memory Safety
// message: invalid access to memory, mem_size=8 off=8 size=8
// fix: sizeof
// about: ring buffer record
struct event { u64 ts; u64 pid; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int record(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(e), 0); // <- cause
	if (!e)
		return 0;
	e->ts = bpf_ktime_get_ns();
	e->pid = bpf_get_current_pid_tgid() >> 32; // <- refused
	bpf_ringbuf_submit(e, 0);
	return 0;
}
