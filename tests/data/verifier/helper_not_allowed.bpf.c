char LICENSE[] SEC("license") = "GPL";

SEC("tp/syscalls/sys_enter_openat")
int redirect(void *ctx)
{
	return bpf_redirect(1, 0); /* REFUSED */
}
