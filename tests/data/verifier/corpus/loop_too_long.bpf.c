// category: Verifier Limit
// message: BPF program is too large. Processed 1000001 insn
// fix: bpf_loop | shorter
// about: loop
// kernels: 6.4+
u64 sum;

SEC("tp/syscalls/sys_enter_sched_yield")
int add_up(void *ctx)
{
	u64 total = 0;
	for (u64 i = 0; i < 10000000; i++) { // <- refused, cause
		total += i;
		asm volatile(".rept 60; goto +0; .endr" : "+r"(total)); // <- refused
	}
	sum = total;
	return 0;
}
