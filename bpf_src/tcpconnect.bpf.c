// tcpconnect: which process connects to which address over TCP, how long does it take, and does it work?
//
//     %bpf run tcpconnect --for 5s
//     time            pid  comm    local             local_port  remote            remote_port  error            took
//     05:23:39.379  11648  python  127.0.0.1              42850  127.0.0.1               37631  OK              64 us
//     05:23:39.393  11648  python  ::1                    49406  ::1                     35303  OK              28 us
//     05:23:39.404  11648  python  127.0.0.1              53294  127.0.0.1                   1  ECONNREFUSED  34.4 us
//     05:23:40.604  11648  python  127.0.0.1              53172  127.0.0.1               44363  ECANCELED       1.2 s
//
// Plot:     s.events.plot.hist("took", by="comm")
// Overhead: 335 ns a run; one run for each change of a connection's state, about five at each end.
// Needs:    the tracepoint sock:inet_sock_set_state with BTF, ring buffers and bpf_skc_to_tcp_sock() (Linux 5.9). A
//           connect() that fails before it sends anything because there is no route is not seen.

const volatile u32 pid = 0;  // only connections of this process; 0: every process
const volatile bool only_failed = false;  // only connections that were not established

struct attempt {
	u64 started;
	u32 pid;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);                 // its struct sock: the answer comes in an interrupt
	__type(value, struct attempt);
} attempts SEC(".maps");

struct event {
	ktime_t time;
	u32 pid;
	char comm[16];
	ip_t local;
	port_t local_port;
	ip_t remote;
	port_t remote_port;
	errno_t error;                    // ECANCELED: the process did not wait for the answer
	duration_t took;                  // from the first SYN to the answer
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

static void start(u64 key)
{
	struct attempt attempt = { .started = bpf_ktime_get_ns(), .pid = bpf_get_current_pid_tgid() >> 32 };

	bpf_get_current_comm(attempt.comm, sizeof(attempt.comm));
	if (!pid || pid == attempt.pid)
		bpf_map_update_elem(&attempts, &key, &attempt, BPF_ANY);
}

static __always_inline void finish(struct attempt *attempt, struct tcp_sock *tcp, int error)
{
	struct inet_sock *inet = &tcp->inet_conn.icsk_inet;
	struct sock_common *sk = &inet->sk.__sk_common;
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return;
	e->time = bpf_ktime_get_ns();
	e->took = e->time - attempt->started;
	e->pid = attempt->pid;
	__builtin_memcpy(e->comm, attempt->comm, sizeof(e->comm));
	e->error = error;
	e->local = address(sk->skc_family, &sk->skc_v6_rcv_saddr, sk->skc_rcv_saddr);
	e->local_port = inet->inet_sport;  // skc_num is 0 once it is closed
	e->remote = address(sk->skc_family, &sk->skc_v6_daddr, sk->skc_daddr);
	e->remote_port = sk->skc_dport;
	bpf_ringbuf_submit(e, 0);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_state, struct sock *sk, int old, int new)
{
	u64 key = (u64)sk;
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	struct attempt *attempt;
	int error = 0;

	if (tcp && new == TCP_SYN_SENT)
		start(key);
	if (!tcp || new == TCP_SYN_SENT || new == TCP_SYN_RECV)  // both ends may connect to each other
		return 0;
	attempt = bpf_map_lookup_elem(&attempts, &key);
	if (!attempt)
		return 0;
	if (new == TCP_CLOSE) {           // without an error of its own: closed by hand, or no port was left
		error = tcp->inet_conn.icsk_inet.sk.sk_err;
		if (!error)
			error = tcp->inet_conn.icsk_inet.inet_sport ? ECANCELED : EADDRNOTAVAIL;
	}
	if (error || !only_failed)
		finish(attempt, tcp, error);
	bpf_map_delete_elem(&attempts, &key);
	return 0;
}
