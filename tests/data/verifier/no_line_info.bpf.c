char LICENSE[] SEC("license") = "GPL";

SEC("tp/syscalls/sys_enter_openat")
int read_name(struct trace_event_raw_sys_enter *ctx)
{
	char *name = (char *)ctx->args[1];
	return name[0] == '/'; /* REFUSED */
}
