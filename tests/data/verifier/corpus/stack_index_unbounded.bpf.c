// category: Memory Safety
// message: invalid unbounded variable-offset write to stack
// fix: if ( | &
// about: number
u32 seen;

SEC("tp/raw_syscalls/sys_enter")
int mark(struct trace_event_raw_sys_enter *ctx)
{
	volatile u8 marks[64] = {};
	u32 nr = ctx->id; // <- cause
	marks[nr] = 1; // <- refused
	seen += marks[7];
	return 0;
}
