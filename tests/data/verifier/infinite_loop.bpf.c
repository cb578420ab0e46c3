char LICENSE[] SEC("license") = "GPL";

SEC("tp/syscalls/sys_enter_openat")
int spin(void *ctx)
{
	asm volatile("r2 = 0; 1: if r2 != 0 goto 2f; goto 1b; 2:" ::: "r2"); /* REFUSED */
	return 0;
}
