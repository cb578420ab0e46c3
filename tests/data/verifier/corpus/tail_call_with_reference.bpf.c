// category: Resource Lifetime Safety
// message: tail_call would lead to reference leak
// fix: release
// about: socket
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, u32);
} stages SEC(".maps");

SEC("tc")
int first_stage(struct __sk_buff *skb)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;

	sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), -1, 0); // <- cause
	if (!sk)
		return 0;
	bpf_tail_call(skb, &stages, 1); // <- refused
	bpf_sk_release(sk);
	return 0;
}
