// category: Execution Context Safety
// category -6.1: Policy
// message: might sleep in a non-sleepable prog
// message 7.3+: sleepable helper bpf_copy_from_user#148 in non-sleepable prog
// message 5.10: unknown func bpf_copy_from_user#148
// message 6.1: unknown func bpf_copy_from_user#148
// fix: sleep
// about: call
u32 seen;

SEC("tp/syscalls/sys_enter_write")
int copy(struct trace_event_raw_sys_enter *ctx)
{
	u32 word = 0;
	bpf_copy_from_user(&word, sizeof(word), (void *)ctx->args[1]); // <- refused, cause
	seen = word;
	return 0;
}
