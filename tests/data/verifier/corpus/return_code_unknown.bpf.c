// category: Program Structure
// message: At program exit the register R0 has
// fix: return
// about: number
SEC("cgroup/sock_create")
int decide(struct bpf_sock *sk)
{
	u32 family = sk->family; // <- cause
	return family; // <- refused
}
