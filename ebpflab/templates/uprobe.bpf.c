// Which names are looked up? A row for each call of getaddrinfo(3) in the C library, by a uprobe.
// It sees every process that has this library; --attach on_lookup=libc.so.6:getaddrinfo,pid=1234 sees one.

struct event {
	ktime_t time;
	u32 pid;
	char comm[16];
	char host[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_lookup(const char *host)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	if (bpf_probe_read_user_str(e->host, sizeof(e->host), host) < 0)
		e->host[0] = 0; /* NULL: this machine itself */
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("uprobe/libc.so.6:getaddrinfo")
int BPF_KPROBE(on_lookup, const char *host)
{
	if (try_on_lookup(host))
		__sync_fetch_and_add(&errors, 1);
	return 0;
}
