// category: Memory Safety
// message: Caller passes invalid args into func#
// fix: size
// about: stack
// kernels: 5.12+
struct event { u64 pid; u64 cpu; };

__attribute__((noinline)) int fill(struct event *e)
{
	if (e)
		e->cpu = bpf_get_smp_processor_id();
	return 0;
}

SEC("tp/syscalls/sys_enter_openat")
int record(void *ctx)
{
	u32 small = 0;
	fill((void *)&small); // <- refused, cause
	return small;
}
