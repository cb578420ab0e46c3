// category: Register Type Safety
// message: pointer arithmetic on sock_common prohibited
// fix: constant | number | by name | offset
// about: socket
u32 word;

SEC("cgroup_skb/ingress")
int odd_address(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk; // <- cause
	if (!sk) // <- refused
		return 1;
	u32 *words = sk->src_ip6;
	words += word & 3; // <- refused
	word = *words;
	return 1;
}
