// tcplife: how long does each TCP connection live, and how many bytes go each way?
//
//     %bpf run tcplife --for 5s
//     time                        pid  comm    local   local_port  remote  remote_port   sent  received     took
//     2026-11-23 05:26:04.482   14741  python  ::1          43612  ::1           37011    100     50021  10.7 ms
//     2026-11-23 05:26:04.482   14741  python  ::1          37011  ::1           43612  50021       100  10.7 ms
//     2026-11-23 05:26:04.493   14741  python  ::1          43618  ::1           37011      7      1009  10.4 ms
//
// Plot:     s.events.plot.hist("took", by="comm")
// Overhead: 419 ns a run; one run for each accept(), and for each change of a connection's state: about five at each
//           end.
// Needs:    the tracepoint sock:inet_sock_set_state with BTF, ring buffers and bpf_skc_to_tcp_sock() (Linux 5.9). Who
//           accepted a connection is known from fexit programs or else from tracepoints of system calls, which miss
//           io_uring; who closed it, in any case. A connection has a row if it was established while the tool ran.

const volatile u32 pid = 0;  // only connections of this process; 0: every process
const volatile u16 port = 0;  // only connections with this port at either end; 0: every port

struct life {
	u64 started;
	u32 pid;                          // 0 until a process is known
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, u64);                 // its struct sock
	__type(value, struct life);
} lives SEC(".maps");

struct event {
	ktime_t time;                     // when it ended
	u32 pid;
	char comm[16];
	ip_t local;
	port_t local_port;
	ip_t remote;
	port_t remote_port;
	u64 sent;                         // bytes, each counted once
	u64 received;
	duration_t took;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
	__type(value, struct event);
} events SEC(".maps");

static __always_inline struct in6_addr address(u16 family, const struct in6_addr *six, __be32 four)
{
	struct in6_addr result = { .in6_u.u6_addr32 = { 0, 0, bpf_htonl(0xffff), four } };

	if (family == AF_INET6)
		bpf_probe_read_kernel(&result, sizeof(result), six);
	return result;
}

static void begin(u64 key)
{
	struct life life = { .started = bpf_ktime_get_ns() };

	bpf_map_update_elem(&lives, &key, &life, BPF_NOEXIST);
}

/* The running process is the one that the connection belongs to. */
static int own(u64 key)
{
	struct life *life = bpf_map_lookup_elem(&lives, &key);

	if (life && !life->pid) {
		life->pid = bpf_get_current_pid_tgid() >> 32;
		bpf_get_current_comm(life->comm, sizeof(life->comm));
	}
	return 0;
}

static __always_inline void end(struct life *life, struct tcp_sock *tcp)
{
	struct inet_sock *inet = &tcp->inet_conn.icsk_inet;
	struct sock_common *sk = &inet->sk.__sk_common;
	struct event *e;

	if (pid && pid != life->pid)
		return;
	if (port && port != bpf_ntohs(inet->inet_sport) && port != bpf_ntohs(sk->skc_dport))
		return;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return;
	e->time = bpf_ktime_get_ns();
	e->took = e->time - life->started;
	e->pid = life->pid;
	__builtin_memcpy(e->comm, life->comm, sizeof(e->comm));
	e->local = address(sk->skc_family, &sk->skc_v6_rcv_saddr, sk->skc_rcv_saddr);
	e->local_port = inet->inet_sport; // skc_num is 0 once it is closed
	e->remote = address(sk->skc_family, &sk->skc_v6_daddr, sk->skc_daddr);
	e->remote_port = sk->skc_dport;
	e->sent = tcp->bytes_sent - tcp->bytes_retrans;
	e->received = tcp->bytes_received - (sk->skc_flags >> SOCK_DONE & 1);  // a FIN counts as a byte
	bpf_ringbuf_submit(e, 0);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_state, struct sock *sk, int old, int new)
{
	u64 key = (u64)sk;
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	struct life *life;

	if (!tcp)
		return 0;
	if (new == TCP_SYN_SENT || (new == TCP_ESTABLISHED && old == TCP_SYN_RECV))
		begin(key);
	if (new == TCP_SYN_SENT || new == TCP_FIN_WAIT1 || new == TCP_LAST_ACK)  // a system call did that
		own(key);
	if (new != TCP_CLOSE)
		return 0;
	life = bpf_map_lookup_elem(&lives, &key);
	if (life && old != TCP_SYN_SENT && old != TCP_SYN_RECV)
		end(life, tcp);
	bpf_map_delete_elem(&lives, &key);
	return 0;
}

struct proto_accept_arg___any {};         // since Linux 6.10, in place of three arguments

SEC("?fexit/inet_csk_accept")
int on_accept__fexit(volatile u64 *ctx)
{
	u64 sk;

	if (bpf_core_type_exists(struct proto_accept_arg___any)) {
		sk = ctx[2];
		barrier_var(sk);          // or else one load would do for both, of a moved ctx: refused
	} else {
		sk = ctx[4];
	}
	return own(sk);
}

/* The socket behind a file descriptor that a system call has just returned. */
static u64 socket_of(long fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file **files, *file = NULL;
	struct socket *socket;

	if (fd < 0)
		return 0;
	files = BPF_CORE_READ(task, files, fdt, fd);
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	socket = BPF_CORE_READ(file, private_data);
	return (u64)BPF_CORE_READ(socket, sk);
}

SEC("?tp/syscalls/sys_exit_accept")
int on_accept__tp__accept(struct tracepoint__syscalls__sys_exit_accept *ctx)
{
	return own(socket_of(ctx->ret));
}

SEC("?tp/syscalls/sys_exit_accept4")
int on_accept__tp__accept4(struct tracepoint__syscalls__sys_exit_accept4 *ctx)
{
	return own(socket_of(ctx->ret));
}
