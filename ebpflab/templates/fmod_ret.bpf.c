// Nobody opens files called ebpflab-secret: a fmod_ret program returns -EPERM in place of the kernel's check.
// It can be at functions of the kernel called security_..., and at those that allow error injection.

const volatile char forbidden[16] = "ebpflab-secret"; /* the name of files that nobody may open */

struct event {
	ktime_t time;
	u32 pid;
	char comm[16];
	char name[32];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static bool is_forbidden(const unsigned char *name)
{
	int i;

	for (i = 0; i < sizeof(forbidden); i++) {
		if (name[i] != forbidden[i])
			return false;
		if (!name[i])
			break;
	}
	return true;
}

static int try_on_file_open(struct file *file, bool *refuse)
{
	char name[32];
	struct event *e;
	long read = bpf_probe_read_kernel_str(name, sizeof(name), file->f_path.dentry->d_name.name);

	if (read < 0)
		return read;
	*refuse = is_forbidden((unsigned char *)name);
	if (!*refuse)
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	__builtin_memcpy(e->name, name, sizeof(e->name));
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("fmod_ret/security_file_open")
int BPF_PROG(on_file_open, struct file *file, int ret)
{
	bool refuse = false;

	if (ret) /* another program has decided already */
		return ret;
	if (try_on_file_open(file, &refuse))
		__sync_fetch_and_add(&errors, 1);
	return refuse ? -EPERM : 0;
}
