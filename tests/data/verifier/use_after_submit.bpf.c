struct event { u32 pid; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");
char LICENSE[] SEC("license") = "GPL";

SEC("tp/syscalls/sys_enter_openat")
int send(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	bpf_ringbuf_submit(e, 0);
	e->pid = 5; /* REFUSED */
	return 0;
}
