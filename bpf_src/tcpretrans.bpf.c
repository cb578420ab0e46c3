// tcpretrans: which TCP connections send a segment again, and in what state are they?
//
//     %bpf run tcpretrans --for 5s
//     time            pid  comm    local             local_port  remote            remote_port  state     error
//     05:24:16.477  12502  python  127.0.0.1              34144  127.0.0.1               40149  SYN_SENT  OK
//     05:24:16.477  12502  python  127.0.0.1              34128  127.0.0.1               40149  SYN_SENT  OK
//
// Plot:     s.events.plot.rate(by="remote")
// Overhead: 610 ns a run; one run for each retransmission, each accept() and each change of a connection's state.
// Needs:    the tracepoints tcp:tcp_retransmit_skb and tcp:tcp_retransmit_synack with BTF, ring buffers (Linux 5.8).
//           The process is known of sockets that connect, listen or are accepted while the tool runs; who accepts, from
//           fexit programs or else from tracepoints of system calls, which miss io_uring.

const volatile u16 port = 0;  // only connections with this port at either end; 0: every port

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

struct owner {
	u32 pid;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, u64);                 // its struct sock: segments are sent again by timers
	__type(value, struct owner);
} owners SEC(".maps");

struct event {
	ktime_t time;
	u32 pid;                          // 0: opened before the tool was started
	char comm[16];
	ip_t local;
	port_t local_port;
	ip_t remote;
	port_t remote_port;
	enum state state;                 // NEW_SYN_RECV: a SYN-ACK is sent again
	errno_t error;                    // why it could not be sent, either
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

static __always_inline void tell(const void *socket, const struct sock_common *sk, int state, int error)
{
	u64 key = (u64)socket;
	struct owner *owner = bpf_map_lookup_elem(&owners, &key), nobody = {};
	struct event *e;

	if (port && port != sk->skc_num && port != bpf_ntohs(sk->skc_dport))
		return;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return;
	if (!owner)
		owner = &nobody;
	e->time = bpf_ktime_get_ns();
	e->pid = owner->pid;
	__builtin_memcpy(e->comm, owner->comm, sizeof(e->comm));
	e->local = address(sk->skc_family, &sk->skc_v6_rcv_saddr, sk->skc_rcv_saddr);
	e->local_port = bpf_htons(sk->skc_num);
	e->remote = address(sk->skc_family, &sk->skc_v6_daddr, sk->skc_daddr);
	e->remote_port = sk->skc_dport;
	e->state = state;
	e->error = error;
	bpf_ringbuf_submit(e, 0);
}

struct trace_event_raw_tcp_retransmit_skb___any {
	int err;                          // since Linux 6.15; before, those that were not sent have no event
};

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(on_retransmit, const struct sock *sk)
{
	int error = 0;

	if (bpf_core_field_exists(struct trace_event_raw_tcp_retransmit_skb___any, err))
		error = (int)ctx[2];
	if (error > 0)                    // the device's queue did not take it
		error = ENOBUFS;
	tell(sk, &sk->__sk_common, sk->__sk_common.skc_state, error);
	return 0;
}

SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(on_synack, const struct sock *listener, const struct request_sock *request)
{
	tell(listener, &request->__req_common, NEW_SYN_RECV, 0);
	return 0;
}

static int own(u64 key)
{
	struct owner owner = { .pid = bpf_get_current_pid_tgid() >> 32 };

	bpf_get_current_comm(owner.comm, sizeof(owner.comm));
	bpf_map_update_elem(&owners, &key, &owner, BPF_ANY);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_state, const struct sock *sk, int old, int new)
{
	u64 key = (u64)sk;

	if (new == TCP_SYN_SENT || new == TCP_LISTEN)  // a system call did that
		own(key);
	else if (new == TCP_CLOSE)
		bpf_map_delete_elem(&owners, &key);
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
	return sk ? own(sk) : 0;
}

static int accepted(long fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file **files, *file = NULL;
	struct socket *socket;
	struct sock *sk;

	if (fd < 0)
		return 0;
	files = BPF_CORE_READ(task, files, fdt, fd);
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	return BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP ? own((u64)sk) : 0;
}

SEC("?tp/syscalls/sys_exit_accept")
int on_accept__tp__accept(struct tracepoint__syscalls__sys_exit_accept *ctx)
{
	return accepted(ctx->ret);
}

SEC("?tp/syscalls/sys_exit_accept4")
int on_accept__tp__accept4(struct tracepoint__syscalls__sys_exit_accept4 *ctx)
{
	return accepted(ctx->ret);
}
