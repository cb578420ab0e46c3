char LICENSE[] SEC("license") = "GPL";

SEC("tp/syscalls/sys_enter_openat")
int use(void *ctx)
{
	int n;
	asm volatile("%0 = r7" : "=r"(n)); /* REFUSED */
	return n;
}
