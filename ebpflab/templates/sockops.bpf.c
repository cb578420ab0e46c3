// Which TCP connections come to be in a cgroup? A row for each that is established, from either side.
// Run it with --attach on_event=/my.slice; / stands for all processes.

struct event {
	ktime_t time;
	u32 remote_ip4; /* as in the packet */
	u16 remote_port;
	u16 local_port;
	bool active; /* connected from here, rather than to here */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_event(struct bpf_sock_ops *ctx)
{
	struct event *e;

	if (ctx->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB && ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->remote_ip4 = ctx->remote_ip4;
	e->remote_port = bpf_ntohl(ctx->remote_port);
	e->local_port = ctx->local_port;
	e->active = ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("sockops")
int on_event(struct bpf_sock_ops *ctx)
{
	if (try_on_event(ctx))
		__sync_fetch_and_add(&errors, 1);
	return 1;
}
