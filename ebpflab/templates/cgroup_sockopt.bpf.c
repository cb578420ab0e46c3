// Which socket options do the processes of a cgroup set? A row for each setsockopt(2).
// Run it with --attach on_option=/my.slice. Returning 0 would refuse the call with EPERM.

struct event {
	ktime_t time;
	s32 level;
	s32 option;
	s32 length;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_option(struct bpf_sockopt *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->level = ctx->level;
	e->option = ctx->optname;
	e->length = ctx->optlen;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("cgroup/setsockopt")
int on_option(struct bpf_sockopt *ctx)
{
	if (try_on_option(ctx))
		__sync_fetch_and_add(&errors, 1);
	return 1;
}
