// The prelude counts refused records, so a NULL is tested for once, and the message speaks of a number.
struct event {
	u32 pid;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

u64 lost;

SEC("tp/syscalls/sys_enter_getpid")
int on_getpid(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		__sync_fetch_and_add(&lost, 1);
	e->pid = bpf_get_current_pid_tgid() >> 32; // REFUSED
	bpf_ringbuf_submit(e, 0);
	return 0;
}
