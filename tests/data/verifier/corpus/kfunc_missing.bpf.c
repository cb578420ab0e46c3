// category: Call Type Safety
// message: invalid kernel function call not eliminated in verifier pass
// fix: bpf_ksym_exists | kernel
// about: call
// kernels: 6.1+
void bpf_not_in_this_kernel(void) __ksym __weak;

SEC("tp/syscalls/sys_enter_getpid")
int call(void *ctx)
{
	bpf_not_in_this_kernel();
	return 0;
}
