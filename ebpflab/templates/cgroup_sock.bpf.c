// Which sockets do the processes of a cgroup make? A row for each socket(2); returning 0 would refuse it.
// Run it with --attach on_socket=/my.slice.

struct event {
	ktime_t time;
	u32 family;
	u32 type;
	u32 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_socket(struct bpf_sock *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->family = ctx->family;
	e->type = ctx->type;
	e->protocol = ctx->protocol;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("cgroup/sock_create")
int on_socket(struct bpf_sock *ctx)
{
	if (try_on_socket(ctx))
		__sync_fetch_and_add(&errors, 1);
	return 1;
}
