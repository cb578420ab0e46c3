// Which device files do the processes of a cgroup open? A row for each; here /dev/full (1:7) is refused.
// Run it with --attach on_device=/my.slice.

const volatile u32 refused_major = 1, refused_minor = 7;

struct event {
	ktime_t time;
	u16 type; /* 1 block, 2 character */
	u16 access; /* 1 make, 2 read, 4 write */
	u32 major;
	u32 minor;
	bool refused;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_device(struct bpf_cgroup_dev_ctx *ctx, bool *refuse)
{
	struct event *e;

	*refuse = ctx->major == refused_major && ctx->minor == refused_minor;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->type = ctx->access_type & 0xffff;
	e->access = ctx->access_type >> 16;
	e->major = ctx->major;
	e->minor = ctx->minor;
	e->refused = *refuse;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("cgroup/dev")
int on_device(struct bpf_cgroup_dev_ctx *ctx)
{
	bool refuse = false;

	if (try_on_device(ctx, &refuse))
		__sync_fetch_and_add(&errors, 1);
	return !refuse;
}
