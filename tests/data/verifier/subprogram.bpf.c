char LICENSE[] SEC("license") = "GPL";

static __attribute__((noinline)) int length(const char *name)
{
	return name[0] != 0; /* REFUSED */
}

SEC("tp/syscalls/sys_enter_openat")
int measure(struct trace_event_raw_sys_enter *ctx)
{
	return length((const char *)ctx->args[1]);
}
