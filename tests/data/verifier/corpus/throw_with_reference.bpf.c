// category: Resource Lifetime Safety
// message: bpf_throw would lead to reference leak
// fix: release
// about: socket
// kernels: 6.7+
void bpf_throw(u64 cookie) __ksym;

SEC("tc")
int known_peer(struct __sk_buff *skb)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;

	sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), -1, 0); // <- cause
	if (sk && skb->len > 1000)
		bpf_throw(1); // <- refused
	if (sk)
		bpf_sk_release(sk);
	return 0;
}
