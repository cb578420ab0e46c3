// category: Call Type Safety
// message: R1 type=scalar expected=
// message 5.10: R1 type=inv expected=
// fix: once | again | after
// about: socket
SEC("tc")
int known_peer(struct __sk_buff *skb)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;

	tuple.ipv4.dport = bpf_htons(443);
	sk = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv4), -1, 0);
	if (!sk)
		return 2;
	bpf_sk_release(sk); // <- cause
	bpf_sk_release(sk); // <- refused
	return 0;
}
