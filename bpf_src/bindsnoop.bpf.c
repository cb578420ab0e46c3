// bindsnoop: which process binds a socket to which port, and did it work?
//
//     %bpf run bindsnoop --for 5s
//     time                        pid  comm    protocol  local             local_port  error
//     2026-11-23 05:24:22.458   12833  python  TCP       127.0.0.1              44579  EADDRINUSE
//     2026-11-23 05:24:22.459   12833  python  TCP       127.0.0.1              33963  OK
//
// Plot:     s.events.plot.top("comm")
// Overhead: 534 ns a run; two runs for each bind().
// Needs:    tracepoints of system calls (CONFIG_FTRACE_SYSCALLS), ring buffers (Linux 5.8). What io_uring and
//           the kernel itself bind is not seen.

const volatile u32 pid = 0;  // only this process; 0: every process
const volatile bool only_failed = false;  // only sockets that could not be bound

enum protocol {                           // include/uapi/linux/in.h, where they have no name
	ICMP = 1,
	TCP = 6,
	UDP = 17,
	ICMPV6 = 58,
	SCTP = 132,
	UDPLITE = 136,
	RAW = 255,
	MPTCP = 262,
};

struct binding {
	u64 fd;
	const void *asked;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);  // a thread killed in the middle of a call leaves its entry behind
	__uint(max_entries, 16384);
	__type(key, u32);
	__type(value, struct binding);
} bindings SEC(".maps");

struct event {
	ktime_t time;
	u32 pid;
	char comm[16];
	enum protocol protocol;
	ip_t local;
	port_t local_port;                // the one that it got, where it asked for any
	errno_t error;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_bind")
int on_enter(struct tracepoint__syscalls__sys_enter_bind *ctx)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 thread = id;
	struct binding binding = { .fd = ctx->fd, .asked = (void *)ctx->umyaddr };

	if (!pid || pid == id >> 32)
		bpf_map_update_elem(&bindings, &thread, &binding, BPF_ANY);
	return 0;
}

/* The socket of a file descriptor of the running process. */
static struct inet_sock *socket_of(u64 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file **files = BPF_CORE_READ(task, files, fdt, fd), *file = NULL;
	struct socket *socket;

	bpf_probe_read_kernel(&file, sizeof(file), files + (u32)fd);
	socket = BPF_CORE_READ(file, private_data);
	return (void *)BPF_CORE_READ(socket, sk);
}

static void tell(struct binding *binding, u32 process, long result)
{
	bool none = result == -ENOTSOCK || result == -EBADF;
	struct inet_sock *inet = none ? NULL : socket_of(binding->fd);
	const struct sockaddr_in6 *six = binding->asked;
	struct sockaddr_in four = {};     // both families begin with their number and a port
	struct in6_addr local = {};
	struct event *e;

	bpf_probe_read_user(&four, sizeof(four), six);
	if (four.sin_family == AF_INET6) {
		bpf_probe_read_user(&local, sizeof(local), &six->sin6_addr);
	} else if (four.sin_family == AF_INET) {
		local.in6_u.u6_addr32[2] = bpf_htonl(0xffff);
		local.in6_u.u6_addr32[3] = four.sin_addr.s_addr;
	} else {                          // of a Unix socket, or none that can be read
		return;
	}
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return;
	e->time = bpf_ktime_get_ns();
	e->pid = process;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->protocol = BPF_CORE_READ(inet, sk.sk_protocol);
	e->local = local;
	e->local_port = result ? four.sin_port : BPF_CORE_READ(inet, inet_sport);
	e->error = result;
	bpf_ringbuf_submit(e, 0);
}

SEC("tp/syscalls/sys_exit_bind")
int on_exit(struct tracepoint__syscalls__sys_exit_bind *ctx)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 thread = id;
	struct binding *binding = bpf_map_lookup_elem(&bindings, &thread);

	if (!binding)
		return 0;
	if (ctx->ret || !only_failed)
		tell(binding, id >> 32, ctx->ret);
	bpf_map_delete_elem(&bindings, &thread);
	return 0;
}
