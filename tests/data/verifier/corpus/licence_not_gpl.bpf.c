// category: Policy
// message: cannot call GPL-restricted function from non-GPL compatible program
// fix: GPL
// about: call
char LICENSE[] SEC("license") = "Apache-2.0";

SEC("tp/syscalls/sys_enter_openat")
int name(struct trace_event_raw_sys_enter *ctx)
{
	char path[16];
	return bpf_probe_read_user_str(path, sizeof(path), (void *)ctx->args[1]) > 8; // <- refused, cause
}
