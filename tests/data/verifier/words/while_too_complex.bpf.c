u64 sum;

SEC("tp/syscalls/sys_enter_sched_yield")
int branch(void *ctx)
{
	u64 total = 0, i = 0;

	while (i < 9000) {
		u32 random = bpf_get_prandom_u32();
		if (random & 1) // REFUSED
			total += i;
		barrier_var(total);
		i++;
	}
	sum = total;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
