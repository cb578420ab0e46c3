// category: Register Type Safety
// message: invalid mem access 'sock_or_null'
// fix: if (!
// about: socket
SEC("tc")
int find_listener(struct __sk_buff *ctx)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	u32 family;

	tuple.ipv4.dport = bpf_htons(80);
	sk = bpf_sk_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), -1, 0); // <- cause
	family = sk->family; // <- refused
	bpf_sk_release(sk);
	return family == 2;
}
