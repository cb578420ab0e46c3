char LICENSE[] SEC("license") = "GPL";

SEC("tp_btf/sched_process_exit")
int past_the_end(u64 *ctx)
{
	return ctx[9]; /* REFUSED */
}
