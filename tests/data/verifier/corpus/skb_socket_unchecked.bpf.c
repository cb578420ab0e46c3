// category: Register Type Safety
// message: invalid mem access 'sock_common_or_null'
// fix: if (!
// about: socket
SEC("cgroup_skb/egress")
int only_inet(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk; // <- cause
	return sk->family == 2; // <- refused
}
