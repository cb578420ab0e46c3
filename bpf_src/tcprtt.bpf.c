// tcprtt: how long are the round trips of TCP connections, smoothed as the kernel sees them?
//
//     %bpf run tcprtt --for 5s --by-address
//     remote               low    high   count
//     127.0.0.1              8      15       9
//     127.0.0.1             16      31       7
//     127.0.0.1             32      63      14
//     ::1                   16      31       5
//
// Rows:     s.maps["rtt"].hist().query("count > 0")
// Plot:     s.maps["rtt"].plot(units="us")
// Overhead: 435 ns a run; one run for each segment that an established connection receives.
// Needs:    the tracepoint tcp:tcp_probe with BTF, bpf_skc_to_tcp_sock() (Linux 5.9). It comes before the segment
//           changes the time.

const volatile bool by_address = false;  // a histogram for each remote address, not one for all under ::
const volatile u16 port = 0;  // only connections with this port at either end; 0: every port

struct key {
	ip_t remote;
};

struct hist {
	u64 slots[32];                    // log2 of microseconds
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct key);
	__type(value, struct hist);
} rtt SEC(".maps");

static const struct hist empty;

static u32 log2(u32 value)
{
	u32 slot = 0;

	for (int shift = 16; shift; shift >>= 1)
		if (value >> shift) {
			value >>= shift;
			slot += shift;
		}
	return slot;
}

SEC("tp_btf/tcp_probe")
int BPF_PROG(on_segment, struct sock *socket)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(socket);
	struct sock_common *sk = &socket->__sk_common;
	struct key key = {};
	struct hist *hist;
	u32 smoothed;

	if (!tcp || (port && port != sk->skc_num && port != bpf_ntohs(sk->skc_dport)))
		return 0;
	smoothed = tcp->srtt_us >> 3;     // it holds eighths; 0: not yet measured
	if (!smoothed)
		return 0;
	if (by_address && sk->skc_family == AF_INET6) {
		bpf_probe_read_kernel(&key.remote, sizeof(key.remote), &sk->skc_v6_daddr);
	} else if (by_address) {
		key.remote = (struct in6_addr){ .in6_u.u6_addr32 = { 0, 0, bpf_htonl(0xffff), sk->skc_daddr } };
	}
	bpf_map_update_elem(&rtt, &key, &empty, BPF_NOEXIST);
	hist = bpf_map_lookup_elem(&rtt, &key);
	if (hist)
		__sync_fetch_and_add(&hist->slots[log2(smoothed) & 31], 1);
	return 0;
}
