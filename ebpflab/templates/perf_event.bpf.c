// What keeps the CPUs busy? A row for each sample, by a perf event: 99 times a second and CPU.
// Run it with --attach on_sample=cpu-clock,freq=99; pid=1234 and cpu=0 narrow it.

struct event {
	ktime_t time;
	u32 pid;
	char comm[16];
	u32 cpu;
	u64 instruction;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_sample(struct bpf_perf_event_data *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->cpu = bpf_get_smp_processor_id();
	e->instruction = PT_REGS_IP(&ctx->regs);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("perf_event")
int on_sample(struct bpf_perf_event_data *ctx)
{
	if (try_on_sample(ctx))
		__sync_fetch_and_add(&errors, 1);
	return 0;
}
