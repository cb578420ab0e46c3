// category: Program Structure
// message: At program exit the register R0 has
// fix: return
// about: register
SEC("cgroup/sock_create")
int refuse(struct bpf_sock *sk)
{
	return -1; // <- refused, cause
}
