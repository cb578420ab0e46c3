// Which files are removed? A row for each unlinkat(2), by a kprobe at the system call.
// BPF_KSYSCALL knows how this architecture passes arguments to system calls.

struct event {
	ktime_t time;
	u32 pid;
	char comm[16];
	char path[128];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_unlink(const char *path)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	if (bpf_probe_read_user_str(e->path, sizeof(e->path), path) < 0)
		e->path[0] = 0;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("ksyscall/unlinkat")
int BPF_KSYSCALL(on_unlink, int folder, const char *path, int flags)
{
	if (try_on_unlink(path))
		__sync_fetch_and_add(&errors, 1);
	return 0;
}
