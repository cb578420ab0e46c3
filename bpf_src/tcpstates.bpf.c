// tcpstates: which states does each TCP connection go through, and how long is it in each?
//
//     %bpf run tcpstates --for 5s
//     time            pid  comm    local   local_port  remote  remote_port  before       after           took
//     05:26:11.843  14827  python  ::1          54658  ::1           41641  SYN_SENT     ESTABLISHED  78.7 us
//     05:26:11.843      0          ::1          41641  ::1           54658  SYN_RECV     ESTABLISHED  4.89 us
//     05:26:11.853  14827  python  ::1          54658  ::1           41641  ESTABLISHED  FIN_WAIT1    10.3 ms
//     05:26:11.853  14827  python  ::1          41641  ::1           54658  ESTABLISHED  CLOSE_WAIT   10.4 ms
//     05:26:11.853  14827  python  ::1          41641  ::1           54658  CLOSE_WAIT   LAST_ACK     39.4 us
//     05:26:11.853  14827  python  ::1          54658  ::1           41641  FIN_WAIT1    FIN_WAIT2     107 us
//
// Plot:     s.events.plot.hist("took", by="before")
// Overhead: 543 ns a run; one run for each change of state and for each accept().
// Needs:    the tracepoint sock:inet_sock_set_state with BTF, ring buffers and bpf_skc_to_tcp_sock() (Linux 5.9). Who
//           accepted a connection is known from fexit programs or else from tracepoints of system calls, which miss
//           io_uring. TIME_WAIT and NEW_SYN_RECV are states of other, smaller objects and have no rows. Older kernels
//           (5.10) do not know the remote end yet when a connection goes from LISTEN to SYN_RECV.

const volatile u32 pid = 0;  // only sockets of this process, from when it is known; 0: every process
const volatile u16 port = 0;  // only sockets with this port at either end; 0: every port

enum state {                              // include/net/tcp_states.h, where they have no name
	ESTABLISHED = 1,
	SYN_SENT,
	SYN_RECV,
	FIN_WAIT1,
	FIN_WAIT2,
	TIME_WAIT,
	CLOSE,
	CLOSE_WAIT,
	LAST_ACK,
	LISTEN,
	CLOSING,
	NEW_SYN_RECV,
};

struct stay {
	u64 since;
	u32 pid;                          // 0 until a process is known
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, u64);                 // its struct sock
	__type(value, struct stay);
} stays SEC(".maps");

struct event {
	ktime_t time;
	u32 pid;                          // 0: no process has it yet
	char comm[16];
	ip_t local;
	port_t local_port;
	ip_t remote;
	port_t remote_port;
	enum state before;
	enum state after;
	duration_t took;                  // in the state before; 0 where its begin was not seen
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

/* The running process is the one that the socket belongs to. */
static void own(struct stay *stay)
{
	if (!stay->pid) {
		bpf_get_current_comm(stay->comm, sizeof(stay->comm));
		stay->pid = bpf_get_current_pid_tgid() >> 32;
	}
}

static __always_inline void tell(struct stay *stay, struct tcp_sock *tcp, int before, int after, u64 now)
{
	struct inet_sock *inet = &tcp->inet_conn.icsk_inet;
	struct sock_common *sk = &inet->sk.__sk_common;
	struct event *e;

	if (pid && pid != stay->pid)
		return;
	if (port && port != bpf_ntohs(inet->inet_sport) && port != bpf_ntohs(sk->skc_dport))
		return;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return;
	e->time = now;
	e->took = stay->since ? now - stay->since : 0;
	e->pid = stay->pid;
	__builtin_memcpy(e->comm, stay->comm, sizeof(e->comm));
	e->local = address(sk->skc_family, &sk->skc_v6_rcv_saddr, sk->skc_rcv_saddr);
	e->local_port = inet->inet_sport; // skc_num is 0 once it is closed
	e->remote = address(sk->skc_family, &sk->skc_v6_daddr, sk->skc_daddr);
	e->remote_port = sk->skc_dport;
	e->before = before;
	e->after = after;
	bpf_ringbuf_submit(e, 0);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_state, struct sock *sk, int old, int new)
{
	u64 key = (u64)sk, now = bpf_ktime_get_ns();
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	struct stay *known = bpf_map_lookup_elem(&stays, &key), first = {};
	struct stay *stay = known ?: &first;  // in place, as accept() may say meanwhile whose it is

	if (!tcp)
		return 0;
	if (new == TCP_SYN_SENT || new == TCP_LISTEN || new == TCP_FIN_WAIT1 || new == TCP_LAST_ACK)
		own(stay);                // system calls do that; the others happen in interrupts
	tell(stay, tcp, old, new, now);
	stay->since = now;
	if (new == TCP_CLOSE)
		bpf_map_delete_elem(&stays, &key);
	else if (!known)
		bpf_map_update_elem(&stays, &key, &first, BPF_ANY);
	return 0;
}

static int accepted(u64 key)
{
	struct stay *stay = bpf_map_lookup_elem(&stays, &key);

	if (stay)
		own(stay);
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
	return accepted(sk);
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
	return accepted(socket_of(ctx->ret));
}

SEC("?tp/syscalls/sys_exit_accept4")
int on_accept__tp__accept4(struct tracepoint__syscalls__sys_exit_accept4 *ctx)
{
	return accepted(socket_of(ctx->ret));
}
