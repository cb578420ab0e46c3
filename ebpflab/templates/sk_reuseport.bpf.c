// Which of the sockets on one port gets the next packet? A row for each choice, which is by the hash here.
// The sockets have SO_REUSEPORT set. Attach it to one of them: s.attach("on_choice", target=sock).

struct event {
	ktime_t time;
	u32 hash;
	u32 length;
	u32 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_choice(struct sk_reuseport_md *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->hash = ctx->hash;
	e->length = ctx->len;
	e->protocol = ctx->ip_protocol;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("sk_reuseport")
int on_choice(struct sk_reuseport_md *ctx)
{
	if (try_on_choice(ctx))
		__sync_fetch_and_add(&errors, 1);
	return SK_PASS; /* without bpf_sk_select_reuseport(): as the kernel would have chosen */
}
