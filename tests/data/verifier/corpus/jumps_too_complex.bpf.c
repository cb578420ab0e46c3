// category: Verifier Limit
// message: jumps is too complex
// fix: bpf_loop | functions | branches
// about: loop
u64 sum;

SEC("tp/syscalls/sys_enter_sched_yield")
int branch(void *ctx)
{
	u64 total = 0;
	for (u64 i = 0; i < 9000; i++) { // <- cause
		if (bpf_get_prandom_u32() & 1) // <- refused, cause
			total += i;
		barrier_var(total);
	}
	sum = total;
	return 0;
}
