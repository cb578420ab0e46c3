const volatile u32 limit = 3;
char LICENSE[] SEC("license") = "GPL";

SEC("tp/syscalls/sys_enter_openat")
int set(void *ctx)
{
	*(volatile u32 *)&limit = 4; /* REFUSED */
	return 0;
}
