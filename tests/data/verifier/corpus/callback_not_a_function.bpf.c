// category: Call Type Safety
// message: expected=func
// fix: function
// about: call
// kernels: 5.17+
u64 step;

SEC("tp/syscalls/sys_enter_getpid")
int many(void *ctx)
{
	bpf_loop(10, &step, NULL, 0); // <- refused, cause
	return 0;
}
