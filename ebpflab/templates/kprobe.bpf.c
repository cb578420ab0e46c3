// Which files are opened? A row for each call of the kernel's vfs_open(), by a kprobe.
// A kprobe sees the CPU's registers; BPF_KPROBE gives them the names and types of the function's parameters.

struct event {
	ktime_t time;
	u32 pid;
	char comm[16];
	char name[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_open(const struct path *path)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_probe_read_kernel_str(e->name, sizeof(e->name), BPF_CORE_READ(path, dentry, d_name.name));
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("kprobe/vfs_open")
int BPF_KPROBE(on_open, const struct path *path)
{
	if (try_on_open(path))
		__sync_fetch_and_add(&errors, 1);
	return 0;
}
