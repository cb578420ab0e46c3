// What do the TCP sockets of a cgroup send? A row for each message, before it becomes packets.
// Run it with --attach on_connected=/my.slice; the other program goes to the map of sockets by itself.

struct event {
	ktime_t time;
	u32 remote_port;
	u32 local_port;
	u32 length;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

/* Only sockets in this map are seen; the sockops program puts in those that connect. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u32);
} sockets SEC(".maps");

u64 errors = 0;

SEC("sockops")
int on_connected(struct bpf_sock_ops *ctx)
{
	u64 key = (u64)ctx->local_port << 32 | ctx->remote_port;

	if (ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		bpf_sock_hash_update(ctx, &sockets, &key, BPF_ANY);
	return 1;
}

static int try_on_message(struct sk_msg_md *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->remote_port = bpf_ntohl(ctx->remote_port);
	e->local_port = ctx->local_port;
	e->length = ctx->size;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("sk_msg")
int on_message(struct sk_msg_md *ctx)
{
	if (try_on_message(ctx))
		__sync_fetch_and_add(&errors, 1);
	return SK_PASS;
}
