// How do opens of files end? A row for each return of the kernel's vfs_open(), by a kretprobe.
// At its return the parameters of a function are gone; what it returned is there.

struct event {
	ktime_t time;
	u32 pid;
	char comm[16];
	int result;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_opened(int result)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->result = result;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("kretprobe/vfs_open")
int BPF_KRETPROBE(on_opened, int result)
{
	if (try_on_opened(result))
		__sync_fetch_and_add(&errors, 1);
	return 0;
}
