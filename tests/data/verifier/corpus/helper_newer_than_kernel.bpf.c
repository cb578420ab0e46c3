// category: Policy
// message: invalid func unknown#173
// fix: kernel | older
// about: call
// kernels: -5.14
SEC("tp/syscalls/sys_enter_getpid")
int address(void *ctx)
{
	return bpf_get_func_ip(ctx) != 0; // <- refused, cause
}
