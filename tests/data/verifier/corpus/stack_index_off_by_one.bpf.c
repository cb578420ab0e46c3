// category: Memory Safety
// message: invalid variable-offset write to stack
// fix: if ( | &
// about: number
u32 seen;

SEC("tp/raw_syscalls/sys_enter")
int mark(struct trace_event_raw_sys_enter *ctx)
{
	volatile u8 marks[64] = {};
	u64 nr = ctx->id; // <- cause
	if (nr > 64) // <- cause
		return 0;
	marks[nr] = 1; // <- refused
	seen += marks[7];
	return 0;
}
