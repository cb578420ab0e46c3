char LICENSE[] SEC("license") = "GPL";

SEC("tp/syscalls/sys_enter_openat")
int count(void *ctx)
{
	volatile u64 sum = 0;
	for (u32 i = 0; i < 100000000; i++) /* REFUSED */
		sum += i;
	return sum;
}
