// category: Call Type Safety
// message: R1 type=sock_or_null expected=sock
// fix: if (!
// about: socket
SEC("tc")
int known_peer(struct __sk_buff *skb)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;

	tuple.ipv4.dport = bpf_htons(443);
	sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), -1, 0); // <- cause
	bpf_sk_release(sk); // <- refused
	return 0;
}
