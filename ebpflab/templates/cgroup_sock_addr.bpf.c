// Where do the processes of a cgroup connect to? A row for each connect(2); --var refused=80 refuses that port.
// Run it with --attach on_connect=/my.slice. The program may also write another address into the context.

const volatile u16 refused = 0; /* connections to this port fail with EPERM */

struct event {
	ktime_t time;
	u32 ip4; /* as in the packet */
	u16 port;
	bool refused;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_connect(struct bpf_sock_addr *ctx, bool *refuse)
{
	struct event *e;
	u16 port = bpf_ntohs(ctx->user_port);

	*refuse = refused && port == refused;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->ip4 = ctx->user_ip4;
	e->port = port;
	e->refused = *refuse;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("cgroup/connect4")
int on_connect(struct bpf_sock_addr *ctx)
{
	bool refuse = false;

	if (try_on_connect(ctx, &refuse))
		__sync_fetch_and_add(&errors, 1);
	return !refuse;
}
