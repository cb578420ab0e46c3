// category: Memory Safety
// message: misaligned stack access
// fix: memcpy | align
// about: stack
u64 last;

SEC("tp/syscalls/sys_enter_openat")
int pack(void *ctx)
{
	volatile u8 record[16] = {};
	u64 *when = (void *)(record + 1);
	barrier_var(when);
	*when = bpf_ktime_get_ns(); // <- refused, cause
	last = record[2];
	return 0;
}
