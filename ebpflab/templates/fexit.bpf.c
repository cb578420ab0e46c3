// How do opens of files end? A row for each return of the kernel's vfs_open(), by an fexit program.
// Parameters and result are there together, which a kretprobe does not offer.

struct event {
	ktime_t time;
	u32 pid;
	char comm[16];
	char name[64];
	int result;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_opened(const struct path *path, int result)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->result = result;
	bpf_probe_read_kernel_str(e->name, sizeof(e->name), path->dentry->d_name.name);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("fexit/vfs_open")
int BPF_PROG(on_opened, const struct path *path, struct file *file, int result)
{
	if (try_on_opened(path, result))
		__sync_fetch_and_add(&errors, 1);
	return 0;
}
