// Which kernel settings do the processes of a cgroup look at or change? A row for each access in /proc/sys.
// Run it with --attach on_access=/my.slice. Returning 0 would refuse the access with EPERM.

struct event {
	ktime_t time;
	char name[48];
	bool write;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_access(struct bpf_sysctl *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->write = ctx->write;
	/* A name that is too long is cut, which is no reason to lose the row. */
	bpf_sysctl_get_name(ctx, e->name, sizeof(e->name), 0);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("cgroup/sysctl")
int on_access(struct bpf_sysctl *ctx)
{
	if (try_on_access(ctx))
		__sync_fetch_and_add(&errors, 1);
	return 1;
}
