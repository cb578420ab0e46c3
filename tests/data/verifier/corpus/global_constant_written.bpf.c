// category: Memory Safety
// message: write into map forbidden
// fix: const
// about: map value
const volatile u32 threshold = 100;

SEC("tp/syscalls/sys_enter_write")
int adapt(struct trace_event_raw_sys_enter *ctx)
{
	u32 *limit = (u32 *)&threshold; // <- cause
	barrier_var(limit); // <- cause
	if (ctx->args[2] > 4096)
		*limit = ctx->args[2]; // <- refused
	return 0;
}
