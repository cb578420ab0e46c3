// category: Memory Safety
// message: invalid write to stack R1 off=-64 size=65
// message -6.1: invalid indirect access to stack R1 off=-64 size=65
// fix: sizeof | size
// about: stack
char last;

SEC("tp/syscalls/sys_enter_write")
int copy(struct trace_event_raw_sys_enter *ctx)
{
	char text[64];
	u64 length = ctx->args[2]; // <- cause
	if (length > sizeof(text) + 1) // <- cause
		return 0;
	bpf_probe_read_user(text, length, (void *)ctx->args[1]); // <- refused
	last = text[0];
	return 0;
}
