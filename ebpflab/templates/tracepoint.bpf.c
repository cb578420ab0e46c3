// Which files does this machine open? A row for each openat(2), by a tracepoint.
// The context is a struct with the fields of the tracepoint's format file: %bpf format syscalls:sys_enter_openat

struct event {
	ktime_t time;
	u32 pid;
	char comm[16];
	char path[128];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_open(struct tracepoint__syscalls__sys_enter_openat *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	long read;

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	read = bpf_probe_read_user_str(e->path, sizeof(e->path), ctx->filename);
	if (read < 0) {
		bpf_ringbuf_discard(e, 0);
		return read;
	}
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("tp/syscalls/sys_enter_openat")
int on_open(struct tracepoint__syscalls__sys_enter_openat *ctx)
{
	if (try_on_open(ctx))
		__sync_fetch_and_add(&errors, 1);
	return 0;
}
