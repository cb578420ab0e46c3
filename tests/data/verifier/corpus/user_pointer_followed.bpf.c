// category: Register Type Safety
// message: invalid mem access 'scalar'
// message 5.10: invalid mem access 'inv'
// fix: bpf_probe_read_user
// about: user address
SEC("tp/syscalls/sys_enter_openat")
int absolute(struct trace_event_raw_sys_enter *ctx)
{
	const char *path = (const char *)ctx->args[1]; // <- cause
	return path[0] == '/'; // <- refused
}
