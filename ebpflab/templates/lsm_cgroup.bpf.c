// No process of a cgroup binds a socket to port 4242: an LSM program that is attached to the cgroup refuses.
// Run it with --attach on_bind=/my.slice; the cgroup's other ports, and other cgroups, are not touched.

const volatile u16 refused = 4242;

struct event {
	ktime_t time;
	u32 pid;
	char comm[16];
	u16 port;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

u64 errors = 0;

static int try_on_bind(struct sockaddr *address, bool *refuse)
{
	struct sockaddr_in in = {};
	struct event *e;
	long read = bpf_probe_read_kernel(&in, sizeof(in), address);

	if (read < 0)
		return read;
	*refuse = in.sin_family == AF_INET && in.sin_port == bpf_htons(refused);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return -ENOSPC;
	e->time = bpf_ktime_get_ns();
	e->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->port = bpf_ntohs(in.sin_port);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("lsm_cgroup/socket_bind")
int BPF_PROG(on_bind, struct socket *socket, struct sockaddr *address, int length)
{
	bool refuse = false;

	if (try_on_bind(address, &refuse))
		__sync_fetch_and_add(&errors, 1);
	return !refuse; /* 1 allows, 0 refuses with EPERM */
}
