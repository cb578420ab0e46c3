// A program that runs when it is asked to: s.test_run("on_request", ctx=struct.pack("<IIQ", 17, 25, 0)).
// Its context is whatever it is given, and goes back with what the program wrote into it.

struct request {
	u32 a;
	u32 b;
	u64 sum;
};

struct event {
	ktime_t time;
	struct request request;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

static int try_on_request(struct request *request)
{
	struct event *e;

	request->sum = (u64)request->a + request->b;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->request = *request;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("syscall")
int on_request(struct request *request)
{
	return try_on_request(request);
}
