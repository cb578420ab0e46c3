// category: Call Type Safety
// message: R1 must be referenced when passed to release function
// message 5.10: reference has not been acquired before
// message 7.3+: release helper bpf_sk_release expects referenced
// fix: acquir
// about: socket
SEC("tc")
int known_peer(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk; // <- cause
	if (!sk)
		return 0;
	sk = bpf_sk_fullsock(sk); // <- cause
	if (sk)
		bpf_sk_release(sk); // <- refused
	return 0;
}
