char LICENSE[] SEC("license") = "GPL";

SEC("tp/syscalls/sys_enter_openat")
int store(void *ctx)
{
	char text[8];
	bpf_get_current_comm(text, 16); /* REFUSED */
	return text[0];
}
