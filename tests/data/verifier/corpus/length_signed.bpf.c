// category: Memory Safety
// message: R2 unbounded memory access
// fix: unsigned | &
// about: number
u8 first;

SEC("tp/syscalls/sys_exit_read")
int copy(struct trace_event_raw_sys_exit *ctx)
{
	char bytes[64] = {};
	long length = ctx->ret; // <- cause
	if (length > (long)sizeof(bytes))
		length = sizeof(bytes);
	bpf_probe_read_user(bytes, length, (void *)bpf_get_current_task()); // <- refused
	first = bytes[0];
	return 0;
}
