// category: Register Type Safety
// message: invalid mem access 'tcp_sock_or_null'
// fix: if (!
// about: socket
SEC("cgroup_skb/egress")
int drop_slow(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct bpf_tcp_sock *tp;
	if (!sk)
		return 1;
	tp = bpf_tcp_sock(sk); // <- cause
	return tp->srtt_us < 800000; // <- refused
}
