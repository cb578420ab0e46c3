// Which port does a new connection ask for, before a socket is chosen? A row for each look-up of a listener.
// It is attached to the session's own network namespace. bpf_sk_assign() would choose another socket.

struct event {
	ktime_t time;
	u32 remote_ip4; /* as in the packet */
	u16 remote_port;
	u16 local_port;
	u8 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_lookup(struct bpf_sk_lookup *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->remote_ip4 = ctx->remote_ip4;
	e->remote_port = bpf_ntohs(ctx->remote_port);
	e->local_port = ctx->local_port;
	e->protocol = ctx->protocol;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("sk_lookup")
int on_lookup(struct bpf_sk_lookup *ctx)
{
	if (try_on_lookup(ctx))
		__sync_fetch_and_add(&errors, 1);
	return SK_PASS;
}
