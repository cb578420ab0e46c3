// category: Register Type Safety
// message: with unbounded
// fix: if ( | &
// about: number
u64 calls[8];

SEC("tp/raw_syscalls/sys_enter")
int per_call(struct trace_event_raw_sys_enter *ctx)
{
	u64 nr = ctx->id; // <- cause
	calls[nr]++; // <- refused
	return 0;
}
