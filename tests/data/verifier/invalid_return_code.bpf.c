char LICENSE[] SEC("license") = "GPL";

SEC("cgroup/sock_create")
int decide(struct bpf_sock *ctx)
{
	return 5; /* REFUSED */
}
