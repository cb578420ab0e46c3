char LICENSE[] SEC("license") = "GPL";

SEC("tp/syscalls/sys_enter_openat")
int store(struct trace_event_raw_sys_enter *ctx)
{
	volatile char text[8];
	u32 i = ctx->args[0];
	text[i] = 1; /* REFUSED */
	return text[0];
}
