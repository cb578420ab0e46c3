// category: Register Type Safety
// category 7.3+: Memory Safety
// message: ctx
// fix: constant
// about: context
u32 wanted;

SEC("tp/raw_syscalls/sys_enter")
int any_argument(struct trace_event_raw_sys_enter *ctx) // <- cause
{
	u32 i = wanted & 3; // <- cause
	return ctx->args[i] == 0; // <- refused
}
