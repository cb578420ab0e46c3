// category: Memory Safety
// message: func 'sched_process_exit' doesn't have
// fix: argument
// about: context
SEC("tp_btf/sched_process_exit")
int past_the_end(u64 *ctx)
{
	return ctx[5] == 1; // <- refused, cause
}
