// Which of many functions of a library run? A row for each call, by one uprobe.multi link.
// The functions have different parameters, so the address says which one it was.

struct event {
	ktime_t time;
	u32 pid;
	char comm[16];
	u64 function;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_call(struct pt_regs *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->function = bpf_get_func_ip(ctx);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("uprobe.multi/libc.so.6:get*info")
int on_call(struct pt_regs *ctx)
{
	if (try_on_call(ctx))
		__sync_fetch_and_add(&errors, 1);
	return 0;
}
