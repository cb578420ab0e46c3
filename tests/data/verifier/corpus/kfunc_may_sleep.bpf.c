// category: Execution Context Safety
// message: program must be sleepable to call sleepable kfunc
// fix: sleep
// about: call
// kernels: 6.12+
int bpf_copy_from_user_str(void *dst, u32 size, const void *from, u64 flags) __ksym;
char last;

SEC("tp/syscalls/sys_enter_openat")
int copy(struct trace_event_raw_sys_enter *ctx)
{
	char path[32] = {};
	bpf_copy_from_user_str(path, sizeof(path), (void *)ctx->args[1], 0); // <- refused, cause
	last = path[0];
	return 0;
}
