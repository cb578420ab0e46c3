// What does an infrared receiver see? A row for each pulse and space.
// Run it with --attach on_sample=/dev/lirc0. Few kernels have it: CONFIG_BPF_LIRC_MODE2.

struct event {
	ktime_t time;
	u32 sample; /* kind in the upper byte, microseconds in the others */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_sample(unsigned int *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->sample = *ctx;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("lirc_mode2")
int on_sample(unsigned int *ctx)
{
	if (try_on_sample(ctx))
		__sync_fetch_and_add(&errors, 1);
	return 0;
}
