char LICENSE[] SEC("license") = "Proprietary";

SEC("tp/syscalls/sys_enter_openat")
int print(void *ctx)
{
	bpf_printk("hello"); /* REFUSED */
	return 0;
}
