// When do opens of files begin and end? Two rows for each vfs_open(), by one program at a trampoline.
// A session program runs at entry and at return; bpf_session_is_return() tells which it is.

extern bool bpf_session_is_return(void) __ksym;

struct event {
	ktime_t time;
	u32 pid;
	char comm[16];
	bool returns;
	char name[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_call(void *ctx, const struct path *path)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->returns = bpf_session_is_return();
	bpf_probe_read_kernel_str(e->name, sizeof(e->name), path->dentry->d_name.name);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("fsession/vfs_open")
int BPF_PROG(on_call, const struct path *path)
{
	if (try_on_call(ctx, path))
		__sync_fetch_and_add(&errors, 1);
	return 0; /* at entry: 0 asks to be run at the return, too */
}
