// category: Register Type Safety
// message: R0 !read_ok
// fix: return | R0
// about: register
u64 total;

SEC("tp/raw_syscalls/sys_enter")
int count(struct trace_event_raw_sys_enter *ctx)
{
	total += ctx->id;
} // <- refused, cause
