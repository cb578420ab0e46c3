// category: Register Type Safety
// message: invalid mem access 'sock_or_null'
// fix: if (!
// about: socket
SEC("sockops")
int note_port(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk = ops->sk; // <- cause
	return sk->src_port == 22; // <- refused
}
